import { describe, expect, it } from 'vitest';
import { defaultPolicy } from '../../../operator/scheduler/policy.ts';
import { outranks } from '../../../operator/scheduler/room-search.ts';
import type { Rank } from '../../../operator/scheduler/rank.ts';
import type { Decision, Schedule } from '../../../operator/scheduler/result.ts';
import { schedule } from '../../../operator/scheduler/schedule.ts';
import type { JobState, TenantState } from '../../../operator/scheduler/snapshot.ts';
import { aNode, aTenant, MINUTE, newJob, NOW, runningFor } from '../../support/scheduling.ts';

const play = (nodes: readonly number[], tenants: readonly TenantState[], ...jobs: JobState[]): Schedule =>
  schedule({ tenants, jobs, nodes: nodes.map((gpus, index) => aNode(`n${index + 1}`, gpus)), finished: new Map() }, NOW);
const workers = ({ decisions }: Schedule): Record<string, number> => Object.fromEntries(decisions.map(({ uid, workers: count }) => [uid, count]));
const acme = [aTenant('acme')];

describe('a job outranks another', () => {
  const rank = (score: number, dueInMin?: number): Rank => ({
    score, dueAt: undefined, aged: false, createdAt: 0, uid: '', hurry: dueInMin === undefined ? undefined : { dueAt: NOW + dueInMin * MINUTE, workers: 1 } as NonNullable<Rank['hurry']>,
  });
  it.each<[string, Rank, Rank, boolean, number, ReturnType<typeof outranks>]>([
    ['200 points ahead', rank(200), rank(0), false, 200, 'Priority'],
    ['not with 199', rank(199), rank(0), false, 200, undefined],
    ['with as many points, where no margin is asked for', rank(7), rank(7), false, 0, 'Priority'],
    ['not with fewer', rank(6), rank(7), false, 0, undefined],
    ['hurried before one that is not, whatever its points', rank(0, 60), rank(2_000), true, 200, 'Deadline'],
    ['hurried before another that is due more than 5 min later', rank(0, 60), rank(0, 65.1), false, 200, 'Deadline'],
    ['not if that is due 5 min later', rank(0, 60), rank(0, 65), false, 200, undefined],
    ['by points even a hurried one, of what that does not need', rank(200), rank(0, 60), false, 200, 'Priority'],
    ['not of what that needs', rank(2_000), rank(0, 60), true, 200, undefined],
  ])('%s', (_, want, other, needed, margin, reason) => {
    expect(outranks(want, other, needed, margin, defaultPolicy)).toBe(reason);
  });
});

describe('room for a job', () => {
  it('is taken from what another has beyond its minimum, at equal rank, before anyone is suspended', () => {
    const result = play([4], acme, runningFor('wide', 'n1', 4, 200, { min: 2 }), newJob('want', { priority: 500, min: 2 }));
    expect(workers(result)).toEqual({ wide: 2, want: 2 });
    expect(result.victims).toEqual([{ uid: 'wide', key: 'acme/wide', from: 4, to: 2, reason: 'Priority', for: 'acme/want' }]);
  });

  it('is not given back to a tenant that was cordoned meanwhile, and the job is told so at once', () => {
    const tenants = [aTenant('acme', { cordoned: true }), aTenant('beta')];
    const { decisions, victims } = play([2], tenants, runningFor('first', 'n1', 1, 700), runningFor('guest', 'n1', 1, 600), newJob('owner', { tenant: 'beta' }));
    expect(victims).toMatchObject([{ key: 'acme/guest', to: 0, for: 'beta/owner' }]);
    expect(decisions[1]).toMatchObject({ workers: 0, reason: 'TenantCordoned', message: expect.stringMatching('^tenant acme is cordoned') });
  });

  it.each([[30, 1], [29, 0]])('is taken from a worker that has run for %d s: %d', (seconds, started) => {
    expect(workers(play([2], acme, runningFor('wide', 'n1', 2, seconds, { min: 1 }), newJob('want')))['want']).toBe(started);
  });

  it.each([
    ['200 points ahead of a job that has run for 120 s', 200, 120, 1],
    ['199 points ahead', 199, 120, 0],
    ['of a job that has run for 119 s', 200, 119, 0],
  ])('is taken by suspending, %s: %d, %d s → %d', (_, priority, seconds, started) => {
    const result = play([1], acme, runningFor('low', 'n1', 1, seconds), newJob('want', { priority }));
    expect(workers(result)).toEqual({ low: 1 - started, want: started });
    expect(result.victims).toHaveLength(started);
  });

  it('is taken from the one whose checkpoint is newest, where scores are about equal', () => {
    const saved = (seconds: number): Partial<JobState> => ({ min: 2, lastCheckpointAt: NOW - seconds * 1_000 });
    const result = play([2, 2], acme, runningFor('old', 'n1', 2, 300, saved(600)), runningFor('new', 'n2', 2, 300, { ...saved(10), priority: 50 }), newJob('want', { priority: 900, min: 2 }));
    expect(workers(result)).toEqual({ old: 2, new: 0, want: 2 });
  });

  it('is taken from the lower score, however new the other’s checkpoint', () => {
    const saved = (seconds: number): Partial<JobState> => ({ min: 2, lastCheckpointAt: NOW - seconds * 1_000 });
    const result = play([2, 2], acme, runningFor('low', 'n1', 2, 300, saved(600)), runningFor('high', 'n2', 2, 300, { ...saved(10), priority: 300 }), newJob('want', { priority: 900, min: 2 }));
    expect(workers(result)).toEqual({ low: 0, high: 2, want: 2 });
  });

  it('is not taken where it would not be enough', () => {
    const result = play([2, 2], acme, runningFor('low', 'n1', 2, 300, { min: 2 }), runningFor('young', 'n2', 2, 60, { min: 2 }), newJob('want', { priority: 900, min: 4 }));
    expect(workers(result)).toEqual({ low: 2, young: 2, want: 0 });
    expect(result.victims).toEqual([]);
  });

  it('costs no more than is needed: who was taken first goes on where another made room for both', () => {
    const result = play([4], acme, runningFor('small', 'n1', 1, 300), runningFor('large', 'n1', 3, 300, { min: 3, priority: 100 }), newJob('want', { priority: 900, min: 3 }));
    expect(workers(result)).toEqual({ small: 1, large: 0, want: 3 });
  });

  it('is not given back before 30 s, and the victim says for whom it waits', () => {
    const cut = (seconds: number): JobState => newJob('victim', { held: { workers: 0, planned: [], waitingSince: NOW - seconds * 1_000, cutAt: NOW - seconds * 1_000, cutFor: 'acme/want', hurried: false, forced: false } });
    const [early] = play([4], acme, cut(29)).decisions;
    expect(early).toMatchObject({ workers: 0, reason: 'Preempted', message: expect.stringMatching(/^preempted for acme\/want; /) });
    expect(workers(play([4], acme, cut(30)))).toEqual({ victim: 1 });
  });
});

describe('a share that was lent', () => {
  const both = (weight = 1): TenantState[] => [aTenant('acme', { weight }), aTenant('beta')];

  it.each([[1, 2, 2], [3, 3, 1]])('is taken back by its owner of weight %d, up to its part: %d of 4', (weight, back, left) => {
    const result = play([4], both(weight), runningFor('guest', 'n1', 4, 300, { tenant: 'beta', min: 1, priority: 900 }), newJob('owner', { max: 4 }));
    expect(workers(result)).toEqual({ guest: left, owner: back });
    expect(result.victims).toMatchObject([{ key: 'beta/guest', from: 4, to: left, reason: 'Share' }]);
  });

  it('is not taken from who has only his own', () => {
    const result = play([4], both(), runningFor('mine', 'n1', 2, 300), runningFor('theirs', 'n1', 2, 300, { tenant: 'beta', min: 1 }), newJob('more', { min: 2, priority: 150 }));
    expect(workers(result)).toEqual({ mine: 2, theirs: 2, more: 0 });
    expect(result.decisions[2]).toMatchObject({ reason: 'WaitingForShare' });
  });

  it('is taken by suspending only if the guest does not fall below his part', () => {
    const want = newJob('owner', { min: 2 });
    const large = play([4], both(), runningFor('guest', 'n1', 4, 700, { tenant: 'beta', min: 4 }), want);
    expect(workers(large)).toEqual({ guest: 4, owner: 0 });
    const small = (seconds: number): Record<string, number> => workers(play([4], both(), runningFor('one', 'n1', 2, seconds, { tenant: 'beta', min: 2 }), runningFor('two', 'n1', 2, seconds, { tenant: 'beta', min: 2 }), want));
    expect(Object.values(small(600)).sort()).toEqual([0, 2, 2]);
    expect(small(600)['owner']).toBe(2);
    expect(small(599)['owner']).toBe(0);
  });
});

describe('a job that had to wait', () => {
  /** It waited so many minutes and has run for so many since, on the only node. */
  const settled = (waited: number, ran: number, more: Partial<JobState> = {}): JobState => {
    const startedAt = NOW - ran * MINUTE;
    return runningFor('settled', 'n1', 1, ran * 60, { held: { workers: 1, planned: [], waitingSince: startedAt - waited * MINUTE, startedAt, hurried: false, forced: false }, ...more });
  };

  it.each([[10, 29, 1], [10, 30, 0], [300, 224, 1], [300, 225, 0]])('for %d min runs three times as long, up to three times 75 min, before another is ahead enough: after %d min it has %d worker(s)', (waited, ran, left) => {
    const result = play([1], acme, settled(waited, ran), newJob('want', { priority: 1_000, queuedAt: NOW - 70 * MINUTE }));
    expect(workers(result)).toEqual({ settled: left, want: 1 - left });
  });

  it('keeps a lent place as long', () => {
    const owner = newJob('owner', { tenant: 'beta' });
    const other = runningFor('other', 'n2', 1, 60);
    expect(workers(play([1, 1], [aTenant('acme'), aTenant('beta')], settled(10, 29), other, owner))).toEqual({ settled: 1, other: 1, owner: 0 });
    expect(workers(play([1, 1], [aTenant('acme'), aTenant('beta')], settled(10, 30), other, owner))).toEqual({ settled: 0, other: 1, owner: 1 });
  });

  it('gives way to a deadline, where nobody else can', () => {
    const hurried = newJob('hurried', { createdAt: NOW - 10 * MINUTE, deadlineAt: NOW + MINUTE });
    expect(workers(play([1], acme, settled(10, 5), hurried))).toEqual({ settled: 0, hurried: 1 });
    expect(workers(play([1, 1], acme, settled(10, 5), runningFor('fresh', 'n2', 1, 300, { priority: 900 }), hurried))).toEqual({ settled: 1, fresh: 0, hurried: 1 });
  });
});

describe('who has given way', () => {
  const hurried = (name: string, count: number, work: number): JobState => runningFor(name, 'n1', count, 300, { min: 1, max: 2, createdAt: NOW - 10 * MINUTE, deadlineAt: NOW + 60 * MINUTE, ratePerWorker: 1, itemsLeft: work });

  it('to a hurried job does not take it back as soon as that is in time again', () => {
    // Each misses its deadline with one worker, and is clearly in time with two.
    let jobs = [hurried('a', 1, 2_600), hurried('b', 1, 2_600)];
    const seen = new Set<string>();
    for (let round = 0; round < 60; round++) {
      const now = NOW + round * 10_000;
      const still = jobs.map((job) => ({ ...job, deadlineAt: now + 60 * MINUTE }));
      const { decisions } = schedule({ tenants: acme, jobs: still, nodes: [aNode('n1', 3)], finished: new Map() }, now);
      seen.add(decisions.map(({ workers: count }) => count).join());
      jobs = still.map((job, index) => carriedOut(job, decisions[index] as Decision, now));
    }
    expect([...seen]).toEqual(['2,1']);
  });

  it('to a hurried job takes no worker back for noise in what that needs', () => {
    let jobs = [runningFor('high', 'n1', 1, 300, { priority: 200, max: 2 }), runningFor('late', 'n1', 4, 300, { min: 2, max: 4, createdAt: NOW - 10 * MINUTE, deadlineAt: NOW + 60 * MINUTE, itemsLeft: 7_200 })];
    const seen: string[] = [];
    for (let round = 0; round < 60; round++) {
      const now = NOW + round * 10_000;
      const still = jobs.map((job) => ({ ...job, queuedAt: now, deadlineAt: job.deadlineAt && now + 60 * MINUTE, ratePerWorker: Math.floor(round / 5) % 2 === 0 ? 0.85 : 1.15 }));
      const { decisions } = schedule({ tenants: acme, jobs: still, nodes: [aNode('n1', 5)], finished: new Map() }, now, { ...defaultPolicy, ageingPointsPerMinute: 0 });
      seen.push(decisions.map(({ workers: count }) => count).join());
      jobs = still.map((job, index) => carriedOut(job, decisions[index] as Decision, now));
    }
    expect(seen.filter((now, round) => round > 0 && now !== seen[round - 1]).length).toBeLessThanOrEqual(1);
  });

  it('to a hurried job of the other tenant is not served in turn with it for ever', () => {
    const due = (minutes: number): Partial<JobState> => ({ tenant: 'beta', createdAt: NOW - 10 * MINUTE, deadlineAt: NOW + minutes * MINUTE });
    let jobs = [newJob('overdue', due(0)), newJob('pair', { min: 2 }), newJob('single'), newJob('three', { ...due(6), min: 3 })];
    let suspended = 0;
    for (let round = 0; round < 720; round++) {
      const now = NOW + round * 10_000;
      const still = jobs.map((job) => ({ ...job, createdAt: job.createdAt + 10_000, deadlineAt: job.deadlineAt === undefined ? undefined : job.deadlineAt + 10_000 }));
      const { decisions, victims } = schedule({ tenants: [aTenant('acme'), aTenant('beta', { weight: 2 })], jobs: still, nodes: [aNode('n1', 4)], finished: new Map() }, now, { ...defaultPolicy, ageingPointsPerMinute: 0 });
      if (round >= 360) suspended += victims.length;
      jobs = still.map((job, index) => carriedOut(job, decisions[index] as Decision, now));
    }
    expect(suspended).toBe(0);
  });

  function carriedOut(job: JobState, { remove, planned, held }: Decision, now: number): JobState {
    const stays = job.workers.filter((_, index) => !remove.includes(index));
    return { ...job, held, workers: [...stays, ...planned.map((node) => ({ node, startedAt: now }))] };
  }
});
