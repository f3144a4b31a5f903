import { isTrue } from '../api/conditions.ts';
import { endOfOriginal } from './duplicate.ts';
import type { Observed, StoredBatchJob } from './observe.ts';
import { workerResources } from './pod.ts';
import { deadline } from './policy/deadline.ts';
import { type Failure, outOfMemory, permanentFailure } from './policy/failure.ts';
import { imagePullFailure, type Pending } from './policy/pending.ts';
import { CONDITION_LENGTH, shorten } from './text.ts';

/**
 * Whether the job's end is decided. A decision stands in the conditions SuccessCriteriaMet or FailureTarget and is never
 * taken back; Complete or Failed follows when every worker pod is terminal or gone (as batch/v1 does, KEP-3998).
 */
export type Decision = { kind: 'open' } | { kind: 'success' } | { kind: 'failure'; failure: Failure };

export function decide(job: StoredBatchJob, observed: Observed, pending: Pending | undefined, now: number): Decision {
  const conditions = job.status?.conditions;
  if (isTrue(conditions, 'SuccessCriteriaMet') || isTrue(conditions, 'Complete')) return { kind: 'success' };
  const failed = conditions?.find(({ type, status }) => (type === 'FailureTarget' || type === 'Failed') && status === 'True');
  if (failed) return { kind: 'failure', failure: { reason: failed.reason, message: failed.message } };
  const shared = endOfOriginal(job, observed);
  if (shared) return shared;
  if (observed.ledger?.progress.phase === 'Finished') return { kind: 'success' };
  const failure =
    observed.ledger?.progress.failure ??
    permanentFailure(observed.pods) ??
    (job.spec.suspend ? undefined : deadline(job, now).failure) ??
    imagePullFailure(pending, observed.settings.imagePullDeadlineSeconds);
  if (!failure) return { kind: 'open' };
  const { reason, message } = withMemory(job, observed, failure);
  // Cut to what the condition will hold, so that the sentence is the same when it is read back.
  return { kind: 'failure', failure: { reason, message: shorten(message, CONDITION_LENGTH) } };
}

/** A shard that crashed its workers at the memory limit is told as that. */
function withMemory(job: StoredBatchJob, observed: Observed, failure: Failure): Failure {
  const killed = failure.reason === 'ShardFailed' ? outOfMemory(observed.pods) : undefined;
  if (killed === undefined) return failure;
  const limit = workerResources(job, observed.settings).limits['memory'];
  return {
    reason: 'OutOfMemory',
    message: `${failure.message}; worker ${killed} was killed at its memory limit ${limit}: give spec.workers.resources.limits.memory more or make spec.batching.maxSize smaller in a new BatchJob`,
  };
}
