import { labels, MANAGED_BY } from '../api/names.ts';
import type { ObjectMeta } from '../kube/object.ts';
import { namespaceOf, type StoredTenant } from './observe.ts';

/** Labels of everything the operator makes in a tenant's namespace; what carries them and is not wanted is removed. */
export function childLabels(tenant: StoredTenant): Record<string, string> {
  return { [labels.managedBy]: MANAGED_BY, [labels.component]: 'tenant', [labels.tenant]: tenant.metadata.name };
}

export function childMeta(tenant: StoredTenant, name: string): ObjectMeta {
  return { name, namespace: namespaceOf(tenant), labels: childLabels(tenant) };
}

/** Kinds of the children in the namespace, as they are named in the plan. */
export const CHILD_KINDS = ['NetworkPolicy', 'ResourceQuota', 'LimitRange', 'ServiceAccount', 'Role', 'RoleBinding'] as const;
