// The smallest server: what is measured is the way to it.
require('node:http')
  .createServer((_request, response) => response.end('hello\n'))
  .listen(Number(process.env.PORT), '127.0.0.1');
