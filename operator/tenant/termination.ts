import type { NamespaceObject } from './observe.ts';

/** The conditions in which the namespace controller tells what holds a namespace up, most telling first. */
const BLOCKERS = [
  'NamespaceFinalizersRemaining',
  'NamespaceDeletionContentFailure',
  'NamespaceDeletionDiscoveryFailure',
  'NamespaceDeletionGroupVersionParsingFailure',
  'NamespaceContentRemaining',
];

/** What a namespace that is being deleted waits for, in a sentence. */
export function terminationBlocker(namespace: NamespaceObject): string {
  for (const type of BLOCKERS) {
    const condition = namespace.status?.conditions?.find((one) => one.type === type && one.status === 'True');
    if (condition !== undefined) return `${type}: ${(condition.message ?? condition.reason ?? '').replace(/\.?$/, '.')}`;
  }
  return 'Its content is being deleted.';
}
