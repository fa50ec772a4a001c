/** As the first process of a container, in a pid namespace of its own. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { loadBinding } from '../../src/engine/binding';
import { fixture, Service } from '../helpers/service';

function mayUnshare(): boolean {
  try {
    execFileSync('unshare', ['--pid', '--fork', '--mount-proc', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

const able = loadBinding().binding !== null && existsSync('/proc/self/ns/pid') && mayUnshare();

describe.skipIf(!able)('as pid 1', () => {
  let service: Service | undefined;
  afterEach(async () => {
    await service?.dispose();
    service = undefined;
  });

  function start(entry: string): Service {
    const wrap = ['unshare', '--pid', '--fork', '--kill-child=TERM', '--mount-proc'];
    service = Service.start(['-w', '1', '-b', '127.0.0.1:0', entry], { engine: 'native', wrap });
    return service;
  }

  it('reaps the orphans that it adopts', async () => {
    const run = start(fixture('orphans.js'));
    const { port } = await run.serving();
    const ask = async (path: string): Promise<string> =>
      (await fetch(`http://127.0.0.1:${port}${path}`)).text();
    const orphans = JSON.parse(await ask('/orphans')) as number[];
    expect(orphans.length).toBe(5);
    // The worker looks at /proc of the namespace: an orphan that was reaped is not there any more.
    expect(JSON.parse(await ask('/gone'))).toEqual(orphans);
    const statuses = run.lines.filter((line) => line.event === 'worker-exited');
    expect(statuses).toEqual([]);
    // unshare(1) itself takes no TERM while it waits for its child, the manager.
    const manager = Number(readFileSync(`/proc/${run.pid}/task/${run.pid}/children`, 'utf8'));
    process.kill(manager, 'SIGTERM');
    expect(await run.exited).toEqual({ code: 0, signal: null });
  });
});
