import { TENANT_FINALIZER } from '../api/names.ts';
import type { Outcome } from '../runtime/outcome.ts';
import type { Plan, Removal } from '../runtime/plan.ts';
import { belongsTo, namespaceOf, type Observed, type StoredTenant } from './observe.ts';
import { status, type Verdict } from './status.ts';
import { terminationBlocker } from './termination.ts';

/** Workers stop by themselves once their Tenant is being deleted; one that cannot holds the deletion up no longer than this. */
const STOP_LIMIT_MS = 60_000;
const RECHECK_MS = 2_000;

/**
 * The workers stop, then the namespace follows `deletionPolicy`, then the finalizer goes. Retain leaves the namespace as it
 * is, fence and labels included; its UID label matches no Tenant any more. A namespace that is not ours stays untouched.
 */
export function planDeletion(tenant: StoredTenant, observed: Observed, now: number): Plan {
  const { namespace, liveWorkers } = observed;
  const name = namespaceOf(tenant);
  if (!tenant.metadata.finalizers?.includes(TENANT_FINALIZER)) return wait([]);
  if (namespace === undefined || !belongsTo(namespace, tenant)) return release(`Namespace ${name} is gone or not of this Tenant.`);
  const deadline = Date.parse(tenant.metadata.deletionTimestamp ?? '') + STOP_LIMIT_MS;
  if (liveWorkers > 0 && now < deadline && namespace.metadata.deletionTimestamp === undefined) {
    const message = `Waiting for ${liveWorkers} worker ${liveWorkers === 1 ? 'pod' : 'pods'} in namespace ${name} to stop.`;
    return wait([], { state: 'Terminating', reason: 'StoppingWorkers', message });
  }
  if (tenant.spec.deletionPolicy === 'Retain') return release(`Kept namespace ${name} as it is.`);
  const { apiVersion, kind, metadata } = namespace;
  const gone: Removal[] = metadata.deletionTimestamp === undefined ? [{ apiVersion, kind, name, uid: metadata.uid }] : [];
  const message = `Deleting namespace ${name}. ${terminationBlocker(namespace)}`;
  return wait(gone, { state: 'Terminating', reason: 'DeletingNamespace', message });

  function wait(remove: Removal[], verdict?: Verdict): Plan {
    const outcome: Outcome = verdict === undefined ? { kind: 'settled' } : { kind: 'waiting', reason: verdict.reason, afterMs: RECHECK_MS };
    const told = verdict === undefined ? {} : { status: status(tenant, observed, verdict, now) };
    return { apply: [], create: [], remove, report: () => ({ ...told, events: [], outcome }) };
  }

  function release(note: string): Plan {
    return {
      finalizer: { remove: TENANT_FINALIZER },
      apply: [],
      create: [],
      remove: [],
      report: () => ({ events: [{ type: 'Normal', reason: 'Released', action: 'Delete', note }], outcome: { kind: 'settled' } }),
    };
  }
}
