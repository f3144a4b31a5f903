import { describe, expect, it } from 'vitest';
import { hurryOf, workMs } from '../../../operator/scheduler/deadline.ts';
import { defaultPolicy } from '../../../operator/scheduler/policy.ts';
import type { JobState } from '../../../operator/scheduler/snapshot.ts';

const NOW = Date.parse('2026-11-23T12:00:00Z');
const MIN = 60_000;

/** An hour of work for one worker. */
const aJob = (leftMin: number | undefined, more: Partial<JobState> = {}): JobState => ({
  uid: 'a', key: 'acme/a', tenant: 'acme', priority: 0, createdAt: NOW - 60 * MIN, queuedAt: NOW - 60 * MIN, deadlineAt: leftMin === undefined ? undefined : NOW + leftMin * MIN,
  suspended: false, dependsOn: [], min: 1, max: 4, perWorker: { pods: 1 }, quotaPerWorker: { pods: 1 }, nodeSelector: {}, tolerations: [], oneNode: false, workers: [],
  ratePerWorker: 1, itemsLeft: 3_600, externallyAdmitted: false, ...more,
});
const unknown = { ratePerWorker: undefined, createdAt: NOW - 46 * MIN };

describe('a deadline', () => {
  it.each<[string, JobState, number, boolean, number | undefined]>([
    ['is none of a job without one', aJob(undefined), 1, false, undefined],
    ['leaves a job alone that has 1.5 times what one worker needs', aJob(90), 1, false, undefined],
    ['hurries it below that, with as many workers as it takes to have that again', aJob(89), 1, false, 2],
    ['counts the workers that it has: two halve the work', aJob(45), 2, false, undefined],
    ['hurries two of them below that', aJob(44), 2, false, 3],
    ['counts the most that a waiting job may get', aJob(22.5), 0, false, undefined],
    ['hurries a waiting job with no more than its maximum', aJob(22), 0, false, 4],
    ['hurries on until there is 2.5 times what it needs', aJob(149), 1, true, 1],
    ['and no longer', aJob(150), 1, true, undefined],
    ['that has passed takes all that the job may have', aJob(0), 1, false, 4],
    ['asks for no less than the minimum', aJob(80, { min: 3 }), 1, false, 3],
    ['takes the work of a job without a rate for half of its whole time', aJob(46, { ...unknown, createdAt: NOW - 15 * MIN }), 0, false, undefined],
    ['hurries such a job later, with its minimum', aJob(40, { ...unknown, min: 2, createdAt: NOW - 60 * MIN }), 0, false, 2],
  ])('%s', (_, job, running, was, workers) => {
    expect(hurryOf(job, running, was, NOW, defaultPolicy)?.workers).toBe(workers);
  });

  it('in the past is no way to the front: the job is due when it was made', () => {
    expect(hurryOf(aJob(-600), 0, false, NOW, defaultPolicy)?.dueAt).toBe(NOW - 60 * MIN);
    expect(hurryOf(aJob(-10), 0, false, NOW, defaultPolicy)?.dueAt).toBe(NOW - 10 * MIN);
  });

  it.each([[3_600, 1, 3_600_000], [3_600, 2, 1_800_000], [0, 2, 0], [3_600, 0, undefined], [3_600, undefined, undefined], [undefined, 1, undefined]])('knows that %s items at %s a second take %s ms', (itemsLeft, ratePerWorker, ms) => {
    expect(workMs(aJob(1, { itemsLeft, ratePerWorker }))).toBe(ms);
  });
});
