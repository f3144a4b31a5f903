import { WORKER_SERVICE_ACCOUNT } from '../api/names.ts';
import type { KubeObject } from '../kube/object.ts';
import { childMeta } from './child.ts';
import type { StoredTenant } from './observe.ts';

/** Workers run as this account, which has no role anywhere and no token mounted. */
export function serviceAccount(tenant: StoredTenant): KubeObject {
  const { imagePullSecrets } = tenant.spec;
  const object: KubeObject & { automountServiceAccountToken: boolean; imagePullSecrets?: { name: string }[] } = {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: childMeta(tenant, WORKER_SERVICE_ACCOUNT),
    automountServiceAccountToken: false,
    ...(imagePullSecrets.length === 0 ? {} : { imagePullSecrets: imagePullSecrets.map((name) => ({ name })) }),
  };
  return object;
}
