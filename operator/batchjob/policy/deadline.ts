import type { StoredBatchJob } from '../observe.ts';
import type { Failure } from './failure.ts';

/** Whether spec.activeDeadlineSeconds has passed since the start, or how long until it does. */
export function deadline(job: StoredBatchJob, now: number): { failure?: Failure; inMs?: number } {
  const seconds = job.spec.activeDeadlineSeconds;
  const start = Date.parse(job.status?.startTime ?? '');
  if (seconds === undefined || Number.isNaN(start)) return {};
  const inMs = start + seconds * 1000 - now;
  if (inMs > 0) return { inMs };
  return { failure: { reason: 'DeadlineExceeded', message: `the job was not finished ${seconds}s after its start (spec.activeDeadlineSeconds)` } };
}
