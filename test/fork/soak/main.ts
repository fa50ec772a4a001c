/**
 * `npm run soak`: the soak with thousands of forks for each version of Node, one after the other. Goes on where it was interrupted.
 *   SOAK_FORKS=n        for each version; default 2,000
 *   SOAK_NODES=a:b:c    paths; default the running one
 *   SOAK_STATE=file     counts so far; default node_modules/.cache/prefork-soak.json. To start anew, remove it
 *   SOAK_PARALLEL=n     workers at once; default 4
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../root';
import { type Progress, soak } from './soak';

const REPORT_EVERY = 100;

type State = Record<string, Progress>;

const stateFile = process.env.SOAK_STATE ?? join(root, 'node_modules', '.cache', 'prefork-soak.json');
const forks = Number(process.env.SOAK_FORKS ?? 2000);
const parallel = Number(process.env.SOAK_PARALLEL ?? 4);

function load(): State {
  try {
    return JSON.parse(readFileSync(stateFile, 'utf8')) as State;
  } catch {
    return {};
  }
}

async function soakWith(node: string, state: State): Promise<boolean> {
  const version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
  const former = state[version]?.done ?? 0;
  const progress: Progress = { done: former, failures: [] };
  state[version] = progress;
  const onProgress = ({ done, failures }: Progress) => {
    writeFileSync(stateFile, JSON.stringify(state));
    if (failures.length > 0) console.log(`${version}: ${failures.at(-1)}`);
    else if (done % REPORT_EVERY === 0) console.log(`${version}: ${done} of ${forks}`);
  };
  const { done, failures } = await soak({ node, forks, parallel, progress, onProgress });
  console.log(
    `${version}: ${done} of ${forks} forks, ${done - former} of them now, ${failures.length} failures`,
  );
  return failures.length === 0;
}

async function main(): Promise<void> {
  const state = load();
  let well = true;
  for (const node of (process.env.SOAK_NODES ?? process.execPath).split(':')) {
    well = (await soakWith(node, state)) && well;
  }
  process.exitCode = well ? 0 : 1;
}

void main();
