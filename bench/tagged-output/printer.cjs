// Prints numbered lines of 80 bytes as fast as it can, itself or by a command whose output it passes on, and tells what that took.
const { spawn } = require('node:child_process');
const { writeFileSync } = require('node:fs');
const { join } = require('node:path');

const [way, count] = [process.argv[2], Number(process.argv[3])];
const slot = process.env.PREFORK_SLOT;
const PADDING = 'x'.repeat(65);

const waysToPrint = {
  console: (done) => {
    for (let i = 0; i < count; i++) console.log(`${slot} ${String(i).padStart(12, '0')}${PADDING}`);
    done();
  },
  command: (done) => {
    // No Node.js program: seq of coreutils.
    const args = ['-f', `${slot} %012.0f${PADDING}`, '0', String(count - 1)];
    const { stdout } = spawn('seq', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    stdout.pipe(process.stdout, { end: false });
    stdout.on('end', () => process.stdout.write('', done));
  },
};

// The time of day, as workers are compared.
const fromMs = performance.timeOrigin + performance.now();
const before = process.cpuUsage();
waysToPrint[way](() => {
  const { user, system } = process.cpuUsage(before);
  const taken = { fromMs, toMs: performance.timeOrigin + performance.now(), cpuUs: user + system };
  writeFileSync(join(process.env.BENCH_RESULTS, slot), JSON.stringify(taken));
  process.send('ready');
});
setInterval(() => {}, 2 ** 30);
