// The example of Acme::Ghost::Prefork: a daemon whose workers count to ten, and are replaced when they are done.
//
//     node examples/ghost-prefork.js start | status | reload | restart | stop
const { setTimeout: sleep } = require('node:timers/promises');
const { Prefork, daemon } = require('prefork');

const ghost = daemon({
  name: 'ghost',
  pidFile: 'ghost.pid',
  logFile: 'ghost.log',
  async startup({ log, signal }) {
    const pm = new Prefork({
      maxWorkers: 4,
      onChildReap: (_pm, pid) => log.info({}, `Spirit ${pid} stopped`),
      afterFork: (_pm, pid) => log.info({}, `Spirit ${pid} started`),
    });
    // A stop may have come before the Prefork could trap it.
    if (signal.aborted || (await pm.start())) return pm.waitAllChildren();
    const max = 10;
    for (let i = 0; pm.tick(i >= max); i++) {
      await sleep(1000, undefined, { signal }).catch(() => {});
      log.info({}, `${process.pid}> ${i + 1}/${max}`);
    }
    return pm.finish();
  },
});

ghost.ctrl(process.argv[2] ?? 'start').then((code) => {
  process.exitCode = code;
});
