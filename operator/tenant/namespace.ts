import { labels, MANAGED_BY } from '../api/names.ts';
import type { KubeObject } from '../kube/object.ts';
import { namespaceOf, type StoredTenant } from './observe.ts';

/**
 * `uid` is that of the stored namespace, a precondition: one that took the name over in the meantime is left alone.
 * No ownerReference: garbage collection would delete the namespace with the Tenant and defeat `deletionPolicy: Retain`.
 * The UID label, not the name, says whose it is. The chart's admission policies read these labels.
 */
export function namespace(tenant: StoredTenant, uid?: string): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name: namespaceOf(tenant),
      ...(uid === undefined ? {} : { uid }),
      labels: {
        [labels.managedBy]: MANAGED_BY,
        [labels.tenant]: tenant.metadata.name,
        [labels.tenantUid]: tenant.metadata.uid,
        [labels.maxPriority]: `${tenant.spec.maxPriority}`,
        ...podSecurity('enforce'),
        ...podSecurity('audit'),
        ...podSecurity('warn'),
      },
    },
  };
}

const podSecurity = (mode: string): Record<string, string> => ({
  [`pod-security.kubernetes.io/${mode}`]: 'restricted',
  [`pod-security.kubernetes.io/${mode}-version`]: 'latest',
});
