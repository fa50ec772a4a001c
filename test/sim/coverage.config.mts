/** `npm run sim:coverage`: the simulator alone must take every branch of the core. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/sim/sim.test.ts'],
    testTimeout: 300_000,
    coverage: {
      enabled: true,
      provider: 'v8',
      reporter: ['text'],
      include: ['src/core/{step,reconcile,retirement,elastic,rollout,stop,ready,draft,state,random}.ts'],
      thresholds: { branches: 100, functions: 100, lines: 100, statements: 100 },
    },
  },
});
