import { isTrue } from '../api/conditions.ts';
import type { ChangeSet, PlannedEvent } from '../runtime/plan.ts';
import { namespaceOf, type Observed, type StoredTenant } from './observe.ts';
import type { Verdict } from './status.ts';

/** Names of objects in one note; a note holds 1,024 characters. */
const MAX_NAMED = 6;

/**
 * What the writes did. In a settled Tenant's namespace that is drift put right: objects that were missing, and those that the
 * cache knew and an apply changed. (An object that only the cache does not show yet counts as configured without being so.)
 */
export function changeEvents(tenant: StoredTenant, observed: Observed, changes: ChangeSet): PlannedEvent[] {
  const name = namespaceOf(tenant);
  const known = new Set([...observed.children, observed.namespace].map((object) => `${object?.kind}/${object?.metadata.name}`));
  const changed = [...changes.created, ...changes.configured.filter((label) => known.has(label))];
  if (changed.length === 0) return [];
  const settled = isTrue(tenant.status?.conditions, 'Ready') && tenant.status?.observedGeneration === tenant.metadata.generation;
  return settled
    ? [{ type: 'Normal', reason: 'Restored', action: 'Restore', note: `Brought back in namespace ${name} to what the Tenant asks for: ${named(changed)}.` }]
    : [{ type: 'Normal', reason: 'Configured', action: 'Configure', note: `Set up in namespace ${name}: ${named(changed)}.` }];
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
