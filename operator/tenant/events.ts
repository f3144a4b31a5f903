import type { ChangeSet, PlannedEvent } from '../runtime/plan.ts';
import { namespaceOf, type Observed, type StoredTenant } from './observe.ts';
import type { Verdict } from './status.ts';

/** Names of objects in one note; a note holds 1,024 characters. */
const MAX_NAMED = 6;

/** Objects, as `Kind/name`, of a Tenant that was in order that were missing or that somebody else had changed. */
export function restored(tenant: StoredTenant, observed: Observed, changes: ChangeSet): string[] {
  return isSettled(tenant) ? putInPlace(observed, changes) : [];
}

/**
 * What the writes did. In a settled Tenant's namespace that is drift put right: objects that were missing, and those that the
 * cache knew and an apply changed. (An object that only the cache does not show yet counts as configured without being so.)
 */
export function changeEvents(tenant: StoredTenant, observed: Observed, changes: ChangeSet): PlannedEvent[] {
  const name = namespaceOf(tenant);
  const changed = putInPlace(observed, changes);
  if (changed.length === 0) return [];
  return isSettled(tenant)
    ? [{ type: 'Normal', reason: 'Restored', action: 'Restore', note: `Brought back in namespace ${name} to what the Tenant asks for: ${named(changed)}.` }]
    : [{ type: 'Normal', reason: 'Configured', action: 'Configure', note: `Set up in namespace ${name}: ${named(changed)}.` }];
}

function putInPlace(observed: Observed, changes: ChangeSet): string[] {
  const known = new Set([...observed.children, observed.namespace].map((object) => `${object?.kind}/${object?.metadata.name}`));
  return [...changes.created, ...changes.configured.filter((label) => known.has(label))];
}

/** One that is not in order only because it is contested was settled before. */
function isSettled({ status, metadata }: StoredTenant): boolean {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  return (ready?.status === 'True' || ready?.reason === 'FieldConflict') && status?.observedGeneration === metadata.generation;
}

/** A warning when the Tenant comes into this state, not each time it is found in it. */
export function turned(tenant: StoredTenant, { state, reason, message }: Verdict): PlannedEvent[] {
  const before = tenant.status?.conditions?.find((condition) => condition.type === 'Ready');
  const start = message.slice(0, 1000);
  if (state !== 'Failed' || (before?.reason === reason && before.message.startsWith(start))) return [];
  return [{ type: 'Warning', reason, action: 'Refuse', note: start }];
}

function named(objects: readonly string[]): string {
  const sorted = [...objects].sort();
  return sorted.length <= MAX_NAMED ? sorted.join(', ') : `${sorted.slice(0, MAX_NAMED).join(', ')} and ${sorted.length - MAX_NAMED} more`;
}
