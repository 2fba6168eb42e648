'use strict';
// node single.js NAME PORT: one process, no cluster.

const serve = require('./serve');

const [name, port] = process.argv.slice(2);
serve(name, port);
console.log('all 1 workers start');
