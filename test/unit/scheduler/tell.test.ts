import { describe, expect, it } from 'vitest';
import type { Decision } from '../../../operator/scheduler/result.ts';
import { schedule } from '../../../operator/scheduler/schedule.ts';
import type { JobState, NodeState, TenantState } from '../../../operator/scheduler/snapshot.ts';
import { aNode, aTenant, GPU, newJob, NOW, runningFor } from '../../support/scheduling.ts';

const decide = (nodes: readonly NodeState[], jobs: readonly JobState[], tenants: readonly TenantState[] = [aTenant('acme')], now = NOW): Decision[] =>
  schedule({ tenants, jobs, nodes, finished: new Map() }, now).decisions;
const message = (nodes: readonly NodeState[], job: JobState, tenants?: readonly TenantState[]): string => {
  const { reason, message: text } = decide(nodes, [job], tenants)[0] as Decision;
  return `${reason}: ${text}`;
};

describe('a job is told', () => {
  it.each<[string, JobState, Partial<TenantState>, string]>([
    ['that it runs', newJob('a', { max: 2 }), {}, 'Running: 2 of at most 2 worker(s)'],
    ['that its user suspended it', newJob('a', { suspended: true }), {}, 'Suspended: suspended by spec.suspend'],
    ['that Kueue admits it', newJob('a', { externallyAdmitted: true }), {}, 'LeftToKueue: its workers are admitted by Kueue'],
    ['that its tenant does not exist', newJob('a', { tenant: 'gone' }), {}, 'UnknownTenant: waiting for tenant "gone", which does not exist'],
    ['that its tenant is cordoned', newJob('a'), { cordoned: true }, 'TenantCordoned: tenant acme is cordoned: what runs goes on, nothing new starts'],
    ['that no node matches', newJob('a', { nodeSelector: { pool: 'x' } }), {}, 'NoMatchingNode: no node of 2 matches its nodeSelector and tolerations; 0 ahead'],
    ['that no node has what a worker needs', newJob('a', { perWorker: { [GPU]: 8 } }), {}, 'NoMatchingNode: of 1 worker(s) with 8 nvidia.com/gpu each, none would fit on the 2 node(s) that match, were they empty; 0 ahead'],
    ['that the nodes have too little for all', newJob('a', { min: 12 }), {}, 'NoMatchingNode: of 12 worker(s) with 1 nvidia.com/gpu each, only 8 would fit on the 2 node(s) that match, were they empty; 0 ahead'],
    ['that one node has too little for all', newJob('a', { min: 5, oneNode: true }), {}, 'NoMatchingNode: of 5 worker(s) with 1 nvidia.com/gpu each, only 4 would fit on the 2 node(s) that match, were they empty; 0 ahead'],
  ])('%s', (_, job, tenant, told) => {
    expect(message([aNode('n1', 4), aNode('n2', 4)], job, [aTenant('acme', tenant)])).toBe(told);
  });

  it('what it needs, what is free, and how many are ahead', () => {
    const decisions = decide([aNode('n1', 4), aNode('n2', 4)], [runningFor('one', 'n1', 4, 60, { min: 4 }), runningFor('two', 'n2', 4, 60, { min: 4 }), newJob('first', { priority: 100 }), newJob('a', { min: 3 })]);
    expect(decisions.map(({ position }) => position)).toEqual([undefined, undefined, 1, 2]);
    expect(decisions[3]).toMatchObject({ reason: 'WaitingForCapacity', message: 'waiting for capacity: needs 3 nvidia.com/gpu, 0 of 8 is free on 2 node(s); 1 ahead' });
  });

  it('that free room is in pieces', () => {
    const decisions = decide([aNode('n1', 3), aNode('n2', 3)], [runningFor('one', 'n1', 2, 60, { min: 2 }), runningFor('two', 'n2', 2, 60, { min: 2 }), newJob('a', { perWorker: { [GPU]: 2, pods: 1 } })]);
    expect(decisions[2]?.message).toBe('waiting for capacity: needs 1 time(s) 2 nvidia.com/gpu on a node, 0 free among 2 node(s); 0 ahead');
  });

  it('amounts as the API writes them', () => {
    const perWorker = { cpu: 1_500, memory: 1.5 * 2 ** 30, pods: 1 };
    const node = { ...aNode('n1', 0), allocatable: { cpu: 2_000, memory: 2 ** 30, pods: 9 } };
    expect(message([node], newJob('a', { perWorker }))).toBe('NoMatchingNode: of 1 worker(s) with 1500m cpu, 1.5Gi memory each, none would fit on the 1 node(s) that match, were they empty; 0 ahead');
  });

  it('that its tenant has its share', () => {
    const decisions = decide([aNode('n1', 4)], [runningFor('mine', 'n1', 2, 60, { min: 2 }), runningFor('theirs', 'n1', 2, 60, { min: 2, tenant: 'beta' }), newJob('more'), newJob('other', { tenant: 'beta' })], [aTenant('acme'), aTenant('beta')]);
    expect(decisions[2]).toMatchObject({ reason: 'WaitingForShare', message: 'waiting for share: needs 1 nvidia.com/gpu, 0 of 4 is free on 1 node(s), tenant acme holds 50% of the cluster, its share is 50%; 0 ahead' });
  });

  it('for whom it was preempted', () => {
    const [victim] = decide([aNode('n1', 1)], [runningFor('low', 'n1', 1, 200), newJob('urgent', { priority: 500 })]);
    expect(victim).toMatchObject({ workers: 0, remove: [0], reason: 'Preempted', message: 'preempted for acme/urgent; waiting for capacity: needs 1 nvidia.com/gpu, 0 of 1 is free on 1 node(s); 0 ahead', position: 1 });
  });

  it('what keeps it from more workers', () => {
    expect(decide([aNode('n1', 2)], [newJob('a', { max: 4 })])[0]).toMatchObject({
      workers: 2, message: '2 of at most 4 worker(s)', limitedBy: 'waiting for capacity: needs 1 nvidia.com/gpu, 0 of 2 is free on 1 node(s)',
    });
  });

  it('the same in the same situation, at whatever time', () => {
    const jobs = [runningFor('one', 'n1', 4, 60, { min: 4 }), newJob('a', { min: 3 })];
    expect(decide([aNode('n1', 4)], jobs, undefined, NOW + 45_000).map(({ message: text }) => text)).toEqual(decide([aNode('n1', 4)], jobs).map(({ message: text }) => text));
  });
});

describe('a job that Kueue admits', () => {
  it('gives those up that go beyond what it asks for: first those that wait, then idle ones', () => {
    const workers = [{ node: 'n1', startedAt: NOW }, { node: 'n1', startedAt: NOW - 9, idle: true }, {}, { node: 'n1', startedAt: NOW - 9 }, { endingAt: NOW }];
    const removed = (max: number): number[] | undefined => decide([], [newJob('a', { externallyAdmitted: true, max, workers })])[0]?.remove;
    expect([4, 3, 2, 1].map(removed)).toEqual([[], [2], [1, 2], [0, 1, 2]].map((each) => expect.arrayContaining(each)));
    expect([4, 3, 2, 1].map((max) => removed(max)?.length)).toEqual([0, 1, 2, 3]);
  });

  it('waits for those that it depends on like any other', () => {
    const [, second] = decide([], [newJob('first'), newJob('second', { externallyAdmitted: true, dependsOn: ['acme/first'] })]);
    expect(second).toMatchObject({ workers: 0, reason: 'WaitingForDependencies' });
  });

  it('gets all that it asks for, and none of its workers is removed', () => {
    expect(decide([], [newJob('a', { externallyAdmitted: true, max: 5, workers: [{}, {}] })])[0]).toMatchObject({ workers: 5, remove: [], planned: [], beyondCapacity: 0 });
  });
});

describe('when a job is likely to start', () => {
  const rated = (itemsLeft?: number): Partial<JobState> => ({ min: 2, ratePerWorker: 1, itemsLeft });
  it('is when enough of those that run end, at their measured rates', () => {
    const decisions = decide([aNode('n1', 4)], [runningFor('soon', 'n1', 2, 60, rated(100)), runningFor('late', 'n1', 2, 60, rated(400)), newJob('a', { min: 2, priority: 50 }), newJob('b', { min: 2 })]);
    expect(decisions.map(({ startEstimate }) => startEstimate)).toEqual([undefined, undefined, NOW + 50_000, NOW + 200_000]);
  });

  it('is not known behind a job whose rate is not', () => {
    const decisions = decide([aNode('n1', 4)], [runningFor('soon', 'n1', 2, 60, rated(100)), runningFor('unknown', 'n1', 2, 60, { min: 2 }), newJob('a', { min: 2, priority: 50 }), newJob('b', { min: 2 })]);
    expect(decisions.slice(2).map(({ startEstimate }) => startEstimate)).toEqual([NOW + 50_000, undefined]);
  });
});
