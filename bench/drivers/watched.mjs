/** A service that is looked at in every way at once: Prometheus' scrapes, a live page and `prefork top`. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from './process.mjs';

const watcher = join(dirname(fileURLToPath(import.meta.url)), 'watcher.mjs');

/** `start(options)` starts a service with prefork's `options`; `prefork` is the command to look at it with. */
export async function startWatched(prefork, start) {
  const directory = mkdtempSync(join(tmpdir(), 'prefork-bench-'));
  const control = join(directory, 'control');
  const port = await freePort();
  const service = await start(['--metrics', `127.0.0.1:${port}`, '--control', control]);
  const top = [process.execPath, prefork, 'top', '--control', control].join(' ');
  const watchers = [
    // A terminal of its own: into a pipe it would print once.
    spawn('script', ['-qefc', top, '/dev/null'], { env: { ...process.env, TERM: 'xterm' } }),
    spawn(process.execPath, [watcher, `http://127.0.0.1:${port}`]),
  ];
  let told = '';
  watchers[1].stdout.setEncoding('utf8').on('data', (text) => {
    told = text;
  });
  // What it costs to start them is not what is measured.
  await Promise.all(watchers.map(({ stdout }) => once(stdout, 'data')));
  watchers[0].stdout.resume();
  return {
    pid: service.pid,
    async stop() {
      watchers[0].stdin.write('q');
      watchers[1].kill('SIGTERM');
      const ends = await Promise.all(watchers.map((child) => once(child, 'exit')));
      await service.stop();
      rmSync(directory, { recursive: true });
      if (ends[0][0] !== 0 || !/^[1-9]\d* scrapes, [1-9]\d* looks/.test(told)) {
        throw new Error(`nobody looked: top ended with ${ends[0][0]}, the watcher said ${told}`);
      }
    },
  };
}
