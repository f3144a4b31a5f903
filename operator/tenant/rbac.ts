import { grantRules, type PolicyRule } from '../kube/kinds.ts';
import type { KubeObject } from '../kube/object.ts';
import { childMeta } from './child.ts';
import type { StoredTenant } from './observe.ts';

const OWNER_ROLE = 'millrace-tenant-owner';
const RBAC = 'rbac.authorization.k8s.io';

/**
 * Owners get what the table of kinds grants: BatchJobs and what a job needs, no verb that changes quota, limits,
 * policies, roles or the namespace, and none that makes a pod. The role stands even without owners.
 */
export function ownerAccess(tenant: StoredTenant): KubeObject[] {
  const role: KubeObject & { rules: PolicyRule[] } = {
    apiVersion: `${RBAC}/v1`,
    kind: 'Role',
    metadata: childMeta(tenant, OWNER_ROLE),
    rules: grantRules(),
  };
  if (tenant.spec.owners.length === 0) return [role];
  const binding: KubeObject & { roleRef: object; subjects: object[] } = {
    apiVersion: `${RBAC}/v1`,
    kind: 'RoleBinding',
    metadata: childMeta(tenant, OWNER_ROLE),
    roleRef: { apiGroup: RBAC, kind: 'Role', name: OWNER_ROLE },
    subjects: tenant.spec.owners.map(({ kind, name, namespace }) =>
      kind === 'ServiceAccount' ? { kind, name, namespace: namespace ?? '' } : { kind, apiGroup: RBAC, name },
    ),
  };
  return [role, binding];
}
