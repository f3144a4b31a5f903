import { type Board, homeOf, isCooling, type Job, NOWHERE, place, seat } from './board.ts';
import { findNodes } from './capacity.ts';
import { inTurns } from './order.ts';
import { makeRoom } from './preempt.ts';
import { quotaRoom } from './quota.ts';
import { compareRanks } from './rank.ts';
import { weighed } from './share.ts';

/**
 * Grows running jobs towards their maximum: first workers that are beyond the known capacity get a place, then hurried jobs
 * get what they need to be in time, then the rest in turns, the tenant with the least share first, its jobs by rank.
 */
export function growRunning(board: Board): boolean {
  const running = board.ranked.filter(({ startedAt, seats }) => startedAt !== undefined && seats.length > 0).sort((a, b) => compareRanks(a.rank, b.rank));
  for (const job of running) placePending(board, job);
  const growing = running.filter((job) => job.seats.length < job.max && job.tenant?.state.cordoned === false
    && !isCooling(job, board) && job.seats.every(({ node }) => node !== NOWHERE));
  let grown = false;
  const failed = new Set<number>();
  const grow = (job: Job, most: number): boolean => {
    if (job.seats.length >= most || failed.has(job.kind)) return false;
    if (addWorker(board, job)) {
      grown = true;
      return true;
    }
    // Of jobs that are bound to a node each fails for itself.
    if (homeOf(job) === undefined) failed.add(job.kind);
    return false;
  };
  for (const job of growing) while (grow(job, Math.min(job.max, job.rank.hurry?.workers ?? 0)));
  inTurns(growing, (tenant) => weighed(tenant.share, tenant), (job) => grow(job, job.max));
  return grown;
}

function placePending(board: Board, job: Job): void {
  for (const where of job.seats) {
    if (where.node !== NOWHERE) continue;
    const node = findNodes(board.capacity, job.shape, 1, homeOf(job))?.[0];
    if (node === undefined) return;
    place(board, job, where, node);
  }
}

function addWorker(board: Board, job: Job): boolean {
  const { now, capacity } = board;
  const find = (): number | undefined => (quotaRoom(job) >= 1 ? findNodes(capacity, job.shape, 1, homeOf(job))?.[0] : undefined);
  const node = find() ?? (makeRoom(board, job, 1, 'grow') ? find() : undefined);
  if (node === undefined) return false;
  job.grewAt = now;
  seat(board, job, { node, worker: undefined, since: now, idle: false });
  return true;
}
