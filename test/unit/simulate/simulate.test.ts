import { expect, test } from 'vitest';
import { fifoWithBackfill, strictPriority } from '../../../dev/simulate/baselines.ts';
import type { Scheduler } from '../../../dev/simulate/cluster.ts';
import { replay } from '../../../dev/simulate/cluster.ts';
import { newRun, nextChange } from '../../../dev/simulate/job-run.ts';
import { jain, measure, quantile } from '../../../dev/simulate/measures.ts';
import { plot } from '../../../dev/simulate/plot.ts';
import { table, time } from '../../../dev/simulate/report.ts';
import { synthetic } from '../../../dev/simulate/synthetic.ts';
import { type JobLine, parseTrace, type Trace, type TraceJob, type TraceLine } from '../../../dev/simulate/trace.ts';
import { schedule } from '../../../operator/scheduler/schedule.ts';

const trace = (...lines: TraceLine[]): Trace => parseTrace(lines.map((line) => JSON.stringify(line)).join('\n'), 'test');
const nodes = (count: number, gpus: number): TraceLine => ({ kind: 'nodes', name: 'n', count, allocatable: { gpu: gpus } });
const acme: TraceLine = { kind: 'tenant', name: 'acme' };
/** 100 s of work for one worker, which starts in no time. */
const job = (name: string, at: number, more: Partial<JobLine> = {}): JobLine => ({ kind: 'job', name, tenant: 'acme', at, items: 100, rate: 1, startup: 0, shards: 100, resources: { gpu: 1 }, ...more });
const ours: Scheduler = (snapshot, now) => schedule(snapshot, now);
const endsOf = (of: Trace, scheduler: Scheduler): Record<string, number> => Object.fromEntries(replay(of, scheduler).runs.map(({ job: { key }, doneAt }) => [key.slice(5), Math.round((doneAt ?? 0) / 1_000)]));

test('the same seed gives the same table and the same plot, byte by byte', () => {
  const shown = (): string => {
    const of = trace(...synthetic({ jobs: 40, seed: 3 }).map((line) => (line.kind === 'job' ? { ...line, items: Math.min(line.items, Math.ceil(line.rate * 200)) } : line)));
    const all = [measure(of, 'ours', ours), measure(of, 'strict', strictPriority(true)), measure(of, 'fifo', fifoWithBackfill(of))];
    expect(all.map(({ stuck }) => stuck)).toEqual([[], [], []]);
    return table(all) + plot(all, 'title');
  };
  const first = shown();
  expect(first).toMatch(/\| deadlines missed +\| +\d+ of \d+/);
  expect(first).toMatch(/<svg xmlns=.*<\/svg>\n$/s);
  expect(first).not.toMatch(/NaN|undefined|Infinity/);
  expect(shown()).toBe(first);
});

test('a job ends when its work is done by the workers that it has, after planning', () => {
  // 2 s of planning, then 4 workers; the last shards are done by fewer and fewer.
  expect(endsOf(trace(nodes(1, 4), acme, job('alone', 0, { workers: { min: 1, max: 1 } })), ours)).toEqual({ alone: 102 });
  expect(endsOf(trace(nodes(1, 4), acme, job('wide', 0, { workers: { min: 1, max: 4 } })), ours).wide).toBeOneOf([28, 29]);
});

test('a job that depends on another comes after it', () => {
  const ends = endsOf(trace(nodes(1, 4), acme, job('second', 0, { dependsOn: ['first'] }), job('first', 0)), ours);
  expect(ends['second']).toBe(204);
});

test('a job that can never run is told, and ends nothing', () => {
  const { stuck } = replay(trace(nodes(1, 1), acme, job('big', 0, { resources: { gpu: 2 } }), job('small', 0)), ours);
  expect(stuck).toEqual([{ key: 'acme/big', message: expect.stringContaining('none would fit on the 1 node(s)') }]);
});

test('FIFO lets a job pass the first one only if that does not hold it up', () => {
  // "wide" needs both GPUs and waits for "long"; "short" is done by then, "other" is not.
  const of = trace(nodes(1, 2), acme, job('long', 0), job('wide', 1, { workers: { min: 2, max: 2 } }), job('other', 2, { items: 300 }), job('short', 3, { items: 50 }));
  const ends = endsOf(of, fifoWithBackfill(of));
  expect(ends['short']).toBeLessThan(60);
  expect(ends['wide']).toBeLessThan(160);
  expect(ends['other']).toBeGreaterThan(400);
});

test('strict priority takes the place of lower jobs that have had their minimum runtime, or only goes first', () => {
  const of = trace(nodes(1, 1), acme, job('low', 0, { items: 1_000 }), job('mean', 150, { priority: 1, items: 300 }), job('high', 200, { priority: 2 }));
  expect(endsOf(of, strictPriority(true))).toMatchObject({ high: expect.closeTo(376, -1), mean: expect.closeTo(562, -1), low: expect.closeTo(1_415, -1) });
  expect(endsOf(of, strictPriority(false))).toMatchObject({ low: expect.closeTo(1_002, -1), high: expect.closeTo(1_105, -1), mean: expect.closeTo(1_408, -1) });
});

test("Jain's index is 1 for equals and 1/n when one has all; quantiles are of the nearest rank", () => {
  expect([jain([2, 2, 2]), jain([1, 0, 0, 0])]).toEqual([1, 0.25]);
  expect([quantile([1, 2, 3, 4], 0.5), quantile([1, 2, 3, 4], 0.99), quantile([], 0.5)]).toEqual([2, 4, 0]);
  expect([time(0), time(59_400), time(61_000), time(7_200_000)]).toEqual(['0 s', '59 s', '1 min 1 s', '2 h']);
});

test('a job of many items of which the last is left over still comes to its end', () => {
  const [one] = trace(nodes(1, 1), acme, job('huge', 0, { items: 1_000_000_000, shards: 1 })).jobs;
  const run = { ...newRun(one as TraceJob, 0), left: 0.1, plannedAt: 0 };
  run.pods = [{ run, node: 'n-0', boundAt: 0, worksAt: 0, endingAt: undefined }];
  expect(nextChange(run, 10_000)).toBe(10_100);
});

test('the wait is all the time without a worker; until the first start and the longest at a time are told beside it', () => {
  // "low" waits 10 s for "first", runs, and gives its place to "high".
  const of = trace(nodes(1, 1), acme, job('first', 0, { items: 10 }), job('low', 2, { items: 300 }), job('high', 150, { priority: 1_000 }));
  const [low, , high] = measure(of, 'ours', ours).waits;
  const seconds = (list: readonly number[] | undefined): number[] => (list ?? []).map((ms) => Math.round(ms / 1_000));
  expect([seconds(low?.first), seconds(high?.first)]).toEqual([[0, 10], [2]]);
  expect(seconds(low?.longest)).toEqual([0, 104]);
  expect(seconds(low?.sorted)).toEqual([0, 114]);
});
