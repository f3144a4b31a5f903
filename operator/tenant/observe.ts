import { defaultNamespace, labels } from '../api/names.ts';
import type { Tenant } from '../api/tenant.gen.ts';
import type { KubeObject, ObjectMeta, Stored } from '../kube/object.ts';
import type { Contests } from './contest.ts';

export type StoredTenant = Stored<Tenant & { metadata: ObjectMeta }>;

/** All that the plan of a Tenant depends on, as plain data read from caches. */
export interface Observed {
  /** The namespace of the name that the Tenant claims, whoever it belongs to. */
  namespace?: Stored<NamespaceObject>;
  /** Objects of the child kinds in that namespace that carry our labels (`childLabels`). */
  children: Stored[];
  /** The ResourceQuota among them, with its status. */
  quota?: Stored<ResourceQuotaObject>;
  jobs: JobCounts;
  /** Worker pods in the namespace that are not terminal. */
  liveWorkers: number;
  /** Other Tenants that claim the same namespace and are not being deleted. */
  rivals: Rival[];
  /** What somebody else keeps changing. */
  contests: Contests;
  settings: TenantSettings;
}

export interface Rival {
  name: string;
  uid: string;
  creationTimestamp: string;
}

/** BatchJobs of the namespace by state; Planning, Running and Finishing count as running. */
export interface JobCounts {
  pending: number;
  running: number;
  suspended: number;
  complete: number;
  failed: number;
}

/** Where workers find the operator. */
export interface TenantSettings {
  operatorNamespace: string;
  /** Port of the operator's pod, which is what a NetworkPolicy sees behind the Service. */
  syncPort: number;
  /** Labels of the operator's pods. */
  operatorLabels: Record<string, string>;
}

export interface NamespaceObject extends KubeObject {
  status?: { phase?: string; conditions?: { type: string; status: string; reason?: string; message?: string }[] };
}

export interface ResourceQuotaObject extends KubeObject {
  spec?: { hard?: Record<string, string> };
  status?: { hard?: Record<string, string>; used?: Record<string, string> };
}

/** The namespace that a Tenant claims. */
export const namespaceOf = (tenant: { metadata: { name: string }; spec: { namespace?: string } }): string =>
  tenant.spec.namespace ?? defaultNamespace(tenant.metadata.name);

/** Whether the namespace was made for this very Tenant, or taken up by it. */
export const belongsTo = (namespace: KubeObject, tenant: StoredTenant): boolean =>
  namespace.metadata.labels?.[labels.tenantUid] === tenant.metadata.uid;

export function countJobs(states: Iterable<string | undefined>): JobCounts {
  const counts: JobCounts = { pending: 0, running: 0, suspended: 0, complete: 0, failed: 0 };
  for (const state of states) counts[BUCKET[state ?? ''] ?? 'pending'] += 1;
  return counts;
}

const BUCKET: Record<string, keyof JobCounts> = {
  Planning: 'running',
  Running: 'running',
  Finishing: 'running',
  Suspended: 'suspended',
  Complete: 'complete',
  Failed: 'failed',
};
