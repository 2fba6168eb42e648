'use strict';
// One process that serves: an HTTP server for the application in ./NAME.js, entered into the ledger when it
// listens (BENCH_LEDGER/PID, one word, as the Python application keeps it).

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const BACKLOG = 2048;
const WORD = 8;

function enter(ledger) {
  const unfinished = path.join(ledger, `.${process.pid}`);
  fs.writeFileSync(unfinished, Buffer.alloc(WORD));
  fs.renameSync(unfinished, path.join(ledger, String(process.pid)));
}

module.exports = (name, port) => {
  const server = http.createServer(require(`./${name}`));
  // As long as every other contestant keeps an idle connection.
  server.keepAliveTimeout = 75_000;
  server.listen(Number(port), '127.0.0.1', BACKLOG, () => enter(process.env.BENCH_LEDGER));
};
