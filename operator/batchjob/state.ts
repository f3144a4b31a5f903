import type { Obstacle } from './admission.ts';
import type { Decision } from './decision.ts';
import type { Observed, StoredBatchJob } from './observe.ts';
import { isLive, podState } from './pod-state.ts';
import type { Pending } from './policy/pending.ts';
import type { Spread } from './volumes.ts';
import type { WorkerPool } from './workers.ts';

export type State = 'Pending' | 'Planning' | 'Running' | 'Finishing' | 'Suspended' | 'Complete' | 'Failed';

/** What one reconcile found and did, from which state, status and events are told. */
export interface Situation {
  decision: Decision;
  obstacle: Obstacle | undefined;
  pending: Pending | undefined;
  pool: WorkerPool;
  spread: Spread;
  /** Worker pods made in this reconcile. */
  created: number;
}

/**
 * The job's state in one word.
 *
 *   Pending → Planning → Running → Finishing → Complete
 *      any of these ⇄ Suspended, any → Failed
 *
 * The decided end shows as Finishing until the last pod is gone, so that Complete and Failed mean that nothing runs.
 */
export function stateOf(job: StoredBatchJob, observed: Observed, { decision, created }: Situation): State {
  const live = created > 0 || observed.pods.some((pod) => isLive(podState(pod, observed.lostNodes)));
  if (decision.kind !== 'open') {
    if (live) return 'Finishing';
    return decision.kind === 'success' ? 'Complete' : 'Failed';
  }
  if (job.spec.suspend) return 'Suspended';
  const progress = observed.ledger?.progress;
  if (!progress || !progress.workers.some(({ state }) => state !== 'Silent')) return progress?.plan && live ? 'Running' : 'Pending';
  if (progress.phase === 'Finishing' || progress.phase === 'Finished') return 'Finishing';
  return progress.phase === 'Running' ? 'Running' : 'Planning';
}
