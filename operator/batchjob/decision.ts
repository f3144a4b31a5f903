import { isTrue } from '../api/conditions.ts';
import type { Observed, StoredBatchJob } from './observe.ts';
import { deadline } from './policy/deadline.ts';
import { type Failure, outOfMemory, permanentFailure } from './policy/failure.ts';
import { imagePullFailure, type Pending } from './policy/pending.ts';

/**
 * Whether the job's end is decided. A decision stands in the conditions SuccessCriteriaMet or FailureTarget and is never
 * taken back; Complete or Failed follows when every worker pod is terminal or gone (as batch/v1 does, KEP-3998).
 */
export type Decision = { kind: 'open' } | { kind: 'success' } | { kind: 'failure'; failure: Failure };

export function decide(job: StoredBatchJob, observed: Observed, pending: Pending | undefined, now: number): Decision {
  const conditions = job.status?.conditions;
  const failed = conditions?.find(({ type, status }) => (type === 'FailureTarget' || type === 'Failed') && status === 'True');
  if (failed) return { kind: 'failure', failure: { reason: failed.reason, message: failed.message } };
  if (isTrue(conditions, 'SuccessCriteriaMet') || isTrue(conditions, 'Complete')) return { kind: 'success' };
  if (observed.ledger?.progress.phase === 'Finished') return { kind: 'success' };
  const failure =
    observed.ledger?.progress.failure ??
    permanentFailure(observed.pods) ??
    (job.spec.suspend ? undefined : deadline(job, now).failure) ??
    imagePullFailure(pending, observed.settings.imagePullDeadlineSeconds);
  return failure ? { kind: 'failure', failure: withMemory(job, observed, failure) } : { kind: 'open' };
}

/** A shard that crashed its workers at the memory limit is told as that. */
function withMemory(job: StoredBatchJob, observed: Observed, failure: Failure): Failure {
  const killed = failure.reason === 'ShardFailed' ? outOfMemory(observed.pods) : undefined;
  if (killed === undefined) return failure;
  const limit = job.spec.workers.resources?.limits?.['memory'] ?? observed.settings.defaultResources.memory;
  return {
    reason: 'OutOfMemory',
    message: `${failure.message}; worker ${killed} was killed at its memory limit ${limit}: raise spec.workers.resources.limits.memory or lower spec.batching.maxSize`,
  };
}
