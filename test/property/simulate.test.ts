import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fifoWithBackfill, strictPriority } from '../../dev/simulate/baselines.ts';
import { replay, type Scheduler } from '../../dev/simulate/cluster.ts';
import { parseTrace, type Trace, type TraceLine } from '../../dev/simulate/trace.ts';
import { schedule } from '../../operator/scheduler/schedule.ts';

const job = fc.record({
  at: fc.integer({ min: 0, max: 600 }), tenant: fc.nat(1), priority: fc.constantFrom(0, 500, 900), items: fc.integer({ min: 1, max: 1_000 }), rate: fc.constantFrom(1, 2, 7.3), shards: fc.integer({ min: 1, max: 20 }),
  min: fc.constantFrom(1, 1, 2), more: fc.nat(4), startup: fc.constantFrom(0, 5, 30), gpus: fc.constantFrom(0, 1, 1, 2), deadline: fc.option(fc.integer({ min: 60, max: 3_000 }), { nil: undefined }), on: fc.option(fc.nat(20), { nil: undefined, freq: 4 }),
});
const aTrace = fc.record({ nodes: fc.integer({ min: 1, max: 3 }), quota: fc.integer({ min: 4, max: 12 }), weight: fc.integer({ min: 1, max: 3 }), jobs: fc.array(job, { minLength: 1, maxLength: 12 }) }).map(({ nodes, quota, weight, jobs }): Trace => {
  const lines: TraceLine[] = [
    { kind: 'nodes', name: 'n', count: nodes, allocatable: { cpu: 8, gpu: 4 } },
    { kind: 'tenant', name: 't0', weight, quota: { 'requests.gpu': quota, pods: 12 } },
    { kind: 'tenant', name: 't1' },
    ...jobs.map(({ at, tenant, priority, items, rate, shards, min, more, startup, gpus, deadline, on }, index): TraceLine => ({
      kind: 'job', name: `j${index}`, tenant: `t${tenant}`, at, priority, items, rate, shards: Math.min(items, shards), workers: { min, max: min + more }, startup, resources: { cpu: 1, gpu: gpus },
      ...(deadline === undefined ? {} : { deadline: at + deadline }), ...(on !== undefined && on < index && jobs[on]?.tenant === tenant ? { dependsOn: [`j${on}`] } : {}),
    })),
  ];
  return parseTrace(lines.map((line) => JSON.stringify(line)).join('\n'), 'generated');
});

const policies: [name: string, of: (trace: Trace) => Scheduler][] = [
  ['ours', () => (snapshot, now) => schedule(snapshot, now)],
  ['strict priority', () => strictPriority(true)],
  ['strict priority without preemption', () => strictPriority(false)],
  ['FIFO with backfill', fifoWithBackfill],
];

test.each(policies)('%s: every job ends, does each item once, and nodes and quotas hold all the time', (_name, schedulerOf) => {
  fc.assert(fc.property(aTrace, (trace) => {
    const worked = new Map<string, number>();
    const { runs, stuck } = replay(trace, schedulerOf(trace), {
      worked({ job: { key, rate } }, workers, from, to) {
        expect(to).toBeGreaterThan(from);
        worked.set(key, (worked.get(key) ?? 0) + (workers * rate * (to - from)) / 1_000);
      },
      scheduled(cluster) {
        for (const { name } of trace.nodes) for (const [resource, free] of Object.entries(cluster.freeOf(name))) expect(free, `${resource} on ${name}`).toBeGreaterThanOrEqual(0);
        for (const { name, quota } of trace.tenants) {
          const pods = cluster.active.filter(({ job: { tenant } }) => tenant === name).flatMap((run) => run.pods.filter(({ endingAt }) => endingAt === undefined));
          expect(pods.length).toBeLessThanOrEqual(quota['pods'] ?? 1_000);
          expect(pods.reduce((sum, { run }) => sum + (run.job.perWorker['gpu'] ?? 0), 0)).toBeLessThanOrEqual(quota['requests.gpu'] ?? 1_000);
        }
        for (const { pods, job: { min, max } } of cluster.active) {
          const staying = pods.filter(({ endingAt }) => endingAt === undefined).length;
          expect(staying === 0 || (staying >= Math.min(min, max) - 1 && staying <= max)).toBe(true);
        }
      },
    });
    expect(stuck).toEqual([]);
    for (const { job: { key, items, rate, max }, lost, doneAt, pods } of runs) {
      expect([doneAt !== undefined, pods]).toEqual([true, []]);
      // The last moment is rounded up to a millisecond.
      const extra = (worked.get(key) ?? 0) - items - lost;
      expect(extra).toBeGreaterThanOrEqual(-1e-3);
      expect(extra).toBeLessThanOrEqual((max * rate) / 100 + 1e-3);
    }
    for (const { job: { dependsOn }, doneAt } of runs) for (const key of dependsOn) expect(doneAt).toBeGreaterThan(runs.find(({ job }) => job.key === key)?.doneAt as number);
  }), { numRuns: 25 });
});
