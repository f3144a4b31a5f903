import { describe, expect, it } from 'vitest';
import type { Decision } from '../../../operator/scheduler/result.ts';
import { schedule } from '../../../operator/scheduler/schedule.ts';
import type { JobState, NodeState, TenantState } from '../../../operator/scheduler/snapshot.ts';

const NOW = Date.parse('2026-11-23T12:00:00Z');
const GPU = 'nvidia.com/gpu';

/** A job of tenant acme; each of its workers takes a GPU. */
const aJob = (name: string, more: Partial<JobState> = {}): JobState => ({
  uid: name, key: `${more.tenant ?? 'acme'}/${name}`, tenant: 'acme', priority: 0, createdAt: NOW, queuedAt: NOW, suspended: false, dependsOn: [], min: 1, max: Math.max(1, more.min ?? 1),
  perWorker: { [GPU]: 1, pods: 1 }, quotaPerWorker: { [`requests.${GPU}`]: 1, pods: 1 }, nodeSelector: {}, tolerations: [], oneNode: false, workers: [], externallyAdmitted: false, ...more,
});
/** It has run on the node for so long, and has no credit left from its wait. */
const running = (name: string, node: string, count: number, seconds: number, more: Partial<JobState> = {}): JobState => {
  const startedAt = NOW - seconds * 1_000;
  return aJob(name, { max: count, createdAt: startedAt, queuedAt: startedAt, workers: Array.from({ length: count }, () => ({ node, startedAt })), ...more });
};
const aTenant = (name: string, more: Partial<TenantState> = {}): TenantState => ({ name, weight: 1, maxPriority: 1_000, cordoned: false, quota: {}, usedByOthers: {}, ...more });
const aNode = (name: string, gpus: number): NodeState => ({ name, labels: {}, taints: [], allocatable: { [GPU]: gpus, pods: 100 } });

const four = { [`requests.${GPU}`]: 4 };
/** Two GPUs for each worker. */
const two = { perWorker: { [GPU]: 2, pods: 1 }, quotaPerWorker: { [`requests.${GPU}`]: 2, pods: 1 } };
const decide = (tenant: Partial<TenantState>, ...jobs: JobState[]): Decision[] => schedule({ tenants: [aTenant('acme', tenant)], jobs, nodes: [aNode('n1', 100)], finished: new Map() }, NOW).decisions;

describe('a quota', () => {
  it.each<[string, Partial<TenantState>, Partial<JobState>, number]>([
    ['that does not name a resource does not bound it', { quota: { 'limits.memory': 1 } }, { max: 10 }, 10],
    ['bounds a job', { quota: four }, { max: 10 }, 4],
    ['is what others leave of it', { quota: four, usedByOthers: { [`requests.${GPU}`]: 1 } }, { max: 10 }, 3],
    ['counts what a worker takes of it, rounded down', { quota: { [`requests.${GPU}`]: 5 } }, { ...two, max: 10 }, 2],
    ['is the least of all its resources', { quota: { ...four, pods: 2 } }, { max: 10 }, 2],
    ['that holds the minimum exactly is enough', { quota: four }, { min: 4 }, 4],
    ['that others have overdrawn leaves nothing', { quota: four, usedByOthers: { [`requests.${GPU}`]: 9 } }, { max: 10 }, 0],
  ])('%s', (_, tenant, job, workers) => {
    expect(decide(tenant, aJob('a', job))[0]?.workers).toBe(workers);
  });

  it('that is too small for the minimum says so: waiting does not help', () => {
    expect(decide({ quota: four }, aJob('a', { ...two, min: 3 }))[0]).toMatchObject({
      reason: 'ExceedsQuota', message: 'needs 6 nvidia.com/gpu, the whole quota of tenant acme is 4; ask for more quota or for fewer or smaller workers',
    });
    expect(decide({ quota: four, usedByOthers: { [`requests.${GPU}`]: 1 } }, aJob('a', { min: 4 }))[0]?.message)
      .toBe('needs 4 nvidia.com/gpu, the whole quota of tenant acme is 4, of which others hold 1; ask for more quota or for fewer or smaller workers');
  });

  it('that is used up is told with numbers, and how many are ahead in the tenant', () => {
    const waiting = ['a', 'b', 'c', 'd'].map((name) => aJob(name, two));
    const decisions = decide({ quota: four }, running('busy', 'n1', 2, 60, { ...two, min: 2 }), ...waiting);
    expect(decisions.map(({ workers }) => workers)).toEqual([2, 0, 0, 0, 0]);
    expect(decisions[4]).toMatchObject({ reason: 'WaitingForQuota', message: 'waiting for quota: needs 2 nvidia.com/gpu, tenant acme has 0 of 4 left; 3 ahead in the tenant', position: 4 });
  });

  it('names the resource of which most is lacking', () => {
    const busy = running('busy', 'n1', 1, 60);
    expect(decide({ quota: { ...four, pods: 2 } }, busy, aJob('a', { min: 2 }))[1]?.message).toBe('waiting for quota: needs 2 pods, tenant acme has 1 of 2 left; 0 ahead in the tenant');
  });

  it('that becomes smaller takes the newest workers, and the whole job when its minimum has no room', () => {
    const workers = [60, 90, 30].map((seconds) => ({ node: 'n1', startedAt: NOW - seconds * 1_000 }));
    expect(decide({ quota: { pods: 2 } }, aJob('a', { max: 3, workers }))[0]).toMatchObject({ workers: 2, remove: [2] });
    expect(decide({ quota: { pods: 2 } }, aJob('a', { min: 3, workers }))[0]).toMatchObject({ workers: 0, remove: [0, 1, 2] });
  });

  it('keeps a running job from more, and the job says so', () => {
    expect(decide({ quota: four }, aJob('a', { max: 6 }))[0]).toMatchObject({ workers: 4, reason: 'Running', limitedBy: 'waiting for quota: needs 1 nvidia.com/gpu, tenant acme has 0 of 4 left' });
  });
});

describe('a limit of running jobs', () => {
  it('lets the next one wait for one to end, whatever room there is', () => {
    const decisions = decide({ maxRunningJobs: 2 }, aJob('a'), aJob('b'), aJob('c'));
    expect(decisions.map(({ workers }) => workers)).toEqual([1, 1, 0]);
    expect(decisions[2]).toMatchObject({ reason: 'WaitingForJobLimit', message: "waiting for one of the tenant's jobs to end: 2 of at most 2 run; 0 ahead in the tenant" });
  });

  it('that becomes smaller stops nobody', () => {
    expect(decide({ maxRunningJobs: 1 }, running('a', 'n1', 1, 60), running('b', 'n1', 1, 60)).map(({ workers }) => workers)).toEqual([1, 1]);
  });
});
