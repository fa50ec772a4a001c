// As many workers as there is work for: one or two are always free, and at most six there are. Each takes a job now and then.
//
//     node examples/spare-workers.js
const { setTimeout: sleep } = require('node:timers/promises');
const { Prefork } = require('prefork');

async function main() {
  const pm = new Prefork({
    maxWorkers: 6,
    minSpareWorkers: 1,
    maxSpareWorkers: 2,
    afterFork: (pm, pid) => console.log(`worker ${pid} is the ${pm.numWorkers}.`),
  });
  const isManager = await pm.start(async () => {
    while (pm.tick()) {
      await sleep(Math.random() * 500);
      pm.setBusy();
      await sleep(Math.random() * 500);
      pm.setIdle();
    }
  });
  if (isManager) await pm.waitAllChildren();
}

main();
