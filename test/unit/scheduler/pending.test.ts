import { describe, expect, it } from 'vitest';
import { defaultPolicy, type Policy } from '../../../operator/scheduler/policy.ts';
import type { Decision } from '../../../operator/scheduler/result.ts';
import { schedule } from '../../../operator/scheduler/schedule.ts';
import type { JobState, NodeState, TenantState } from '../../../operator/scheduler/snapshot.ts';
import { aNode, aTenant, newJob, NOW } from '../../support/scheduling.ts';

const two: Policy = { ...defaultPolicy, pendingPerJob: 2 };
const decide = (policy: Policy, nodes: readonly NodeState[], tenant: Partial<TenantState>, ...jobs: JobState[]): Decision[] =>
  schedule({ tenants: [aTenant('acme', tenant)], jobs, nodes, finished: new Map() }, NOW, policy).decisions;
const waited = (name: string, ms: number, more: Partial<JobState> = {}): JobState => newJob(name, { max: 4, createdAt: NOW - ms, queuedAt: NOW - ms, ...more });

describe('workers beyond the known capacity', () => {
  it.each<[string, Policy, Partial<TenantState>, JobState, number]>([
    ['are none by default', defaultPolicy, {}, waited('a', 60_000), 0],
    ['are as many as the policy says, after 10 s', two, {}, waited('a', 10_000), 2],
    ['are none before that: room may come by itself', two, {}, waited('a', 9_999), 0],
    ['are no more than the job may have', two, {}, waited('a', 10_000, { max: 1 }), 1],
    ['are none of a job that needs several at once', two, {}, waited('a', 10_000, { min: 2 }), 0],
    ['are within the quota', two, { quota: { pods: 1 } }, waited('a', 10_000), 1],
    ['are none of a cordoned tenant', two, { cordoned: true }, waited('a', 10_000), 0],
  ])('%s', (_, policy, tenant, job, count) => {
    expect(decide(policy, [], tenant, job)[0]).toMatchObject({ workers: count, beyondCapacity: count, planned: [] });
  });

  it('start nobody: the job still waits, and says why', () => {
    const [decision] = decide(two, [], {}, waited('a', 10_000));
    expect(decision).toMatchObject({ reason: 'NoMatchingNode', position: 1 });
    expect(decision?.held).toMatchObject({ workers: 2, startedAt: undefined, waitingSince: NOW - 10_000 });
  });

  it('are 16 of all jobs together', () => {
    const counts = decide(two, [], {}, ...Array.from({ length: 10 }, (_, index) => waited(`j${index}`, 20_000))).map(({ beyondCapacity }) => beyondCapacity);
    expect(counts).toEqual([2, 2, 2, 2, 2, 2, 2, 2, 0, 0]);
  });

  it('are asked for by a running job that has not grown for 10 s', () => {
    const running = (ms: number): JobState => waited('a', ms, { workers: [{ node: 'n1', startedAt: NOW - ms }] });
    expect(decide(two, [aNode('n1', 1)], {}, running(10_000))[0]).toMatchObject({ workers: 3, beyondCapacity: 2, reason: 'Running', message: '3 of at most 4 worker(s), 2 of them beyond the known capacity' });
    expect(decide(two, [aNode('n1', 1)], {}, running(9_000))[0]).toMatchObject({ workers: 1, beyondCapacity: 0 });
  });

  it('end when there is room, and their pods are the ones that start', () => {
    const [before] = decide(two, [], {}, waited('a', 10_000));
    const job = waited('a', 10_000, { held: before?.held, workers: [{}, {}] });
    expect(decide(two, [], {}, job)[0]).toMatchObject({ workers: 2, beyondCapacity: 2, remove: [] });
    expect(decide(two, [aNode('n1', 4)], {}, job)[0]).toMatchObject({ workers: 4, beyondCapacity: 0, reason: 'Running', planned: ['n1', 'n1', 'n1', 'n1'] });
  });

  it('end as soon as they could take the place of one that is on its way', () => {
    const [before] = decide(two, [aNode('n1', 1)], {}, newJob('first'));
    const first = newJob('first', { held: before?.held, workers: [{}] });
    const second = waited('second', 20_000, { held: { workers: 2, planned: [], waitingSince: NOW - 20_000, hurried: false, forced: false }, workers: [{}, {}] });
    const [, after] = decide(two, [aNode('n1', 1)], {}, first, second);
    expect(after).toMatchObject({ workers: 0, beyondCapacity: 0, remove: [0, 1] });
  });
});
