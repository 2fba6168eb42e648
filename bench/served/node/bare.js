'use strict';
// The same two routes on node:http alone: Node without a framework, as our hello is ASGI without one.

const HELLO = Buffer.from('hello, world\n');

function answer(response, status, body) {
  response.writeHead(status, {
    'content-type': 'text/plain',
    'content-length': body.length,
    'x-pid': process.pid,
  });
  response.end(body);
}

module.exports = (request, response) => {
  if (request.url === '/') {
    answer(response, 200, HELLO);
    return;
  }
  const [, path] = request.url.match(/^\/api\/(\d{1,10})$/) || [];
  if (path === undefined) {
    answer(response, 404, Buffer.from('not found\n'));
    return;
  }
  const n = Number(path);
  let count = 0;
  for (let i = 0; i <= n; i++) {
    count += i;
  }
  answer(response, 200, Buffer.from(`Final count is ${count}\n`));
};
