// An HTTP server that leaves as a server under a superdaemon should: on TERM it accepts no more, answers what still comes
// on open connections with `Connection: close`, and ends when the last of them has gone.
const { createServer } = require('node:http');
const net = require('node:net');

const fds = process.env.SERVER_STARTER_PORT.split(';').map((pair) => Number(/=(\d+)$/.exec(pair)[1]));
let isLeaving = false;
const servers = fds.map((fd) => {
  const server = createServer((request, response) => {
    request.resume();
    response.setHeader('x-pid', process.pid);
    if (isLeaving) response.setHeader('connection', 'close');
    response.end('ok\n');
  });
  return server.listen({ fd });
});
process.on('SIGTERM', () => {
  isLeaving = true;
  // Not http's own close(), which resets idle connections under a request on its way.
  for (const server of servers) net.Server.prototype.close.call(server);
});
