import type { Board, Job, Tenant } from './board.ts';
import type { Policy } from './policy.ts';
import { quotaRoom } from './quota.ts';
import { compareRanks, rankJob } from './rank.ts';
import { type Purpose, RoomSearch, type Taken } from './room-search.ts';
import { atMost } from './share.ts';
import { isInTerm } from './term.ts';

/**
 * Takes workers from the cheapest running jobs until `count` more of `want` have room in quota and on nodes: first those
 * beyond a job's minimum, then whole jobs. What turns out not to be needed is left where it was. Changes nothing when it
 * is not enough.
 */
export function makeRoom(board: Board, want: Job, count: number, purpose: Purpose): boolean {
  if (board.preemptions >= board.policy.preemptionsPerRound) return false;
  // Only the tenant's own jobs can give back quota.
  if (quotaRoom(want) < count && !want.tenant?.byCost.some(({ seats }) => seats.length > 0)) return false;
  const tenants = debtors(board, want, purpose);
  if (tenants.length === 0) return false;
  const search = new RoomSearch(board, want, count, purpose, tenants);
  if (search.shrink() || (purpose !== 'grow' && search.suspend())) {
    search.spare();
    board.preemptions++;
    for (const taken of search.taken) settle(board, want, taken);
    return true;
  }
  search.undo();
  return false;
}

/** Tells each tenant which of its jobs run as the round begins, for the searches that follow. */
export function listByCost(board: Board): void {
  const running = board.ranked.filter(({ seats, tenant }) => seats.length > 0 && tenant !== undefined).sort((a, b) => compareCosts(a, b, board.policy));
  for (const job of running) {
    const tenant = job.tenant as Tenant;
    tenant.byCost.push(job);
    tenant.lowestScore = Math.min(tenant.lowestScore, job.rank.score);
    if (isInTerm(job, board, 'Priority')) continue;
    tenant.ripe.push(job);
    tenant.lowestRipeScore = Math.min(tenant.lowestRipeScore, job.rank.score);
  }
}

/** For sorting, cheapest first: not hurried, low score (jobs of nearly the same score are equal), least work since its checkpoint, last in rank. */
export function compareCosts(a: Job, b: Job, policy: Policy): number {
  const step = Math.max(1, policy.preemptMargin / 2);
  return Number(a.rank.hurry !== undefined) - Number(b.rank.hurry !== undefined)
    || Math.floor(a.rank.score / step) - Math.floor(b.rank.score / step)
    || (b.state.lastCheckpointAt ?? 0) - (a.state.lastCheckpointAt ?? 0)
    || compareRanks(b.rank, a.rank);
}

/**
 * Tenants whose jobs may owe something to this one: those that hold more than their share, which was lent, the one with
 * most of that first; then the job's own; then the others.
 */
function debtors({ tenants }: Board, want: Job, purpose: Purpose): Tenant[] {
  const own = want.tenant;
  const lent = ({ share, entitled, weight }: Tenant): number => (atMost(share, entitled) ? 0 : (share - entitled) / weight);
  const able = (tenant: Tenant): boolean => {
    if (tenant.byCost.length === 0 || (purpose === 'grow' && tenant.surplus === 0)) return false;
    if (purpose === 'forced') return true;
    // Who has its share takes from nobody else.
    if (!own || (tenant !== own && atMost(own.entitled, own.share))) return false;
    if (want.rank.hurry !== undefined) return true;
    if (tenant.surplus === 0 && tenant.ripe.length === 0) return false;
    return (tenant !== own && lent(tenant) > 0) || want.rank.score >= (tenant.surplus > 0 ? tenant.lowestScore : tenant.lowestRipeScore);
  };
  const order = (tenant: Tenant): number => (tenant === own ? 1 : lent(tenant) > 0 ? 0 : 2);
  return tenants.filter(able).sort((a, b) => order(a) - order(b) || lent(b) - lent(a) || a.lowestScore - b.lowestScore);
}

function settle(board: Board, want: Job, { job, seats, reason, whole, from }: Taken): void {
  const { now } = board;
  if (seats.length === 0) return;
  job.cut ??= { from, reason };
  job.cutAt = now;
  job.cutFor = want.state.key;
  if (!whole) return;
  job.startedAt = undefined;
  job.waitingSince = now;
  job.forced = false;
  if (job.tenant) job.tenant.runningJobs--;
  rankJob(board, job);
}

/** It has fewer workers than before the round because others took them. */
export const lostWorkers = ({ cut, seats }: Job): boolean => cut !== undefined && seats.length < cut.from;
