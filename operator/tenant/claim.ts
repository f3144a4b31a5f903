import { annotations, labels } from '../api/names.ts';
import { belongsTo, namespaceOf, type Observed, type Rival, type StoredTenant } from './observe.ts';

/** Whether the Tenant may have the namespace that it claims; if not, why, and what to do about it. */
export type Claim = { granted: true } | { granted: false; reason: 'NamespaceConflict' | 'NamespaceReserved'; message: string };

/**
 * Who holds the namespace keeps it. A free one goes to the oldest of those that claim it, one that exists already only to
 * the Tenant that an administrator names on it. The answer depends on nothing but stored objects, so a restart repeats it.
 */
export function claim(tenant: StoredTenant, observed: Observed): Claim {
  const name = namespaceOf(tenant);
  const { namespace, rivals, settings } = observed;
  if (name === settings.operatorNamespace) {
    return {
      granted: false,
      reason: 'NamespaceReserved',
      message: `Namespace ${name} is the operator's own. Delete this Tenant and make one with another spec.namespace.`,
    };
  }
  if (namespace !== undefined && belongsTo(namespace, tenant)) return { granted: true };
  const holder = rivals.find((rival) => rival.uid === namespace?.metadata.labels?.[labels.tenantUid]);
  if (holder !== undefined) return conflict(`Namespace ${name} belongs to the Tenant ${holder.name}. Choose another namespace for this one.`);
  const older = rivals.find((rival) => isOlder(rival, tenant));
  if (older !== undefined) {
    return conflict(`Namespace ${name} is also claimed by the older Tenant ${older.name}. Choose another namespace for this one.`);
  }
  if (namespace === undefined || namespace.metadata.annotations?.[annotations.adopt] === tenant.metadata.name) return { granted: true };
  const former = namespace.metadata.labels?.[labels.tenant];
  return conflict(
    `Namespace ${name} exists already and ${former === undefined ? 'was not made for a Tenant' : `was made for an earlier Tenant ${former}`}. ` +
      `It is left untouched. To let this Tenant take it up, run "kubectl annotate namespace ${name} ${annotations.adopt}=${tenant.metadata.name}"; ` +
      'otherwise make a Tenant for another namespace.',
  );
}

const conflict = (message: string): Claim => ({ granted: false, reason: 'NamespaceConflict', message });

function isOlder(rival: Rival, tenant: StoredTenant): boolean {
  const [theirs, ours] = [Date.parse(rival.creationTimestamp), Date.parse(tenant.metadata.creationTimestamp ?? '')];
  return theirs < ours || (theirs === ours && rival.name < tenant.metadata.name);
}
