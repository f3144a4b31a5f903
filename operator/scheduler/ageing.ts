import type { Policy } from './policy.ts';

/** A job's time in the queue: it earns credit while it waits and spends it while it runs. */
export interface Waiting {
  waitingSince: number;
  /** Absent while it waits. */
  startedAt: number | undefined;
}

/** Milliseconds of waiting that still count. */
export function creditMs({ waitingSince, startedAt }: Waiting, now: number): number {
  if (startedAt === undefined) return Math.max(0, now - waitingSince);
  return Math.max(0, startedAt - waitingSince - (now - startedAt));
}

/**
 * What the wait adds to the score, capped. A cap alone would let a job starve behind others of higher priority that have
 * aged as long, so a job that reaches it is due from then on (`agedAt`), and due jobs start in the order of that time:
 * only jobs that came before can be ahead of it.
 */
export function ageingPoints(credit: number, policy: Policy): number {
  return Math.min(policy.ageingCap, (credit / 60_000) * policy.ageingPointsPerMinute);
}

/** How long a job waits until it has aged in full. */
export const ageingMs = (policy: Policy): number => (policy.ageingCap / policy.ageingPointsPerMinute) * 60_000;

export const agedAt = (waitingSince: number, policy: Policy): number => waitingSince + ageingMs(policy);
