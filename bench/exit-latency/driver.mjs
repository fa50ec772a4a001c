// One driver in a process of its own: driver.mjs <native|child_process> <killer> <trials>. Prints the time from SIGKILL to
// the callback in microseconds, a JSON array.
import { spawn as spawnChildProcess } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { close, spawn, waitpid, watchExit } from '../../dist/posix.js';

const [driver, killerPath, trials] = process.argv.slice(2);
/** CLOCK_MONOTONIC, as the killer's. */
const nowNs = () => process.hrtime.bigint();

const drivers = {
  native(ended) {
    const child = spawn('/bin/sleep', ['1000'], { env: {}, stdio: [null, null, null] });
    watchExit(child, (result) => ended(nowNs(), result?.signal));
    return child.pid;
  },
  child_process(ended) {
    const child = spawnChildProcess('/bin/sleep', ['1000'], { env: {}, stdio: 'ignore' });
    child.on('exit', (_code, signal) => ended(nowNs(), signal));
    return child.pid;
  },
};

/** The killer, started without child_process, which would have a SIGCHLD handler run at every exit of either driver's. */
function startKiller(directory) {
  const fifo = join(directory, 'pids');
  waitpid(spawn('mkfifo', [fifo]));
  const writer = openSync(fifo, 'r+');
  const reader = openSync(fifo, 'r');
  const times = openSync(join(directory, 'times'), 'w');
  const child = spawn(killerPath, [], { env: {}, stdio: [reader, times, 2] });
  for (const fd of [reader, times]) close(fd);
  return {
    kill: (pid) => writeSync(writer, `${pid}\n`),
    /** When it sent each signal. */
    finish() {
      close(writer);
      waitpid(child);
      return readFileSync(join(directory, 'times'), 'utf8').trim().split('\n').map(BigInt);
    },
  };
}

const directory = mkdtempSync(join(tmpdir(), 'prefork-exit-latency-'));
try {
  const killer = startKiller(directory);
  const endedNs = [];
  for (let trial = 0; trial < Number(trials); trial++) {
    await new Promise((resolve, reject) => {
      const pid = drivers[driver]((atNs, signal) => {
        endedNs.push(atNs);
        if (signal === 'SIGKILL') resolve();
        else reject(new Error(`ended by ${signal}`));
      });
      killer.kill(pid);
    });
  }
  const killedNs = killer.finish();
  console.log(JSON.stringify(endedNs.map((atNs, index) => Number(atNs - killedNs[index]) / 1000)));
} finally {
  rmSync(directory, { recursive: true });
}
