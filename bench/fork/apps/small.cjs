const answer = require('./answer.cjs');

require('node:http')
  .createServer((_request, response) => response.end(answer()))
  .listen(Number(process.env.PORT), '127.0.0.1', () => process.send?.('listening'));
