import type { KubeObject } from '../kube/object.ts';
import type { Outcome } from './outcome.ts';

/**
 * What a pure planner wants done for one object. `execute` carries it out in this order and stops at the first error
 * that is not a refusal: finalizer to add → apply → create → remove → status → events → finalizer to remove.
 */
export interface Plan {
  /** Put on the object before anything else is written, or taken off after everything else went well. */
  finalizer?: { add: string } | { remove: string };
  /** Server-side applied with force by the controller's field manager. State only the fields that are owned. */
  apply: KubeObject[];
  /** POSTed. AlreadyExists counts as done when the stored object has the same controller owner UID and is not being deleted. */
  create: KubeObject[];
  /** Deleted in the background, with `uid` as precondition. Absence is success. */
  remove: Removal[];
  /** Called once the writes above are through, so that status and events tell what really happened. */
  report(changes: ChangeSet): Report;
}

export interface Removal {
  apiVersion: string;
  kind: string;
  namespace?: string;
  name: string;
  uid: string;
  gracePeriodSeconds?: number;
}

export interface Report {
  /** Applied to the status subresource when it differs from what is stored; absent leaves it alone. */
  status?: object;
  /**
   * False of a status that differs from the stored one in nothing but what changes all the time (progress, places in a
   * queue, usage), and without events: it is written when its turn has come. Default true.
   */
  pressing?: boolean;
  events: PlannedEvent[];
  outcome: Outcome;
}

export interface PlannedEvent {
  type: 'Normal' | 'Warning';
  /** CamelCase, from a closed list. */
  reason: string;
  /** What the controller did or found, CamelCase verb, e.g. 'Admit'. */
  action: string;
  /** At most 1,024 characters; no times, so that repeats are counted rather than listed. */
  note: string;
}

export interface ChangeSet {
  created: string[];
  configured: string[];
  unchanged: string[];
  removed: string[];
  /** Writes that the API server refused for a reason that a retry alone does not mend: quota, admission, a foreign object of that name. */
  refused: Refusal[];
}

export interface Refusal {
  kind: string;
  name: string;
  /** Status reason of the answer ('Forbidden', 'Invalid', 'AlreadyExists' …). */
  reason: string;
  message: string;
}
