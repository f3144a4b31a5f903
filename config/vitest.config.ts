import { defineConfig } from 'vitest/config';

/** Each level is a project: `vitest run --config config/vitest.config.ts --project unit`. */
const root = new URL('..', import.meta.url).pathname;
const cluster = { globalSetup: 'test/support/e2e/global-setup.ts', testTimeout: 240_000, hookTimeout: 300_000, fileParallelism: false };

export default defineConfig({
  root,
  test: {
    reporters: ['default'],
    projects: [
      { root, test: { name: 'unit', include: ['test/unit/**/*.test.ts'], testTimeout: 30_000, sequence: { groupOrder: 0 } } },
      { root, test: { name: 'property', include: ['test/property/**/*.test.ts'], testTimeout: 60_000, sequence: { groupOrder: 1 } } },
      { root, test: { name: 'integration', include: ['test/integration/**/*.test.ts'], testTimeout: 60_000, hookTimeout: 60_000, maxWorkers: 2, sequence: { groupOrder: 2 } } },
      { root, test: { name: 'e2e', include: ['test/e2e/*.test.ts'], ...cluster, sequence: { groupOrder: 3 } } },
      // These take nodes and the operator away from under running jobs, so nothing else may run beside them.
      { root, test: { name: 'loss', include: ['test/e2e/loss/*.test.ts'], ...cluster, testTimeout: 300_000, sequence: { groupOrder: 4 } } },
    ],
  },
});
