// A daemon by itself, as with Acme::Ghost: it counts to ten, or as far as it is told, once a second.
//
//     node examples/daemon.js start [count]
//     node examples/daemon.js status | reload | restart | stop
const { setTimeout: sleep } = require('node:timers/promises');
const { daemon } = require('prefork');

class Counter {
  pidFile = 'daemon.pid';
  logFile = 'daemon.log';
  max = Number(process.argv[3] ?? 10);

  init({ log }) {
    log.info({}, `counting to ${this.max}`);
  }

  hangup({ log }) {
    log.info({}, 'told to reload');
  }

  async startup(d) {
    for (let i = 1; d.tick(); i++) {
      await sleep(1000, undefined, { signal: d.signal }).catch(() => {});
      d.log.info({}, `${process.pid}> ${i}/${this.max}`);
      if (i >= this.max) d.tick(true);
    }
  }

  cleanup({ log }, scope) {
    if (scope === 1) log.info({}, 'done');
  }
}

daemon(new Counter())
  .ctrl(process.argv[2] ?? 'start')
  .then((code) => {
    process.exitCode = code;
  });
