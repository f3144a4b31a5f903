import { isTrue } from '../api/conditions.ts';
import type { Decision } from './decision.ts';
import type { Observed, StoredBatchJob } from './observe.ts';
import { isLive, podState } from './pod-state.ts';
import type { ObstacleReason, PendingReason, WaitingReason } from './reasons.ts';
import type { Spread } from './volumes.ts';
import type { SlotAttempt } from './workers.ts';

export type State = 'Pending' | 'Planning' | 'Running' | 'Finishing' | 'Suspended' | 'Complete' | 'Failed';

/** What stands in the way of workers, or of some of them. */
export interface Trouble {
  reason: ObstacleReason | PendingReason | WaitingReason;
  message: string;
  /** Nothing goes on until a person changes something. */
  stalled: boolean;
}

/** Complete or Failed: nothing of it runs any more, and nothing will. */
export const isOver = ({ status }: StoredBatchJob): boolean => isTrue(status?.conditions, 'Complete') || isTrue(status?.conditions, 'Failed');

/** What one reconcile found and did, from which state, status and events are told. */
export interface Situation {
  decision: Decision;
  trouble: Trouble | undefined;
  spread: Spread;
  /** Worker pods made in this reconcile. */
  made: readonly SlotAttempt[];
}

/**
 * The job's state in one word.
 *
 *   Pending → Planning → Running → Finishing → Complete
 *      any of these ⇄ Suspended, any → Failed
 *
 * A decided end shows as Finishing until the last pod is gone, so that Complete and Failed mean that nothing runs. They
 * are never left again, also when a lost node comes back with a pod that is still ending.
 */
export function stateOf(job: StoredBatchJob, observed: Observed, { decision, made }: Situation): State {
  if (isTrue(job.status?.conditions, 'Complete')) return 'Complete';
  if (isTrue(job.status?.conditions, 'Failed')) return 'Failed';
  const live = made.length > 0 || observed.pods.some((pod) => isLive(podState(pod, observed.lostNodes)));
  if (decision.kind !== 'open') {
    if (live) return 'Finishing';
    return decision.kind === 'success' ? 'Complete' : 'Failed';
  }
  if (job.spec.suspend) return 'Suspended';
  const progress = observed.ledger?.progress;
  const heard = progress?.workers.some(({ state }) => state !== 'Silent') ?? false;
  const running = observed.pods.some((pod) => podState(pod, observed.lostNodes) === 'running');
  // A new leader knows the plan before it has heard from the workers.
  if (!progress || !(heard || (progress.plan && running))) return 'Pending';
  if (progress.phase === 'Finishing' || progress.phase === 'Finished') return 'Finishing';
  return progress.phase === 'Running' ? 'Running' : 'Planning';
}
