import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readCgroupLimits } from '../../../inference-pod/cgroup.ts';
import { poolSize } from '../../../inference-pod/engine/pool-size.ts';
import { companionWarning } from '../../../inference-pod/model/companions.ts';
import { candidates, choose, unmeasured } from '../../../inference-pod/planning/batch-plan.ts';

describe('the limits of a control group', () => {
  function read(membership: string, files: Record<string, string>): ReturnType<typeof readCgroupLimits> {
    const mount = mkdtempSync(join(tmpdir(), 'millrace-cgroup-'));
    for (const [path, content] of Object.entries({ ...files, membership })) {
      mkdirSync(dirname(join(mount, path)), { recursive: true });
      writeFileSync(join(mount, path), `${content}\n`);
    }
    return readCgroupLimits(mount, join(mount, 'membership'));
  }

  test.each<[what: string, membership: string, files: Record<string, string>, limits: ReturnType<typeof readCgroupLimits>]>([
    ['v2 in a container', '0::/', { 'cpu.max': '150000 100000', 'memory.max': '536870912' }, { cpuMillis: 1500, memoryBytes: 536870912 }],
    ['v2 without limits', '0::/', { 'cpu.max': 'max 100000', 'memory.max': 'max' }, {}],
    ['v2 on a host, the least of all groups above', '0::/a/b', { 'cpu.max': 'max 100000', 'a/cpu.max': '200000 100000', 'a/b/cpu.max': '50000 10000', 'a/memory.max': '1000', 'a/b/memory.max': 'max' }, { cpuMillis: 2000, memoryBytes: 1000 }],
    ['v1 in a container that sees the path of its host', '5:memory:/kubepods/x\n4:cpu,cpuacct:/kubepods/x', { 'cpu/cpu.cfs_quota_us': '25000', 'cpu/cpu.cfs_period_us': '100000', 'memory/memory.limit_in_bytes': '1048576' }, { cpuMillis: 250, memoryBytes: 1048576 }],
    ['v1 without limits', '5:memory:/\n4:cpu,cpuacct:/', { 'cpu,cpuacct/cpu.cfs_quota_us': '-1', 'cpu,cpuacct/cpu.cfs_period_us': '100000', 'memory/memory.limit_in_bytes': '9223372036854771712' }, {}],
    ['none at all', '', {}, {}],
  ])('are read: %s', (_what, membership, files, limits) => {
    expect(read(membership, files)).toEqual(limits);
  });
});

describe('a pool has', () => {
  const MiB = 1024 * 1024;
  test.each<[what: string, options: Parameters<typeof poolSize>[0], size: ReturnType<typeof poolSize>]>([
    ['a session for each CPU', { cpus: 4, modelBytes: MiB, memoryBytes: 1024 * MiB }, { sessions: 4, threads: 1 }],
    ['one where there is no limit on memory', { cpus: 4, modelBytes: 9_999 * MiB }, { sessions: 4, threads: 1 }],
    ['fewer sessions with more threads each for a large model', { cpus: 8, modelBytes: 1_000 * MiB, memoryBytes: 4_096 * MiB }, { sessions: 2, threads: 4 }],
    ['one session with all threads for one that hardly fits', { cpus: 4, modelBytes: 3_000 * MiB, memoryBytes: 4_096 * MiB }, { sessions: 1, threads: 4 }],
    ['no more sessions than the operator takes', { cpus: 192, modelBytes: MiB }, { sessions: 63, threads: 3 }],
  ])('%s', (_what, options, size) => {
    expect(poolSize(options)).toEqual(size);
  });
});

describe('the batch size', () => {
  const known = { maxSize: 256, uniform: true, itemMs: 0.1 };
  const measured = [[1, 0.3], [2, 0.2], [4, 0.15], [8, 0.104], [16, 0.1], [32, 0.101]].map(([size, itemMs]) => ({ size: size as number, itemMs: itemMs as number }));

  test('is the smallest within 5 % of the best', () => {
    expect(choose(measured, known)).toEqual({ size: 8, window: 8 });
    expect(choose(measured.slice(0, 1), known).size).toBe(1);
  });

  test('is tried up to the most that the job allows, the sample has, and half a second takes', () => {
    expect(candidates({ maxSize: 20, itemMs: 0.1 }, 256, 1e6)).toEqual([1, 2, 4, 8, 16]);
    expect(candidates({ maxSize: 256, itemMs: 0.1 }, 5, 1e6)).toEqual([1, 2, 4]);
    expect(candidates({ maxSize: 256, itemMs: 100 }, 256, 1e6)).toEqual([1, 2, 4]);
    expect(candidates({ maxSize: 256, itemMs: 9_000 }, 256, 1e6)).toEqual([1]);
  });

  test('is tried in larger steps, or not at all, where it would take more than 3 % of the job', () => {
    expect(candidates({ maxSize: 256, itemMs: 0.1 }, 256, 51_100)).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256]);
    expect(candidates({ maxSize: 256, itemMs: 0.1 }, 256, 51_099)).toEqual([1, 4, 16, 64, 256]);
    expect(candidates({ maxSize: 128, itemMs: 0.1 }, 256, 20_000)).toEqual([2, 8, 32, 128]);
    expect(candidates({ maxSize: 256, itemMs: 0.1 }, 256, 34_099)).toEqual([]);
    expect(candidates({ maxSize: 256, itemMs: 100 }, 256, 500)).toEqual([1, 4]);
  });

  test('is what is usual where it was not tried', () => {
    expect(unmeasured(known)).toEqual({ size: 32, window: 32 });
    expect(unmeasured({ ...known, maxSize: 4 })).toEqual({ size: 4, window: 4 });
    expect(unmeasured({ ...known, itemMs: 100 }).size).toBe(5);
  });

  test('goes with a window of at most half a second where shapes vary', () => {
    expect(choose(measured, { ...known, uniform: false }).window).toBe(1024);
    expect(choose([{ size: 4, itemMs: 10 }], { ...known, uniform: false })).toEqual({ size: 4, window: 50 });
    expect(choose([{ size: 4, itemMs: 1_000 }], { ...known, uniform: false })).toEqual({ size: 4, window: 4 });
  });
});

test('a model that quantises dynamically is known by its operators', () => {
  expect(companionWarning(new Set(['MatMul', 'QuantizeLinear', 'QLinearConv']))).toBeUndefined();
  const warning = companionWarning(new Set(['DynamicQuantizeLinear', 'MatMulInteger', 'Add']));
  expect(warning).toMatch(/^the model quantises dynamically \(DynamicQuantizeLinear, MatMulInteger\): in a batch an item's result would depend/);
  expect(warning?.length).toBeLessThanOrEqual(300);
});
