import { expect, test } from 'vitest';
import { labels } from '../../../operator/api/names.ts';
import type { Demand } from '../../../operator/batchjob/demand.ts';
import { BatchJobReconciler, type ReconcileDeps } from '../../../operator/batchjob/reconcile.ts';
import { UnseenPods } from '../../../operator/batchjob/unseen-pods.ts';
import type { KubeObject, Stored } from '../../../operator/kube/object.ts';
import { Store } from '../../../operator/kube/store.ts';
import type { Executed } from '../../../operator/runtime/execute.ts';
import type { Plan } from '../../../operator/runtime/plan.ts';
import { aBatchJob, aGrant, aLedger, NOW, someSettings } from '../../support/builders.ts';

const signal = new AbortController().signal;

function filled(object: object): Store<KubeObject> {
  const store = new Store();
  store.replace([object as Stored]);
  return store;
}

/** One job that is granted `workers`, whose POSTs end as `carryOut` says; what the scheduler is asked, in order. */
function open(workers: number, carryOut: (plan: Plan, asked: (Demand | undefined)[]) => Pick<Executed['changes'], 'created' | 'refused'>) {
  const asked: (Demand | undefined)[] = [];
  const opened: string[] = [];
  const none = new Store();
  const reconciler = new BatchJobReconciler({
    caches: {
      jobs: filled(aBatchJob().workers(3).build()),
      tenants: filled({ apiVersion: 'millrace.dev/v1alpha1', kind: 'Tenant', metadata: { name: 'acme', uid: 't', resourceVersion: '1' }, spec: {}, status: { conditions: [{ type: 'Ready', status: 'True' }] } }),
      namespaces: filled({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'acme', uid: 'n', resourceVersion: '1', labels: { [labels.tenant]: 'acme', [labels.tenantUid]: 't' } } }),
      claims: filled({ apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name: 'data', namespace: 'acme', uid: 'c', resourceVersion: '1' }, spec: { accessModes: ['ReadWriteMany'] }, status: { phase: 'Bound' } }),
      pods: new Store({ indexes: { job: () => [] } }),
      nodes: none,
    } as unknown as ReconcileDeps['caches'],
    client: { get: () => Promise.reject(new Error('nothing to read')) },
    dispatcher: { open: ({ uid }: { uid: string }) => opened.push(uid), has: (uid: string) => opened.includes(uid), snapshot: () => aLedger() } as unknown as ReconcileDeps['dispatcher'],
    unseen: new UnseenPods(),
    clock: { now: () => NOW, monotonic: () => 0 },
    settings: someSettings,
    scheduling: { ask: (_uid, demand) => asked.push(demand), grantOf: () => aGrant(workers) },
    execute: async (object, plan): Promise<Executed> => ({ object, changes: { configured: [], unchanged: [], removed: [], ...carryOut(plan, asked) }, outcome: { kind: 'settled' } }),
  });
  return { asked, opened, reconcile: () => reconciler.reconcile('acme/digits', signal) };
}

const podsOf = (demand: Demand | undefined): [readonly string[] | undefined, number | undefined] => [demand?.pods, demand?.state.workers.length];

test('workers that are being made are the job’s own before their use of the quota can show', async () => {
  const { asked, reconcile } = open(2, (plan, before) => {
    expect(podsOf(before.at(-1))).toEqual([['digits-w0-0', 'digits-w1-0'], 2]);
    return { created: plan.create.map(({ metadata }) => `Pod/${metadata.name}`), refused: [] };
  });
  await reconcile();
  expect(asked).toHaveLength(1);
});

test('those that were refused are not', async () => {
  const { asked, reconcile } = open(2, () => ({ created: ['Pod/digits-w0-0'], refused: [{ kind: 'Pod', name: 'digits-w1-0', reason: 'Forbidden', message: 'exceeded quota' }] }));
  await reconcile();
  expect(podsOf(asked.at(-1))).toEqual([['digits-w0-0'], 1]);
});

test('nor those whose making broke off', async () => {
  const { asked, reconcile } = open(2, () => {
    throw new Error('reset');
  });
  await expect(reconcile()).rejects.toThrow('reset');
  expect(podsOf(asked.at(-1))).toEqual([[], 0]);
});

test('a job that waits for its first workers has no ledger', async () => {
  const waits = open(0, () => ({ created: [], refused: [] }));
  expect(await waits.reconcile()).toMatchObject({ outcome: { kind: 'settled' } });
  expect(waits.opened).toEqual([]);
  const runs = open(1, (plan) => ({ created: plan.create.map(({ metadata }) => `Pod/${metadata.name}`), refused: [] }));
  await runs.reconcile();
  expect(runs.opened).toEqual(['job-uid']);
});
