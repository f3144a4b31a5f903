import { type Condition, type ConditionInput, isTrue, setCondition } from '../api/conditions.ts';
import { keyCondition } from './duplicate.ts';
import type { Observed, StoredBatchJob } from './observe.ts';
import type { Situation, State } from './state.ts';
import { CONDITION_LENGTH, shorten } from './text.ts';

/**
 * Complete, Failed and Suspended as in batch/v1; SuccessCriteriaMet and FailureTarget tell the decision earlier.
 * Reconciling and Stalled as in kstatus: both are there only while they are True, so that a finished job reads as
 * current, and a failed or stuck one as failed.
 */
export function conditionsOf(job: StoredBatchJob, observed: Observed, situation: Situation, state: State, message: string, now: number): Condition[] {
  const { decision, trouble } = situation;
  const before = job.status?.conditions ?? [];
  let conditions = [...before];
  const stated = new Set<string>();
  const set = (type: string, status: ConditionInput['status'], reason: string, text: string): void => {
    stated.add(type);
    conditions = setCondition(conditions, { type, status, reason, message: shorten(text, CONDITION_LENGTH), observedGeneration: job.metadata.generation ?? 0 }, now);
  };

  const key = keyCondition(job, observed);
  if (key) set('Duplicate', key.status, key.reason, key.message);

  if (state === 'Suspended') set('Suspended', 'True', 'JobSuspended', message);
  else if (!job.spec.suspend && isTrue(before, 'Suspended')) set('Suspended', 'False', 'JobResumed', 'spec.suspend is false');

  if (decision.kind === 'success') set('SuccessCriteriaMet', 'True', 'AllItemsDone', 'every item has a durable result or error');
  if (decision.kind === 'failure') set('FailureTarget', 'True', decision.failure.reason, decision.failure.message);
  if (state === 'Complete') set('Complete', 'True', 'AllItemsDone', message);
  else if (state === 'Failed' && decision.kind === 'failure') {
    set('Failed', 'True', decision.failure.reason, decision.failure.message);
    set('Stalled', 'True', decision.failure.reason, decision.failure.message);
  } else if (state !== 'Suspended') {
    if (trouble?.stalled) set('Stalled', 'True', trouble.reason, trouble.message);
    else set('Reconciling', 'True', trouble?.reason ?? state, message);
  }
  return conditions.filter(({ type }) => (type !== 'Reconciling' && type !== 'Stalled') || stated.has(type));
}
