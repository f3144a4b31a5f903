import type { Policy } from './policy.ts';
import type { JobState } from './snapshot.ts';

/** Of a job that is overdue or will miss its deadline at its measured rate. */
export interface Hurry {
  /** Its deadline; not before it was made, so that a deadline in the past is no way to the front. */
  dueAt: number;
  /** Workers with which it would be in time; all it may have once it is overdue. */
  workers: number;
  /** Of what it has, so many are not taken from it: more, so that noise in the rate moves nobody to and fro. */
  keeps: number;
}

/**
 * Whether the deadline hurries a job: a running one with the workers that it has, a waiting one with the most it may get.
 * Once hurried it stays so until there is clearly time again, so that noise in the rate changes nothing.
 */
export function hurryOf(job: JobState, running: number, wasHurried: boolean, now: number, policy: Policy): Hurry | undefined {
  if (job.deadlineAt === undefined) return undefined;
  const dueAt = Math.max(job.deadlineAt, job.createdAt);
  const max = Math.max(1, job.max);
  const left = job.deadlineAt - now;
  if (left <= 0) return { dueAt, workers: max, keeps: max };
  const work = workMs(job);
  const needed = work === undefined ? (job.deadlineAt - job.createdAt) * policy.unknownWork : work / (wasHurried ? Math.min(job.min, max) : running || max);
  if (needed * (wasHurried ? policy.relaxAt : policy.hurryAt) <= left) return undefined;
  const within = (factor: number): number => Math.min(max, Math.max(job.min, work === undefined ? 0 : Math.ceil((work * factor) / left)));
  return { dueAt, workers: within(policy.hurryAt), keeps: within(policy.relaxAt) };
}

/** How long one worker alone would need for what is left; unknown without a rate. */
export function workMs({ itemsLeft, ratePerWorker }: JobState): number | undefined {
  if (itemsLeft === undefined || ratePerWorker === undefined || !(ratePerWorker > 0)) return undefined;
  return (itemsLeft / ratePerWorker) * 1_000;
}
