import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    // Real processes on few cores: files run side by side only as far as the machine goes.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Timing tests of two files can starve each other on two cores; what needed its second run is named in the report.
    retry: process.env.CI ? 2 : 0,
  },
});
