import type { StoredBatchJob } from '../observe.ts';

/** Milliseconds until a finished job is to be deleted (0: now); undefined when it is kept. */
export function expiresInMs(job: StoredBatchJob, now: number): number | undefined {
  const seconds = job.spec.ttlSecondsAfterFinished;
  if (seconds === undefined) return undefined;
  const finished = job.status?.conditions?.find(({ type, status }) => (type === 'Complete' || type === 'Failed') && status === 'True');
  return finished && Math.max(0, Date.parse(finished.lastTransitionTime) + seconds * 1000 - now);
}
