// A program that runs a pool of servers besides what else it does.
//
//     node examples/manager.js
const { join } = require('node:path');
const { createManager } = require('prefork');

async function main() {
  const manager = createManager({
    entry: join(__dirname, 'hello.js'),
    workers: 2,
    bind: '127.0.0.1:0',
    logLevel: 'warn',
  });
  manager.on('spawn', ({ pid, slot }) => console.log(`worker ${pid} starts in slot ${slot}`));
  manager.on('reap', ({ pid }, { exitCode, signal }) =>
    console.log(`worker ${pid} ended: ${signal ?? exitCode}`),
  );
  manager.on('finish', async (graceful) => console.log(graceful ? 'stopping' : 'stopping at once'));

  await manager.start();
  console.log(`${manager.healthy} workers are healthy`);
  console.log(`generation ${await manager.reload()} serves`);
  await manager.scale(3);

  process.once('SIGTERM', async () => {
    process.exitCode = await manager.stop();
  });
  console.log('running');
}

main();
