import { type Board, isCooling, isWaiting, type Job, type Seat } from './board.ts';
import { jobRoom, quotaRoom } from './quota.ts';
import { addTo, timesIn, vector } from './resources.ts';
import { tryStart } from './start.ts';

/**
 * The last resort against starvation. Of the jobs that have aged in full, the one that has waited longest may take the
 * place of any job that has had its minimum runtime, whatever rank and shares say; one such job in a minimum runtime.
 * Where others are too young to be stopped, nodes or quota are kept free of new workers for it: within a minimum runtime
 * all that is in its way may be stopped. So a job starts at the latest
 *
 *   ageingMs + (jobs that aged before it + 1) × 2 × minRuntimeMs
 *
 * after it began to wait, rounds being short, if it fits into its tenant's quota and on empty nodes at all. (A job that is
 * suspended waits anew, so that nobody passes it twice.)
 */
export function serveLongestWaiting(board: Board): void {
  const { now, policy } = board;
  if (board.jobs.some(({ forced, startedAt }) => forced && startedAt !== undefined && now - startedAt < policy.minRuntimeMs)) return;
  const job = longestWaiting(board);
  if (job && !tryStart(board, job, 'forced')) reserve(board, job);
}

function longestWaiting(board: Board): Job | undefined {
  let first: Job | undefined;
  for (const job of board.ranked) {
    if (!job.rank.aged || !isWaiting(job) || isCooling(job, board) || job.shape.roomWhenEmpty < job.min) continue;
    if (!first || job.waitingSince < first.waitingSince) first = job;
  }
  return first;
}

/** Keeps from others what the job will take as soon as it may. */
function reserve(board: Board, job: Job): void {
  const { capacity } = board;
  const quota = job.tenant !== undefined && quotaRoom(job) < job.min;
  const turn = !jobRoom(job);
  board.reservation = { job, quota, turn };
  if (job.tenant && quota) addTo(job.tenant.left, job.charge, -job.min);
  if (job.tenant && turn) job.tenant.runningJobs++;
  let missing = job.min;
  for (const { node, room } of nodesByReadiness(board, job)) {
    if (missing <= 0) break;
    if (job.shape.oneNode && room < job.min) continue;
    capacity.reserved[node] = 1;
    missing -= room;
  }
}

/** Ends that, so that what is told of quota and nodes is what is. */
export function release({ reservation, capacity }: Board): void {
  if (!reservation) return;
  const { job, quota, turn } = reservation;
  if (job.tenant && quota) addTo(job.tenant.left, job.charge, job.min);
  if (job.tenant && turn) job.tenant.runningJobs--;
  capacity.reserved.fill(0);
  capacity.version++;
}

/** Nodes for the job, with the room that they would have if they were empty: first those where all may be stopped soonest. */
function nodesByReadiness({ capacity, jobs, policy }: Board, { shape }: Job): { node: number; room: number }[] {
  const lastStart = new Map<number, number>();
  for (const { seats, startedAt = 0 } of jobs) for (const { node } of seats as Seat[]) lastStart.set(node, Math.max(lastStart.get(node) ?? 0, startedAt));
  return shape.matching
    .map((node) => ({ node, room: timesIn(vector(capacity.resources, capacity.nodes[node]?.allocatable ?? {}), shape.need), readyAt: (lastStart.get(node) ?? 0) + policy.minRuntimeMs }))
    .filter(({ room }) => room > 0)
    .sort((a, b) => a.readyAt - b.readyAt || b.room - a.room || a.node - b.node);
}
