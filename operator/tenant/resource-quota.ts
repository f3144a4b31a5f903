import { canonicalQuantities } from '../api/quantity.ts';
import type { KubeObject } from '../kube/object.ts';
import { childMeta } from './child.ts';
import type { ResourceQuotaObject, StoredTenant } from './observe.ts';

export const QUOTA_NAME = 'millrace-quota';

/** None without `spec.quota`. */
export function resourceQuota(tenant: StoredTenant): KubeObject[] {
  const { quota } = tenant.spec;
  if (quota === undefined || Object.keys(quota).length === 0) return [];
  const object: ResourceQuotaObject = {
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: childMeta(tenant, QUOTA_NAME),
    spec: { hard: canonicalQuantities(quota) },
  };
  return [object];
}

/** Until the quota controller has counted a resource, the API server refuses pods that use it. */
export function quotaInForce(tenant: StoredTenant, quota: ResourceQuotaObject | undefined): boolean {
  return Object.keys(tenant.spec.quota ?? {}).every((resource) => quota?.status?.hard?.[resource] !== undefined);
}
