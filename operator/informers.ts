import type { Clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import type { Registry } from '../kit/metrics.ts';
import { labels, MANAGED_BY } from './api/names.ts';
import type { Tenant } from './api/tenant.gen.ts';
import type { ClaimObject } from './batchjob/caches.ts';
import { keyIndex } from './batchjob/idempotency-key.ts';
import type { StoredBatchJob, WorkerPod } from './batchjob/observe.ts';
import { claimMounts } from './batchjob/volumes.ts';
import type { KubeClient } from './kube/client.ts';
import { Informer, type InformerOptions } from './kube/informer.ts';
import { dropManagedFields, keepLastWriters } from './kube/store.ts';
import { type Kind, kinds } from './kube/kinds.ts';
import { controllerOf, type KubeObject, type Stored } from './kube/object.ts';
import type { NodeObject } from './scheduler/observe.ts';
import { type PodUse, podUse } from './scheduler/pod-requests.ts';
import { namespaceOf, type NamespaceObject, type ResourceQuotaObject } from './tenant/observe.ts';

export type Informers = ReturnType<typeof createInformers>;

/** The list of images on a node is most of it, and nobody reads it. */
function withoutImages(node: Stored<NodeObject>): Stored<NodeObject> {
  const { images: _images, ...status } = (node.status ?? {}) as { images?: unknown };
  return dropManagedFields({ ...node, status });
}

/** One informer per kind for all controllers. What we make is watched by our label; the rest is needed whole. */
export function createInformers(deps: { client: KubeClient; clock: Clock; log: Log; registry: Registry }) {
  const ours = { labelSelector: `${labels.managedBy}=${MANAGED_BY}` };
  const informer = <T extends KubeObject>(kind: Kind, options: Partial<InformerOptions<T>> = {}): Informer<T> => new Informer<T>({ ...deps, kind, ...options });
  const byNamespace = { namespace: ({ metadata }: Stored) => [metadata.namespace ?? ''] };
  /** Who wrote last is kept, to name who changes what is ours. */
  const fence = { selection: ours, indexes: byNamespace, transform: keepLastWriters };
  return {
    tenants: informer<Stored<Tenant & KubeObject>>(kinds.Tenant, { indexes: { claim: (tenant) => [namespaceOf(tenant)] } }),
    jobs: informer<StoredBatchJob>(kinds.BatchJob, {
      indexes: {
        ...byNamespace,
        uid: ({ metadata }) => [metadata.uid],
        idempotencyKey: keyIndex,
        volumeClaim: (job) => claimMounts(job.spec).map(({ claimName }) => `${job.metadata.namespace}/${claimName}`),
      },
    }),
    namespaces: informer<NamespaceObject>(kinds.Namespace, { transform: keepLastWriters }),
    pods: informer<WorkerPod>(kinds.Pod, {
      selection: ours,
      indexes: {
        ...byNamespace,
        uid: ({ metadata }) => [metadata.uid],
        job: ({ metadata }) => [`${metadata.namespace}/${controllerOf(metadata)?.uid}`],
        node: (pod) => [pod.spec?.nodeName ?? ''],
      },
    }),
    // What the nodes are used for beside our workers.
    otherPods: informer<PodUse>(kinds.Pod, {
      selection: { labelSelector: `${labels.managedBy}!=${MANAGED_BY}`, fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed' },
      transform: podUse,
      indexes: { node: ({ nodeName = '' }) => [nodeName] },
    }),
    claims: informer<ClaimObject>(kinds.PersistentVolumeClaim),
    nodes: informer<NodeObject>(kinds.Node, { transform: withoutImages }),
    quotas: informer<ResourceQuotaObject>(kinds.ResourceQuota, fence),
    limitRanges: informer(kinds.LimitRange, fence),
    networkPolicies: informer(kinds.NetworkPolicy, fence),
    serviceAccounts: informer(kinds.ServiceAccount, fence),
    roles: informer(kinds.Role, fence),
    roleBindings: informer(kinds.RoleBinding, fence),
  };
}
