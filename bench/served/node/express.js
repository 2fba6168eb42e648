'use strict';
// The article's application: a page that costs nothing, and one that adds numbers on the event loop.

const express = require('express');

const LARGEST = 5_000_000_000;

const app = express();

app.get('/', (request, response) => {
  response.send('Hello World!');
});

app.get('/api/:n', (request, response) => {
  const n = Number(request.params.n);
  if (!Number.isInteger(n) || n < 0 || n > LARGEST) {
    response.status(422).send(`n must be a non-negative integer up to ${LARGEST}\n`);
    return;
  }
  let count = 0;
  for (let i = 0; i <= n; i++) {
    count += i;
  }
  response.send(`Final count is ${count}`);
});

module.exports = app;
