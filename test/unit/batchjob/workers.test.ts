import { describe, expect, test } from 'vitest';
import type { Stored } from '../../../operator/kube/object.ts';
import type { WorkerPod } from '../../../operator/batchjob/observe.ts';
import { planWorkers, type PoolSituation } from '../../../operator/batchjob/workers.ts';
import { at, aWorkerPod, NOW } from '../../support/builders.ts';

function plan(pods: Stored<WorkerPod>[], more: Partial<PoolSituation> = {}) {
  const pool = planWorkers({ pods, wanted: 3, dismissed: new Map(), lastAttempts: new Map(), lostNodes: new Set(), ...more }, NOW);
  return {
    create: pool.create.map(({ slot, attempt }) => `w${slot}-${attempt}`),
    remove: pool.remove.map(({ metadata }) => metadata.name.replace('digits-', '')),
    retryAfterMs: pool.retryAfterMs,
  };
}

const running = (slot: number, attempt = 0): Stored<WorkerPod> => aWorkerPod(slot, attempt).on('n1').running().build();

describe('filling slots', () => {
  test('an empty pool is filled from slot 0 up', () => {
    expect(plan([])).toEqual({ create: ['w0-0', 'w1-0', 'w2-0'], remove: [], retryAfterMs: undefined });
  });

  test('a full pool is left alone', () => {
    expect(plan([running(0), running(1), running(2)])).toEqual({ create: [], remove: [], retryAfterMs: undefined });
  });

  test('at most 50 pods at a time', () => {
    expect(plan([], { wanted: 1000 }).create).toHaveLength(50);
  });

  test('a pod that is in a higher slot is as good as one in a lower', () => {
    expect(plan([running(7)])).toMatchObject({ create: ['w0-0', 'w1-0'], remove: [] });
  });

  test('what goes beyond is left to the scheduler, which says who is to go', () => {
    expect(plan([running(0), running(1), running(2), running(3)])).toEqual({ create: [], remove: [], retryAfterMs: undefined });
  });

  test('a pod whose name is not a worker\'s fills nothing', () => {
    const stranger = aWorkerPod(0).running().build();
    stranger.metadata.name = 'digits-debug';
    expect(plan([stranger]).create).toEqual(['w0-0', 'w1-0', 'w2-0']);
  });
});

describe('a pod that only a finalizer still shows', () => {
  test('frees its slot when it was evicted, without back-off, however young it died', () => {
    const evicted = aWorkerPod(1).born(-20).on('n1').phase('Failed').ended(143).beingDeleted().build();
    expect(plan([running(0), evicted, running(2)])).toEqual({ create: ['w1-1'], remove: [], retryAfterMs: undefined });
  });

  test('frees its slot when it never had a node', () => {
    expect(plan([running(0), aWorkerPod(1).gated().beingDeleted().build(), running(2)])).toEqual({ create: ['w1-1'], remove: [], retryAfterMs: undefined });
  });

  test('is left alone when it is done', () => {
    expect(plan([running(0), running(1), aWorkerPod(2).on('n1').phase('Succeeded').ended(0).beingDeleted().build()], { wanted: 2 })).toEqual({ create: [], remove: [], retryAfterMs: undefined });
  });
});

describe('a worker that is dismissed', () => {
  const dismissed = (secondsAgo: number) => new Map([['digits-w1-0', NOW - secondsAgo * 1000]]);

  test('is given time to leave by itself', () => {
    expect(plan([running(0), running(1)], { wanted: 1, dismissed: dismissed(4) })).toEqual({ create: [], remove: [], retryAfterMs: 6000 });
    expect(plan([running(0), running(1)], { wanted: 1, dismissed: dismissed(10) })).toEqual({ create: [], remove: ['w1-0'], retryAfterMs: undefined });
  });

  test('is deleted at once when it never ran', () => {
    expect(plan([running(0), aWorkerPod(1).build()], { wanted: 1, dismissed: dismissed(0) }).remove).toEqual(['w1-0']);
  });

  test('counts for nothing, and keeps its slot until it is gone', () => {
    expect(plan([running(0), running(1)], { wanted: 2, dismissed: dismissed(0) }).create).toEqual(['w2-0']);
  });
});

describe('replacing', () => {
  test('a pod that is gone is replaced at once by the next attempt', () => {
    expect(plan([running(0), running(2)], { lastAttempts: new Map([[0, 0], [1, 4], [2, 0]]) }).create).toEqual(['w1-5']);
  });

  test('a pod that is still ending keeps its slot', () => {
    expect(plan([running(0), aWorkerPod(1).on('n1').running().beingDeleted().build(), running(2)]).create).toEqual([]);
  });

  test('a pod being deleted on a lost node frees its slot', () => {
    const lost = aWorkerPod(1).on('n2').running().beingDeleted().build();
    expect(plan([running(0), lost, running(2)], { lostNodes: new Set(['n2']) }).create).toEqual(['w1-1']);
  });

  test('a pod on a lost node that nobody deleted yet keeps its slot: it may come back', () => {
    expect(plan([running(0), aWorkerPod(1).on('n2').running().build(), running(2)], { lostNodes: new Set(['n2']) }).create).toEqual([]);
  });

  test('an evicted pod that had worked for long is replaced at once', () => {
    const evicted = aWorkerPod(1, 3).born(-600).phase('Failed').ended(137).build();
    expect(plan([running(0), evicted, running(2)])).toMatchObject({ create: ['w1-4'], remove: [] });
  });

  test('an attempt is never used again, whatever the status has lost or the cluster has forgotten', () => {
    const failed = aWorkerPod(0, 7).born(-600).phase('Failed').ended(1).build();
    expect(plan([failed], { wanted: 1, lastAttempts: new Map([[0, 2]]) }).create).toEqual(['w0-8']);
    expect(plan([failed], { wanted: 1, lastAttempts: new Map([[0, 9]]) }).create).toEqual(['w0-10']);
  });

  test('a worker that crashed after real work and is held back by the kubelet is replaced', () => {
    const heldBack = aWorkerPod(0).running().waiting('CrashLoopBackOff').ended(1, { startedAt: at(-40), finishedAt: at(-1) }).build();
    expect(plan([heldBack], { wanted: 1 })).toMatchObject({ create: [], remove: ['w0-0'] });
  });

  test('a worker that keeps crashing young is left to the back-off of the kubelet', () => {
    const young = aWorkerPod(0).running().waiting('CrashLoopBackOff').ended(1, { startedAt: at(-4), finishedAt: at(-1) }).build();
    expect(plan([young], { wanted: 1 }).remove).toEqual([]);
  });

  test('a worker that was told that its slot is another\'s is replaced, since a restart changes nothing', () => {
    expect(plan([aWorkerPod(0).running().ended(75).build()], { wanted: 1 })).toMatchObject({ create: [], remove: ['w0-0'] });
  });
});

describe('back-off of a slot whose pods die young', () => {
  const deadSince = (seconds: number, attempt: number): Stored<WorkerPod> =>
    aWorkerPod(0, attempt).born(-seconds - 2).phase('Failed').ended(1, { startedAt: at(-seconds - 1), finishedAt: at(-seconds) }).build();
  const deaths = (count: number, seconds: number): Stored<WorkerPod>[] => Array.from({ length: count }, (_, attempt) => deadSince(seconds + count - attempt - 1, attempt));

  test.each([[1, 1], [2, 2], [3, 4], [4, 8], [5, 16], [9, 16]])('after %i deaths it waits %i s', (count, seconds) => {
    expect(plan(deaths(count, 0), { wanted: 1 })).toMatchObject({ create: [], retryAfterMs: seconds * 1000 });
    expect(plan(deaths(count, seconds), { wanted: 1 }).create).toEqual([`w0-${count}`]);
  });

  test('a long life ends the series', () => {
    const old = aWorkerPod(0, 1).born(-900).phase('Failed').ended(1, { startedAt: at(-890), finishedAt: at(-60) }).build();
    expect(plan([deadSince(100, 0), old, deadSince(0, 2)], { wanted: 1 }).retryAfterMs).toBe(1000);
  });

  test('a pod that a node refused died at birth', () => {
    expect(plan([aWorkerPod(0).born(0).phase('Failed').build()], { wanted: 1 })).toMatchObject({ create: [], retryAfterMs: 1000 });
  });

  test('a pod that ended well too early is no reason for a hot loop', () => {
    expect(plan([aWorkerPod(0).born(-3).phase('Succeeded').ended(0, { finishedAt: at(0) }).build()], { wanted: 1 }).create).toEqual([]);
  });

  test('one waiting slot does not hold up the others', () => {
    expect(plan([deadSince(0, 0)])).toEqual({ create: ['w1-0', 'w2-0'], remove: [], retryAfterMs: 1000 });
  });

  test('the five newest terminal pods of a slot are kept for their logs', () => {
    expect(plan(deaths(7, 100), { wanted: 1 }).remove).toEqual(['w0-1', 'w0-0']);
  });
});

describe('scaling down', () => {
  test('what is being deleted already is not deleted again', () => {
    expect(plan([running(0), aWorkerPod(1).running().beingDeleted().build()], { wanted: 1 }).remove).toEqual([]);
  });

  test('finished pods in higher slots stay for their logs', () => {
    expect(plan([running(0), aWorkerPod(1).phase('Succeeded').ended(0).build()], { wanted: 1 }).remove).toEqual([]);
  });
});
