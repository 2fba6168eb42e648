'use strict';
// node cluster.js NAME PORT WORKERS rr|none: Node's cluster. `rr`, its default, accepts in the parent and hands
// connections over in turn; with `none` the workers accept from one listener that the parent shares.

const cluster = require('node:cluster');
const serve = require('./serve');

const [name, port, workers, policy] = process.argv.slice(2);
cluster.schedulingPolicy = policy === 'none' ? cluster.SCHED_NONE : cluster.SCHED_RR;

if (cluster.isPrimary) {
  for (let i = 0; i < Number(workers); i++) {
    cluster.fork();
  }
  // Node replaces nobody by itself; without this line a crash would be for good.
  cluster.on('exit', () => cluster.fork());
  console.log(`all ${workers} workers start`);
} else {
  serve(name, port);
}
