import { describe, expect, it } from 'vitest';
import type { Schedule } from '../../../operator/scheduler/result.ts';
import { schedule } from '../../../operator/scheduler/schedule.ts';
import type { JobState, TenantState } from '../../../operator/scheduler/snapshot.ts';
import { aNode, aTenant, MINUTE, newJob, NOW, runningFor } from '../../support/scheduling.ts';

const play = (gpus: readonly number[], ...jobs: JobState[]): Schedule =>
  schedule({ tenants: [aTenant('acme'), aTenant('beta')], jobs, nodes: gpus.map((count, index) => aNode(`n${index + 1}`, count)), finished: new Map() }, NOW);
const workers = ({ decisions }: Schedule): Record<string, number> => Object.fromEntries(decisions.map(({ uid, workers: count }) => [uid, count]));
/** It has waited so long, and its tenant already has its share: half of the cluster. */
const old = (name: string, minutes: number, more: Partial<JobState> = {}): JobState => newJob(name, { createdAt: NOW - minutes * MINUTE, queuedAt: NOW - minutes * MINUTE, ...more });
const high = { priority: 1_000, tenant: 'beta' };

describe('a job that has aged in full', () => {
  it('takes the place of any that has had its minimum runtime, whatever rank and shares say', () => {
    const result = play([2], runningFor('share', 'n1', 1, 60), runningFor('high', 'n1', 1, 120, high), old('old', 75));
    expect(workers(result)).toEqual({ share: 1, high: 0, old: 1 });
    expect(result.victims).toMatchObject([{ key: 'beta/high', from: 1, to: 0, reason: 'Starvation', for: 'acme/old' }]);
    expect(result.decisions[2]?.held.forced).toBe(true);
  });

  it.each([
    ['not a minute before', 74, 120],
    ['not from one that has run for 119 s', 75, 119],
  ])('%s', (_, waited, ran) => {
    expect(workers(play([2], runningFor('share', 'n1', 1, 60), runningFor('high', 'n1', 1, ran, high), old('old', waited)))).toEqual({ share: 1, high: 1, old: 0 });
  });

  it('is served one at a time, who has waited longest first', () => {
    const run = [runningFor('one', 'n1', 1, 300, high), runningFor('two', 'n1', 1, 300, high)];
    const share = runningFor('share', 'n2', 2, 60, { min: 2 });
    const first = play([2, 2], share, ...run, old('later', 160), old('longest', 170));
    expect(workers(first)).toMatchObject({ longest: 1, later: 0 });
    const forced = (seconds: number): JobState => runningFor('longest', 'n1', 1, seconds, { held: { workers: 1, planned: [], waitingSince: NOW - 170 * MINUTE, startedAt: NOW - seconds * 1_000, hurried: false, forced: true } });
    expect(workers(play([2, 2], share, forced(119), runningFor('two', 'n1', 1, 300, high), old('later', 160)))).toMatchObject({ two: 1, later: 0 });
    expect(workers(play([2, 2], share, forced(120), runningFor('two', 'n1', 1, 300, high), old('later', 160)))).toMatchObject({ later: 1 });
  });

  it('that finds all too young to be stopped keeps a node free of new workers', () => {
    const next = newJob('next', { tenant: 'beta', priority: 1_000 });
    const without = play([2], runningFor('high', 'n1', 1, 60, high), next);
    expect(workers(without)).toMatchObject({ next: 1 });
    const result = play([2], runningFor('high', 'n1', 1, 60, high), next, old('old', 75, { min: 2 }));
    expect(workers(result)).toEqual({ high: 1, next: 0, old: 0 });
    expect(result.decisions[1]).toMatchObject({ reason: 'WaitingForCapacity', message: 'waiting for capacity: room is kept for acme/old, which has waited longest; 1 ahead', position: 2 });
    expect(result.decisions[2]).toMatchObject({ message: 'waiting for capacity: needs 2 nvidia.com/gpu, 1 of 2 is free on 1 node(s); 0 ahead', position: 1 });
  });

  it('keeps no more nodes than it needs, those first where all may be stopped soonest', () => {
    const result = play([3, 2], runningFor('young', 'n1', 2, 10, { ...high, min: 2 }), runningFor('older', 'n2', 1, 100, high), old('old', 75, { min: 2, oneNode: true }), newJob('next', { tenant: 'beta', max: 2 }));
    expect(workers(result)).toEqual({ young: 2, older: 1, old: 0, next: 1 });
    expect(result.decisions[3]?.planned).toEqual(['n1']);
  });

  it('keeps quota and a turn free as well', () => {
    const limited = (quota: Partial<TenantState>, ...jobs: JobState[]): Record<string, number> =>
      workers(schedule({ tenants: [aTenant('acme', quota)], jobs, nodes: [aNode('n1', 9)], finished: new Map() }, NOW));
    const busy = [runningFor('busy', 'n1', 2, 60, { min: 2, priority: 1_000 })];
    expect(limited({ quota: { pods: 3 } }, ...busy, old('old', 75, { min: 2 }), newJob('next', { priority: 1_000 }))).toEqual({ busy: 2, old: 0, next: 0 });
    expect(limited({ maxRunningJobs: 1 }, ...busy, old('old', 75), newJob('next', { priority: 1_000 }))).toEqual({ busy: 2, old: 0, next: 0 });
  });

  it('stands in nobody’s way if it does not fit on empty nodes', () => {
    const result = play([2], old('huge', 300, { min: 3 }), newJob('next', { tenant: 'beta' }));
    expect(workers(result)).toEqual({ huge: 0, next: 1 });
    expect(result.decisions[0]).toMatchObject({ reason: 'NoMatchingNode' });
  });
});
