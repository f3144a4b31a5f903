import { type Condition, setCondition } from '../api/conditions.ts';
import type { StoredBatchJob } from './observe.ts';
import type { Situation, State } from './state.ts';

/**
 * Complete, Failed and Suspended as in batch/v1; SuccessCriteriaMet and FailureTarget tell the decision earlier.
 * Reconciling and Stalled as in kstatus: both are there only while they are True, so that a finished job reads as
 * current, and a failed or stuck one as failed.
 */
export function conditionsOf(job: StoredBatchJob, situation: Situation, state: State, message: string, now: number): Condition[] {
  const { decision, obstacle, pending } = situation;
  const observedGeneration = job.metadata.generation ?? 0;
  const before = job.status?.conditions ?? [];
  let conditions: Condition[] = before.filter(({ type }) => type !== 'Reconciling' && type !== 'Stalled') as Condition[];
  const set = (type: string, status: 'True' | 'False', reason: string, text: string): void => {
    const earlier = before.find((condition) => condition.type === type) as Condition | undefined;
    conditions = setCondition(earlier ? [...conditions.filter((condition) => condition.type !== type), earlier] : conditions, { type, status, reason, message: text, observedGeneration }, now);
  };

  if (job.spec.suspend && decision.kind === 'open') set('Suspended', 'True', 'JobSuspended', message);
  else if (before.some(({ type, status }) => type === 'Suspended' && status === 'True')) set('Suspended', 'False', 'JobResumed', 'spec.suspend is false');

  if (decision.kind === 'success') set('SuccessCriteriaMet', 'True', 'AllItemsDone', 'every item has a durable result or error');
  if (decision.kind === 'failure') set('FailureTarget', 'True', decision.failure.reason, decision.failure.message);
  if (state === 'Complete') set('Complete', 'True', 'AllItemsDone', message);
  if (state === 'Failed' && decision.kind === 'failure') {
    set('Failed', 'True', decision.failure.reason, decision.failure.message);
    set('Stalled', 'True', decision.failure.reason, decision.failure.message);
  }
  if (state === 'Complete' || state === 'Failed' || (state === 'Suspended' && situation.created === 0)) return conditions;

  const trouble = obstacle ?? (pending?.stalled ? pending : undefined);
  if (trouble?.stalled) set('Stalled', 'True', trouble.reason, trouble.message);
  else set('Reconciling', 'True', (obstacle ?? pending)?.reason ?? state, message);
  return conditions;
}
