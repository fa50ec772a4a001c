// The program of these examples: an ordinary server, with the one number that deployments hang on.
const { createServer } = require('node:http');

const server = createServer((_request, response) => {
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  response.end(`Hello from worker ${process.pid}\n`);
});

// Longer than what is in front (60 s, nginx and most balancers) keeps an idle connection: so it is they who end one, and never a request
// that crosses the end on its way. --graceful-timeout has to be longer still.
server.keepAliveTimeout = 65_000;

server.listen(process.env.PORT ?? 3000);
