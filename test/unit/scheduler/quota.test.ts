import { describe, expect, it } from 'vitest';
import type { Decision } from '../../../operator/scheduler/result.ts';
import { schedule } from '../../../operator/scheduler/schedule.ts';
import type { JobState, TenantState } from '../../../operator/scheduler/snapshot.ts';
import { aNode, aTenant, GPU, newJob, NOW, runningFor } from '../../support/scheduling.ts';

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
    expect(decide(tenant, newJob('a', job))[0]?.workers).toBe(workers);
  });

  it('that is too small for the minimum says so: waiting does not help', () => {
    expect(decide({ quota: four }, newJob('a', { ...two, min: 3 }))[0]).toMatchObject({
      reason: 'ExceedsQuota', message: 'needs 6 nvidia.com/gpu, the whole quota of tenant acme is 4; ask for more quota or for fewer or smaller workers',
    });
    expect(decide({ quota: four, usedByOthers: { [`requests.${GPU}`]: 1 } }, newJob('a', { min: 4 }))[0]?.message)
      .toBe('needs 4 nvidia.com/gpu, the whole quota of tenant acme is 4, of which others hold 1; ask for more quota or for fewer or smaller workers');
  });

  it('that is used up is told with numbers, and how many are ahead in the tenant', () => {
    const waiting = ['a', 'b', 'c', 'd'].map((name) => newJob(name, two));
    const decisions = decide({ quota: four }, runningFor('busy', 'n1', 2, 60, { ...two, min: 2 }), ...waiting);
    expect(decisions.map(({ workers }) => workers)).toEqual([2, 0, 0, 0, 0]);
    expect(decisions[4]).toMatchObject({ reason: 'WaitingForQuota', message: 'waiting for quota: needs 2 nvidia.com/gpu, tenant acme has 0 of 4 left; 3 ahead in the tenant', position: 4 });
  });

  it('names the resource of which most is lacking', () => {
    const busy = runningFor('busy', 'n1', 1, 60);
    expect(decide({ quota: { ...four, pods: 2 } }, busy, newJob('a', { min: 2 }))[1]?.message).toBe('waiting for quota: needs 2 pods, tenant acme has 1 of 2 left; 0 ahead in the tenant');
  });

  it('that becomes smaller takes the newest workers, and the whole job when its minimum has no room', () => {
    const workers = [60, 90, 30].map((seconds) => ({ node: 'n1', startedAt: NOW - seconds * 1_000 }));
    expect(decide({ quota: { pods: 2 } }, newJob('a', { max: 3, workers }))[0]).toMatchObject({ workers: 2, remove: [2] });
    expect(decide({ quota: { pods: 2 } }, newJob('a', { min: 3, workers }))[0]).toMatchObject({ workers: 0, remove: [0, 1, 2] });
  });

  it('keeps a running job from more, and the job says so', () => {
    expect(decide({ quota: four }, newJob('a', { max: 6 }))[0]).toMatchObject({ workers: 4, reason: 'Running', limitedBy: 'waiting for quota: needs 1 nvidia.com/gpu, tenant acme has 0 of 4 left' });
  });
});

describe('a limit of running jobs', () => {
  it('lets the next one wait for one to end, whatever room there is', () => {
    const decisions = decide({ maxRunningJobs: 2 }, newJob('a'), newJob('b'), newJob('c'));
    expect(decisions.map(({ workers }) => workers)).toEqual([1, 1, 0]);
    expect(decisions[2]).toMatchObject({ reason: 'WaitingForJobLimit', message: "waiting for one of the tenant's jobs to end: 2 of at most 2 run; 0 ahead in the tenant" });
  });

  it('that becomes smaller stops nobody', () => {
    expect(decide({ maxRunningJobs: 1 }, runningFor('a', 'n1', 1, 60), runningFor('b', 'n1', 1, 60)).map(({ workers }) => workers)).toEqual([1, 1]);
  });
});
