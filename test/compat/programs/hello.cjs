// The same server as hello.pl, in plain Node.js: SERVER_STARTER_PORT is all that it knows.
const { createServer } = require('node:net');

const generation = process.env.SERVER_STARTER_GENERATION;
const sockets = process.env.SERVER_STARTER_PORT.split(';').map((pair) => /^(.*)=(\d+)$/.exec(pair).slice(1));
let waiting = sockets.length;
for (const [name, fd] of sockets) {
  const server = createServer((conn) => conn.end(`generation ${generation} on ${name}\n`));
  server.listen({ fd: Number(fd) }, () => {
    if (--waiting === 0) console.log(`serving ${generation}`);
  });
}
process.on('SIGTERM', () => process.exit(0));
