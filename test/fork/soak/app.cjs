// Every worker serves, fetches from itself, compiles WebAssembly, ends a thread, collects garbage and leaves normally.
const assert = require('node:assert');
const { once } = require('node:events');
const http = require('node:http');
const net = require('node:net');

const EMPTY_WASM = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);
const ballast = Array.from({ length: 50_000 }, (_, i) => ({ i, text: `kept ${i}` }));

async function work() {
  const response = await fetch(`http://127.0.0.1:${process.env.PORT}/`, { headers: { connection: 'close' } });
  assert.equal(await response.text(), 'soaked');
  await WebAssembly.compile(EMPTY_WASM);
  await thread();
  churn();
  assert.equal((await require('node:fs').promises.readFile(__filename)).length > 0, true);
}

async function thread() {
  const { Worker } = require('node:worker_threads');
  const worker = new Worker('require("node:worker_threads").parentPort.postMessage(6 * 7)', { eval: true });
  const exit = once(worker, 'exit');
  assert.deepEqual(await once(worker, 'message'), [42]);
  assert.deepEqual(await exit, [0]);
}

/** New garbage, and old space that was shared until now. */
function churn() {
  let live = [];
  for (let i = 0; i < 200_000; i++) {
    live.push({ i });
    if (live.length > 20_000) live = [];
  }
  for (let i = 0; i < ballast.length; i += 7) ballast[i] = { i, text: `new ${i}` };
}

churn();
const server = http.createServer((_req, res) => res.end('soaked'));
server.listen(process.env.PORT, '127.0.0.1', async () => {
  await work();
  process.exitCode = Number(process.env.SOAK_CODE);
  // What it has accepted, it answers: another worker's fetch may have come here. That of http ends connections without a request.
  net.Server.prototype.close.call(server, leave);
});

/** Half of them by themselves, half because they are told to, with something open. */
function leave() {
  if (process.env.SOAK_LEAVE === 'exit') {
    setInterval(() => {}, 1000);
    process.exit();
  }
  process.disconnect?.();
}
