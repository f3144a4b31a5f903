import { canonicalQuantities } from '../api/quantity.ts';
import type { KubeObject } from '../kube/object.ts';
import { childMeta } from './child.ts';
import type { ResourceQuotaObject, StoredTenant } from './observe.ts';

export const QUOTA_NAME = 'millrace-quota';

const RECOUNT_MS = 5_000;

/** None without `spec.quota`. `quota` is the stored one. */
export function resourceQuota(tenant: StoredTenant, quota: ResourceQuotaObject | undefined, now: number): KubeObject[] {
  const recounting = isRecounting(tenant, now);
  const hard = Object.entries(canonicalQuantities(tenant.spec.quota ?? {})).filter(([resource]) => !(recounting && isUncounted(resource, quota)));
  if (hard.length === 0) return [];
  const object: ResourceQuotaObject = {
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: childMeta(tenant, QUOTA_NAME),
    spec: { hard: Object.fromEntries(hard) },
  };
  return [object];
}

/**
 * Kubernetes begins to count objects of a new custom resource up to 30 s after its CRD came, and counts an existing quota
 * again only when its `hard` changes (or after 5 minutes), until which it refuses every BatchJob. So while a quota
 * waits to be counted, what is not is taken out of it in every other interval and put back in the next.
 */
function isRecounting(tenant: StoredTenant, now: number): boolean {
  const waits = tenant.status?.conditions?.some(({ type, reason }) => type === 'Ready' && reason === 'QuotaPending') ?? false;
  return waits && Math.floor(now / RECOUNT_MS) % 2 === 0;
}

function isUncounted(resource: string, quota: ResourceQuotaObject | undefined): boolean {
  if (quota === undefined || quota.status?.used?.[resource] !== undefined) return false;
  return quota.status?.hard?.[resource] !== undefined || quota.spec?.hard?.[resource] === undefined;
}

/** Until the quota controller has counted a resource, the API server refuses pods and jobs that use it. */
export function quotaInForce(tenant: StoredTenant, quota: ResourceQuotaObject | undefined): boolean {
  return Object.keys(tenant.spec.quota ?? {}).every((resource) => quota?.status?.hard?.[resource] !== undefined && quota.status.used?.[resource] !== undefined);
}
