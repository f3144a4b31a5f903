import { describe, expect, test } from 'vitest';
import { demandOf } from '../../../operator/batchjob/demand.ts';
import type { Observed } from '../../../operator/batchjob/observe.ts';
import { aBatchJob, aRunningLedger, aTenantView, at, aWorker, aWorkerPod, NOW, observed } from '../../support/builders.ts';

const open = { kind: 'open' } as const;
const job = () => aBatchJob().workers(8);
const ask = (seen: Observed = observed(), builder = job(), spread: 'any-node' | 'one-node' | 'one-worker' = 'any-node') => demandOf(builder.build(), seen, open, undefined, spread, NOW);
const obstacle = { reason: 'TenantCordoned', message: '', stalled: false } as const;

describe('a job asks for workers', () => {
  test('by priority, deadline, dependencies and what one worker takes of a node and of the quota', () => {
    const wants = job().with({ priority: 7, deadline: at(3600), dependsOn: ['clean'] as never, workers: { min: 2, nodeSelector: { pool: 'a' } } });
    expect(ask(observed({ tenant: aTenantView({ nodeSelector: { zone: 'b' } }) }), wants)?.state).toMatchObject({
      uid: 'job-uid', key: 'acme/digits', tenant: 'acme', priority: 7, createdAt: NOW - 60_000, queuedAt: NOW - 60_000, deadlineAt: NOW + 3_600_000, dependsOn: ['acme/clean'],
      min: 2, nodeSelector: { pool: 'a', zone: 'b' }, oneNode: false, workers: [],
      perWorker: { cpu: 500, memory: 512 * 2 ** 20, pods: 1 },
      quotaPerWorker: { 'requests.cpu': 500, cpu: 500, 'limits.cpu': 500, 'requests.memory': 512 * 2 ** 20, 'limits.memory': 512 * 2 ** 20, pods: 1, 'count/pods': 1 },
    });
  });

  test('at most four before it is known how many shards there are, then one more than shards are left, and two to the end', () => {
    expect(ask()?.state.max).toBe(4);
    expect(ask(observed({ ledger: aRunningLedger(3, 9) }))?.state.max).toBe(7);
    expect(ask(observed({ ledger: aRunningLedger(3, 90) }))?.state.max).toBe(8);
    expect(ask(observed({ ledger: aRunningLedger(9, 9, { phase: 'Finishing' }) }))?.state.max).toBe(2);
    expect(ask(observed({ ledger: aRunningLedger(9, 9, { phase: 'Finishing', workers: [aWorker(0, 0, { state: 'Silent' })] }) }))?.state.max).toBe(3);
    expect(ask(observed(), job(), 'one-worker')?.state.max).toBe(1);
    expect(ask(observed(), job().with({ workers: { min: 6 } }))?.state.max).toBe(6);
  });

  test('a GPU only under the name that a quota has for it', () => {
    const gpu = ask(observed(), job().with({ workers: { accelerator: 'cuda' } }))?.state;
    expect(gpu?.perWorker).toMatchObject({ 'nvidia.com/gpu': 1 });
    expect(gpu?.quotaPerWorker).toMatchObject({ 'requests.nvidia.com/gpu': 1 });
    expect(gpu?.quotaPerWorker).not.toHaveProperty('limits.nvidia.com/gpu');
  });

  test('and tells of those that it has: where, since when, idle or ending', () => {
    const pods = [
      aWorkerPod(0).on('n1').running().build(),
      aWorkerPod(1).build(),
      aWorkerPod(2).on('n2').running().beingDeleted().build(),
      aWorkerPod(3).on('n2').phase('Succeeded').ended(0).build(),
    ];
    const demand = ask(observed({ pods, ledger: aRunningLedger(1, 9, { rate: 30, workers: [aWorker(0, 0, { state: 'Idle' }), aWorker(2, 0)] }) }));
    expect(demand?.pods).toEqual(['digits-w0-0', 'digits-w1-0', 'digits-w2-0']);
    expect(demand?.state.workers).toEqual([expect.objectContaining({ node: 'n1', idle: true }), {}, expect.objectContaining({ node: 'n2', endingAt: expect.any(Number) })]);
    expect(demand?.state).toMatchObject({ ratePerWorker: 30, itemsLeft: 80 });
  });

  test('for which it answers to Kueue, if it names a queue of it', () => {
    expect(ask(observed(), job().with({ queueName: 'team' }))?.state.externallyAdmitted).toBe(true);
  });

  test('and is in the queue from when it was resumed', () => {
    expect(ask(observed(), job().condition('Suspended', 'False', { lastTransitionTime: at(-5) }))?.state.queuedAt).toBe(NOW - 5_000);
  });
});

describe('a job asks for nothing', () => {
  test.each([
    ['when it is suspended', demandOf(job().suspended().build(), observed(), open, undefined, 'any-node', NOW)],
    ['when its end is decided', demandOf(job().build(), observed(), { kind: 'success' }, undefined, 'any-node', NOW)],
    ['when its tenant is going', ask(observed({ tenant: aTenantView({ terminating: true }) }))],
    ['when something is in its way', demandOf(job().build(), observed(), open, obstacle, 'any-node', NOW)],
  ])('%s', (_when, demand) => expect(demand).toBeUndefined());

  test('but what it has, when something comes in its way as it runs', () => {
    const pods = [aWorkerPod(0).on('n1').running().build()];
    expect(demandOf(aBatchJob().workers(8).build(), observed({ pods, ledger: aRunningLedger(1, 9) }), open, obstacle, 'any-node', NOW)?.state).toMatchObject({ max: 1 });
  });
});
