import { expect, test } from 'vitest';
import { nodes } from './run';
import { soak } from './soak/soak';

const FORKS = 50;

test.each(nodes)(
  `${FORKS} workers of one forkserver do something of everything, with %s`,
  {
    timeout: 300_000,
  },
  async (node) => {
    expect(await soak({ node, forks: FORKS, parallel: 4 })).toEqual({ done: FORKS, failures: [] });
  },
);
