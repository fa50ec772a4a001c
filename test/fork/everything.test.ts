import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { fixture, jsonLines, nodes, run } from './run';

const scenarios = Object.keys(createRequire(__filename)(fixture('scenarios.cjs')) as object);

describe.each(nodes)('in a forked process of %s', (node) => {
  test.each(scenarios)('%s works, and the process ends by itself', async (scenario) => {
    const { stdout, stderr } = await run(node, [fixture('forked.cjs'), scenario]);
    const complaints = stderr.replace(
      /^(Debugger listening on|For help, see:|Debugger ending on) .*\n/gm,
      '',
    );
    expect({ ended: jsonLines(stdout), stderr: complaints }).toEqual({
      ended: [{ exitCode: 42, signal: null }],
      stderr: '',
    });
  });
});
