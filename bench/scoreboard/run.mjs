/**
 * What the scoreboard costs: a request's updates in a worker, a heartbeat, and a reading of 1,000 rows in the manager.
 *   node bench/scoreboard/run.mjs
 */
import { createRequire } from 'node:module';
import { cpus } from 'node:os';

const require = createRequire(import.meta.url);
const { loadBinding } = require('../../dist/engine/binding.js');
const { Board } = require('../../dist/scoreboard/board.js');
const { PAGE_BYTES } = require('../../dist/scoreboard/layout.js');
const { Vitals } = require('../../dist/worker/vitals.js');

const ROUNDS = 21;
const REQUESTS = 100_000;
const ROWS = 1000;

const { binding, reason } = loadBinding();
if (binding === null) throw new Error(`the addon does not load: ${reason}`);
const board = new Board(binding);

function vitalsOf(workerId) {
  const { fd } = board.open({ workerId, slot: workerId - 1, generation: 1 });
  const page = binding.mmap(fd, 0, PAGE_BYTES, true);
  const boot = { fd, intervalMs: 5000, inspect: true };
  const vitals = new Vitals({ boot, page, report() {}, servesAtOnce: false });
  vitals.start();
  vitals.serves();
  return vitals;
}

/** Of the rounds the best and the median, in nanoseconds a turn: on a machine with other work the best is the one undisturbed. */
function measure(name, turns, work) {
  const each = [];
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.hrtime.bigint();
    for (let turn = 0; turn < turns; turn++) work(turn);
    each.push(Number(process.hrtime.bigint() - before) / turns);
  }
  each.sort((a, b) => a - b);
  return { name, bestNs: Math.round(each[0]), medianNs: Math.round(each[ROUNDS >> 1]) };
}

const all = Array.from({ length: ROWS }, (_, index) => vitalsOf(index + 1));
const [one] = all;
let served = 0;
let sum = 0;
const results = [
  // All that a request does to the row: it opens, closes and is counted.
  measure('a request: busy, idle, counted', REQUESTS, () => {
    one.requestOpens();
    one.requestsClose(1);
    one.requestsServed(++served);
  }),
  measure('a connection: opened, closed, bytes', REQUESTS, (turn) => {
    one.connectionsOpen(turn & 1);
    one.bytes(100, 1000);
  }),
  measure('tick()', REQUESTS, () => one.tick()),
  measure(`reading ${ROWS} rows`, 1, () => {
    for (let workerId = 1; workerId <= ROWS; workerId++) sum += board.read(workerId).requests;
  }),
];
if (board.read(1).requests !== served || sum === 0) throw new Error('what was written was not read');
console.table(results);
console.log(`Node.js ${process.version}, ${cpus()[0]?.model}`);
board.closeAll();
