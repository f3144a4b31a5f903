import { TENANT_FINALIZER } from '../api/names.ts';
import { exceeds } from '../api/quantity.ts';
import { keyOf, type KubeObject } from '../kube/object.ts';
import type { Outcome } from '../runtime/outcome.ts';
import type { ChangeSet, Plan, PlannedEvent, Refusal, Removal, Report } from '../runtime/plan.ts';
import { claim } from './claim.ts';
import { afterRestoring, contested, type Contests, lastForeignWriter, restorableIn } from './contest.ts';
import { planDeletion } from './deletion.ts';
import { changeEvents, restored, turned } from './events.ts';
import { limitRange } from './limit-range.ts';
import { namespace } from './namespace.ts';
import { networkPolicies } from './network-policies.ts';
import { namespaceOf, type Observed, type StoredTenant } from './observe.ts';
import { ownerAccess } from './rbac.ts';
import { quotaInForce, resourceQuota } from './resource-quota.ts';
import { serviceAccount } from './service-account.ts';
import { isPressing, status, type Verdict } from './status.ts';
import { terminationBlocker } from './termination.ts';

const CREATION_RECHECK_MS = 1_000;
const TERMINATING_RECHECK_MS = 10_000;
const QUOTA_RECHECK_MS = 5_000;
const REFUSAL_RECHECK_MS = 15_000;

/** Everything that a Tenant stands for: its namespace and the fence in it. Pure; `now` is in ms since the epoch. */
export function planTenant(tenant: StoredTenant, observed: Observed, now: number): Plan {
  if (tenant.metadata.deletionTimestamp !== undefined) return planDeletion(tenant, observed, now);
  const claimed = claim(tenant, observed);
  if (!claimed.granted) {
    const { reason, message } = claimed;
    return writeNothing(tenant, observed, now, { state: 'Failed', reason, message }, { kind: 'stalled', reason, message });
  }
  if (observed.namespace?.metadata.deletionTimestamp !== undefined) {
    const message = `Namespace ${namespaceOf(tenant)} is being deleted and will be made anew once it is gone. ${terminationBlocker(observed.namespace)}`;
    const outcome: Outcome = { kind: 'waiting', reason: 'NamespaceTerminating', afterMs: TERMINATING_RECHECK_MS };
    return writeNothing(tenant, observed, now, { state: 'Pending', reason: 'NamespaceTerminating', message }, outcome);
  }
  if (observed.namespace === undefined) return createNamespace(tenant, observed, now);
  const wanted = [namespace(tenant, observed.namespace.metadata.uid), ...children(tenant, observed, now)];
  return {
    finalizer: { add: TENANT_FINALIZER },
    apply: wanted.filter(({ kind, metadata }) => (restorableIn(observed.contests, `${kind}/${metadata.name}`, now) ?? 0) === 0),
    create: [],
    remove: unwanted(observed, wanted),
    report: (changes) => report(tenant, observed, now, changes),
  };
}

/**
 * Made by POST and alone: should the cache be behind and somebody else's namespace of that name exist, the API server
 * refuses, where an apply would have labelled it. The rest follows once the cache shows it.
 */
function createNamespace(tenant: StoredTenant, observed: Observed, now: number): Plan {
  const name = namespaceOf(tenant);
  return {
    finalizer: { add: TENANT_FINALIZER },
    apply: [],
    create: [namespace(tenant)],
    remove: [],
    report: (changes) => {
      const refusal = changes.refused.find(({ reason }) => reason !== 'AlreadyExists');
      if (refusal !== undefined) return refused(tenant, observed, now, refusal, []);
      const verdict: Verdict = { state: 'Pending', reason: 'CreatingNamespace', message: `Namespace ${name} is being made.` };
      return {
        status: status(tenant, observed, verdict, now),
        events: changes.created.length === 0 ? [] : [{ type: 'Normal', reason: 'Created', action: 'Create', note: `Made namespace ${name}.` }],
        outcome: { kind: 'requeue', afterMs: CREATION_RECHECK_MS },
      };
    },
  };
}

/** What fences the namespace, then who may enter. */
function children(tenant: StoredTenant, observed: Observed, now: number): KubeObject[] {
  return [
    ...networkPolicies(tenant, observed.settings),
    ...resourceQuota(tenant, observed.quota, now),
    ...limitRange(tenant),
    serviceAccount(tenant),
    ...ownerAccess(tenant),
  ];
}

function unwanted(observed: Observed, wanted: readonly KubeObject[]): Removal[] {
  const id = ({ kind, metadata }: KubeObject): string => `${kind} ${keyOf(metadata)}`;
  const keep = new Set(wanted.map(id));
  return observed.children
    .filter((child) => !keep.has(id(child)) && child.metadata.deletionTimestamp === undefined)
    .map(({ apiVersion, kind, metadata: { namespace = '', name, uid } }) => ({ apiVersion, kind, namespace, name, uid }));
}

function report(tenant: StoredTenant, observed: Observed, now: number, changes: ChangeSet): Report {
  const name = namespaceOf(tenant);
  const events = changeEvents(tenant, observed, changes);
  const refusal = changes.refused[0];
  if (refusal !== undefined) return refused(tenant, observed, now, refusal, events);
  const contest = contested(contestsAfter(tenant, observed, changes, now), now);
  if (contest !== undefined) {
    const verdict: Verdict = { state: 'Failed', reason: 'FieldConflict', message: contest.message };
    return {
      status: status(tenant, observed, verdict, now),
      events: [...events, ...turned(tenant, verdict)],
      outcome: { kind: 'waiting', reason: verdict.reason, afterMs: contest.afterMs },
    };
  }
  if (!quotaInForce(tenant, observed.quota)) {
    const verdict: Verdict = { state: 'Pending', reason: 'QuotaPending', message: `The quota of namespace ${name} is being counted.` };
    const outcome: Outcome = { kind: 'waiting', reason: verdict.reason, afterMs: QUOTA_RECHECK_MS };
    return { status: status(tenant, observed, verdict, now), events, outcome };
  }
  const verdict: Verdict = tenant.spec.cordoned
    ? { state: 'Cordoned', reason: 'Cordoned', message: `Namespace ${name} is in place. No BatchJob starts while spec.cordoned is true.` }
    : { state: 'Ready', reason: 'Ready', message: overQuota(observed) ?? `Namespace ${name} is in place.` };
  const after = status(tenant, observed, verdict, now);
  return { status: after, pressing: events.length > 0 || isPressing(tenant.status, after), events, outcome: { kind: 'settled' } };
}

/** The contests once these writes are through; the controller keeps them for the next look. */
export function contestsAfter(tenant: StoredTenant, observed: Observed, changes: ChangeSet, now: number): Contests {
  const seen = new Map([...observed.children, ...(observed.namespace === undefined ? [] : [observed.namespace])].map((object) => [`${object.kind}/${object.metadata.name}`, object]));
  return afterRestoring(observed.contests, restored(tenant, observed, changes), (label) => lastForeignWriter(seen.get(label)), now);
}

/** What the spec says cannot work is not tried again; what somebody else forbids may be allowed by then. */
function refused(tenant: StoredTenant, observed: Observed, now: number, refusal: Refusal, events: PlannedEvent[]): Report {
  const reason = 'ChildRefused';
  const message = `${refusal.kind} ${refusal.name} was refused: ${refusal.message}`;
  const verdict: Verdict = { state: 'Failed', reason, message };
  return {
    status: status(tenant, observed, verdict, now),
    events: [...events, ...turned(tenant, verdict)],
    outcome: refusal.reason === 'Invalid' ? { kind: 'stalled', reason, message } : { kind: 'waiting', reason, afterMs: REFUSAL_RECHECK_MS },
  };
}

/** A quota lowered below what is used evicts nothing; it is only told. */
function overQuota({ quota }: Observed): string | undefined {
  const over = Object.entries(quota?.status?.hard ?? {})
    .filter(([resource, hard]) => exceeds(quota?.status?.used?.[resource] ?? '0', hard))
    .map(([resource, hard]) => `${resource} (${quota?.status?.used?.[resource] ?? '0'} of ${hard})`);
  return over.length === 0 ? undefined : `More is in use than the quota allows: ${over.sort().join(', ')}. New pods wait until it falls.`;
}

function writeNothing(tenant: StoredTenant, observed: Observed, now: number, verdict: Verdict, outcome: Outcome): Plan {
  return {
    apply: [],
    create: [],
    remove: [],
    report: () => ({ status: status(tenant, observed, verdict, now), events: turned(tenant, verdict), outcome }),
  };
}
