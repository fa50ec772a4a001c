// An ordinary server: nothing in it knows of prefork.
const { createServer } = require('node:http');

const server = createServer((_request, response) => {
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  response.end(`Hello from worker ${process.pid}\n`);
});

server.listen(process.env.PORT ?? 3000);
