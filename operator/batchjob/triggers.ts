import { defaultNamespace, labels } from '../api/names.ts';
import type { Tenant } from '../api/tenant.gen.ts';
import type { Informer } from '../kube/informer.ts';
import type { Change } from '../kube/store.ts';
import { controllerOf, keyOf, type KubeObject, type Stored } from '../kube/object.ts';
import { isNodeReady, type NodeObject } from '../scheduler/observe.ts';
import type { ClaimObject } from './caches.ts';
import { concernsOthers } from './duplicate.ts';
import { keyIndex } from './idempotency-key.ts';
import type { StoredBatchJob, WorkerPod } from './observe.ts';
import { attemptOf, hadCrashed, slotOf } from './pod-state.ts';
import { isOver } from './state.ts';

/** Jobs are indexed by `namespace`, `volumeClaim` ("namespace/claim") and `idempotencyKey` (`keyIndex`), pods by `node`. */
export interface BatchJobInformers {
  jobs: Informer<StoredBatchJob>;
  pods: Informer<WorkerPod>;
  claims: Informer<ClaimObject>;
  nodes: Informer<NodeObject>;
  tenants: Informer<Stored<Tenant & KubeObject>>;
  namespaces: Informer<KubeObject>;
  quotas: Informer<KubeObject>;
}

export interface TriggerDeps {
  informers: BatchJobInformers;
  /** Puts a job's key on the queue. */
  enqueue: (key: string) => void;
  /** The job of this UID is gone. */
  forget: (uid: string) => void;
  /** Any event about a pod of this key came in. */
  seen: (podKey: string) => void;
  /** A worker's pod is gone or terminal. */
  workerGone: (jobUid: string, slot: number, attempt: number, byCrash: boolean) => void;
  wasRefused: (jobUid: string) => boolean;
}

/** Which BatchJobs each watch event concerns. Events carry no decision: they only name keys to look at again. */
export function watchForBatchJobs({ informers, enqueue, forget, seen, workerGone, wasRefused }: TriggerDeps): void {
  const { jobs, pods, claims, nodes, tenants, namespaces, quotas } = informers;
  const unfinished = (job: StoredBatchJob): boolean => !isOver(job);
  const enqueueNamespace = (namespace: string, wanted: (job: StoredBatchJob) => boolean = unfinished): void => {
    for (const job of jobs.store.byIndex('namespace', namespace)) if (wanted(job)) enqueue(keyOf(job.metadata));
  };

  jobs.onChange((change) => {
    if (change.type === 'delete') forget(change.object.metadata.uid);
    else enqueue(keyOf(change.object.metadata));
    for (const key of concerned(change)) enqueue(key);
  });
  pods.onChange(({ type, object }) => {
    const owner = controllerOf(object.metadata);
    if (owner?.kind !== 'BatchJob') return;
    const key = `${object.metadata.namespace}/${owner.name}`;
    // An owner reference is but text: only the job of that name beside the pod can be its owner.
    const job = jobs.store.get(key);
    if (job && job.metadata.uid !== owner.uid) return;
    seen(keyOf(object.metadata));
    const phase = object.status?.phase;
    if (job && (type === 'delete' || phase === 'Succeeded' || phase === 'Failed')) workerGone(owner.uid, slotOf(object), attemptOf(object), hadCrashed(object));
    enqueue(key);
  });
  /** Keys of other jobs that wait for what a job with an idempotency key does, or whose last duplicate it was. */
  function concerned(change: Change<StoredBatchJob>): string[] {
    const [key] = keyIndex(change.object);
    if (key === undefined || change.type === 'add' || (change.type === 'update' && !concernsOthers(change.old, change.object))) return [];
    const { uid, namespace } = change.object.metadata;
    const original = change.object.status?.duplicateOf;
    if (original) return [`${namespace}/${original.name}`];
    return jobs.store.byIndex('idempotencyKey', key).filter((job) => job.metadata.uid !== uid && (unfinished(job) || job.spec.ttlSecondsAfterFinished !== undefined)).map(({ metadata }) => keyOf(metadata));
  }
  claims.onChange(({ object }) => {
    for (const job of jobs.store.byIndex('volumeClaim', keyOf(object.metadata))) if (unfinished(job)) enqueue(keyOf(job.metadata));
  });
  nodes.onChange((change) => {
    const ready = change.type !== 'delete' && isNodeReady(change.object);
    if (change.type === 'update' && ready === isNodeReady(change.old)) return;
    for (const pod of pods.store.byIndex('node', change.object.metadata.name)) enqueue(`${pod.metadata.namespace}/${controllerOf(pod.metadata)?.name}`);
  });
  namespaces.onChange(({ object }) => {
    if (object.metadata.labels?.[labels.tenant] !== undefined) enqueueNamespace(object.metadata.name);
  });
  tenants.onChange((change) => {
    if (change.type === 'update' && change.old.metadata.generation === change.object.metadata.generation && readiness(change.old) === readiness(change.object)) return;
    enqueueNamespace(change.object.spec.namespace ?? defaultNamespace(change.object.metadata.name));
  });
  quotas.onChange(({ object }) => enqueueNamespace(object.metadata.namespace ?? '', (job) => wasRefused(job.metadata.uid)));
}

function readiness({ metadata, status }: { metadata: { deletionTimestamp?: string }; status?: { conditions?: { type: string; status: string; message: string }[] } }): string {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  return `${metadata.deletionTimestamp ?? ''}/${ready?.status}/${ready?.message}`;
}
