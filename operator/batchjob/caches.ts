import { isTrue } from '../api/conditions.ts';
import { labels } from '../api/names.ts';
import type { Tenant } from '../api/tenant.gen.ts';
import type { KubeObject, Stored } from '../kube/object.ts';
import type { ReadonlyStore } from '../kube/store.ts';
import { isNodeReady, type NodeObject } from '../scheduler/observe.ts';
import type { ClaimView, Observed, StoredBatchJob, TenantView, WorkerPod } from './observe.ts';
import { claimMounts } from './volumes.ts';

export interface ClaimObject extends KubeObject {
  spec?: { accessModes?: string[] };
  status?: { phase?: string };
}

/** The caches that a BatchJob's plan is made from. Jobs are indexed by `idempotencyKey` (`keyIndex`), pods are indexed by `job`: their namespace and the UID of the controlling BatchJob. */
export interface Caches {
  jobs: ReadonlyStore<StoredBatchJob>;
  tenants: ReadonlyStore<Stored<Tenant & KubeObject>>;
  namespaces: ReadonlyStore<KubeObject>;
  pods: ReadonlyStore<WorkerPod>;
  claims: ReadonlyStore<ClaimObject>;
  nodes: ReadonlyStore<NodeObject>;
}

/** The tenant of a namespace: by the labels on the namespace, and only while the very Tenant that made it exists. */
export function tenantOf(namespace: string, { namespaces, tenants }: Pick<Caches, 'namespaces' | 'tenants'>): TenantView | undefined {
  const own = namespaces.get(namespace)?.metadata.labels;
  const tenant = tenants.get(own?.[labels.tenant] ?? '');
  if (!tenant || tenant.metadata.uid !== own?.[labels.tenantUid]) return undefined;
  const { scheduling, imagePullSecrets, allowedModelImages, cordoned } = tenant.spec;
  const conditions = tenant.status?.conditions;
  return {
    name: tenant.metadata.name,
    ready: isTrue(conditions, 'Ready'),
    message: conditions?.find(({ type }) => type === 'Ready')?.message ?? '',
    terminating: tenant.metadata.deletionTimestamp !== undefined,
    cordoned: cordoned === true,
    imagePullSecrets: [...(imagePullSecrets ?? [])],
    allowedModelImages: [...(allowedModelImages ?? [])],
    nodeSelector: { ...scheduling?.nodeSelector },
    tolerations: [...(scheduling?.tolerations ?? [])],
  };
}

/** Nodes among these pods' that are not ready or not there any more. */
export function lostNodes(pods: readonly WorkerPod[], nodes: ReadonlyStore<NodeObject>): ReadonlySet<string> {
  const lost = new Set<string>();
  for (const pod of pods) {
    const name = pod.spec?.nodeName;
    if (name !== undefined && name !== '' && !isNodeReady(nodes.get(name))) lost.add(name);
  }
  return lost;
}

export function claimsOf(job: StoredBatchJob, claims: ReadonlyStore<ClaimObject>): Observed['claims'] {
  const views = new Map<string, ClaimView>();
  for (const { claimName } of claimMounts(job.spec)) {
    const claim = claims.get(`${job.metadata.namespace}/${claimName}`);
    if (!claim) continue;
    views.set(claimName, {
      accessModes: claim.spec?.accessModes ?? [],
      phase: claim.status?.phase ?? '',
      terminating: claim.metadata.deletionTimestamp !== undefined,
    });
  }
  return views;
}
