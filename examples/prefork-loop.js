// A manager of one's own, with the loop of Parallel::Prefork: TERM ends it, HUP reads the configuration anew.
//
//     node examples/prefork-loop.js [config.json]
const { readFileSync } = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');
const { Prefork } = require('prefork');

const loadConfig = () =>
  JSON.parse(process.argv[2] ? readFileSync(process.argv[2], 'utf8') : '{"job":"nothing"}');

async function runWorker(pm, config) {
  console.log(`worker ${process.pid} of generation ${pm.generation} does ${config.job}`);
  while (pm.tick()) await sleep(100);
  console.log(`worker ${process.pid} is done`);
}

async function main() {
  const pm = new Prefork({
    maxWorkers: 3,
    trapSignals: { TERM: 'TERM', HUP: 'TERM' },
  });
  let config = loadConfig();
  while (pm.signalReceived !== 'TERM') {
    if (pm.signalReceived === 'HUP') config = loadConfig();
    if (await pm.start()) continue;
    await runWorker(pm, config);
    pm.finish();
  }
  await pm.waitAllChildren();
  console.log('all workers are gone');
}

main();
