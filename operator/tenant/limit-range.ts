import { canonicalQuantities } from '../api/quantity.ts';
import type { KubeObject } from '../kube/object.ts';
import { childMeta } from './child.ts';
import type { StoredTenant } from './observe.ts';

/** None without `spec.limits`. */
export function limitRange(tenant: StoredTenant): KubeObject[] {
  const given = Object.entries(tenant.spec.limits ?? {}).filter(([, quantities]) => Object.keys(quantities).length > 0);
  if (given.length === 0) return [];
  const limit = {
    type: 'Container',
    ...Object.fromEntries(given.map(([bound, quantities]) => [bound, canonicalQuantities(quantities)])),
  };
  const object: KubeObject & { spec: object } = {
    apiVersion: 'v1',
    kind: 'LimitRange',
    metadata: childMeta(tenant, 'millrace-limits'),
    spec: { limits: [limit] },
  };
  return [object];
}
