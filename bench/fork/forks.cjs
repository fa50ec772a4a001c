// forks.cjs PROGRAM COUNT: loads what PROGRAM loads, forks COUNT times, and prints how long each fork took until the child stood, in
// nanoseconds, with the memory that it had, as JSON. The child ends at once.
const { join } = require('node:path');

const binding = require('node-gyp-build')(join(__dirname, '..', '..'));
const [program, count] = process.argv.slice(2);
const ANY_SLEEP = 1;

async function main() {
  const { residentMemory } = await import('./processes.mjs');
  require(program);
  await new Promise(setImmediate);
  const took = Array.from({ length: Number(count) }, forkOnce);
  console.log(JSON.stringify({ ...residentMemory(process.pid), took }));
  process.exit();
}

/** The call that a forkserver makes. */
function forkOnce() {
  const start = process.hrtime.bigint();
  const pid = binding.fork(ANY_SLEEP, 0);
  if (pid === 0) binding.exitNow(0);
  const took = Number(process.hrtime.bigint() - start);
  if (pid < 0) throw new Error(`fork failed: ${pid} ${JSON.stringify(binding.forkFailure())}`);
  binding.waitpid(pid, -1, false);
  return took;
}

void main();
