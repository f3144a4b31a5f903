import { agedAt, ageingPoints, creditMs, type Waiting } from './ageing.ts';
import type { Board, Job } from './board.ts';
import { type Hurry, hurryOf } from './deadline.ts';
import type { Policy } from './policy.ts';
import type { JobState } from './snapshot.ts';

/** Where a job stands among all jobs. */
export interface Rank {
  /** Due jobs come first, the earliest first: those that their deadline hurries, and those that have waited until they aged in full. */
  dueAt: number | undefined;
  /** It is due because of its wait. */
  aged: boolean;
  hurry: Hurry | undefined;
  /** Base priority + ageing + dependents. */
  score: number;
  createdAt: number;
  uid: string;
}

export interface RankInput {
  job: JobState;
  /** Limit of its tenant. */
  maxPriority: number;
  waiting: Waiting;
  hurry: Hurry | undefined;
  dependentPoints: number;
}

export function rankOf({ job, maxPriority, waiting, hurry, dependentPoints }: RankInput, now: number, policy: Policy): Rank {
  const base = Math.max(0, Math.min(job.priority, maxPriority, policy.maxPriority));
  const agedDue = waiting.startedAt === undefined ? agedAt(waiting.waitingSince, policy) : Number.POSITIVE_INFINITY;
  const aged = agedDue <= now;
  const dueAt = Math.min(hurry?.dueAt ?? Number.POSITIVE_INFINITY, aged ? agedDue : Number.POSITIVE_INFINITY);
  return {
    dueAt: Number.isFinite(dueAt) ? dueAt : undefined,
    aged,
    hurry,
    score: base + ageingPoints(creditMs(waiting, now), policy) + dependentPoints,
    createdAt: job.createdAt,
    uid: job.uid,
  };
}

/** Ranks a job as it stands: with the workers that it has, if it has started. */
export function rankJob({ now, policy }: Board, job: Job): void {
  const { state, seats, before, startedAt, rank, tenant, dependentPoints, deadlineAt } = job;
  const running = startedAt === undefined ? 0 : seats.length || before;
  const wasHurried = rank.hurry !== undefined || (state.held?.hurried ?? false);
  const hurry = hurryOf(deadlineAt === state.deadlineAt ? state : { ...state, deadlineAt }, running, wasHurried, now, policy);
  job.rank = rankOf({ job: state, maxPriority: tenant?.state.maxPriority ?? 0, waiting: job, hurry, dependentPoints }, now, policy);
}

/** For sorting: the first comes first. Total and deterministic. */
export function compareRanks(a: Rank, b: Rank): number {
  if (a.dueAt !== b.dueAt) return (a.dueAt ?? Number.POSITIVE_INFINITY) - (b.dueAt ?? Number.POSITIVE_INFINITY);
  return b.score - a.score || a.createdAt - b.createdAt || (a.uid < b.uid ? -1 : a.uid > b.uid ? 1 : 0);
}
