import { creditMs } from './ageing.ts';
import { type Board, homeOf, type Job, NOWHERE, OFF_LIST, place, type Seat, seat, unseat } from './board.ts';
import { findNodes, roomOn } from './capacity.ts';
import { quotaRoom } from './quota.ts';
import { compareRanks, rankJob } from './rank.ts';
import type { WorkerState } from './snapshot.ts';

/**
 * What runs keeps its workers, as far as its maximum, its tenant's quota and its nodes still allow; first ranked first.
 * A job that is left with less than its minimum, or with no worker on any node, waits again with the credit that it has.
 */
export function keepRunning(board: Board): void {
  for (const job of board.jobs) takeStuck(board, job);
  const running = board.ranked.filter(({ startedAt }) => startedAt !== undefined);
  // Of all jobs, first the workers on nodes, then those that are planned: nobody takes a node from under another.
  for (const job of running) keepPlaced(board, job);
  for (const job of running) keepPlanned(board, job);
  for (const job of running) planOthers(board, job);
  board.ranked.sort((a, b) => compareRanks(a.rank, b.rank));
}

function keepPlaced(board: Board, job: Job): void {
  const granted = Math.min(job.before, job.max, quotaRoom(job));
  if (granted < job.min) return;
  const sinceGrant = job.grewAt ?? job.startedAt ?? 0;
  const kept = firstToKeep(job.state.workers).slice(0, granted);
  for (const { worker, index } of kept) {
    const node = worker.node === undefined ? NOWHERE : (board.capacity.indexes.get(worker.node) ?? OFF_LIST);
    seat(board, job, { node, worker: index, since: worker.startedAt ?? sinceGrant, idle: worker.idle ?? false });
  }
  for (let i = kept.length; i < granted; i++) seat(board, job, { node: NOWHERE, worker: undefined, since: sinceGrant, idle: false });
}

/** Workers without a node go where the last round counted them, if there still is room. */
function keepPlanned(board: Board, job: Job): void {
  const { capacity } = board;
  const pending = job.seats.filter(({ node }) => node === NOWHERE);
  for (const name of pending.length === 0 ? [] : (job.state.held?.planned ?? [])) {
    const node = capacity.indexes.get(name);
    const home = homeOf(job);
    if (node === undefined || job.shape.matches[node] === 0 || (home !== undefined && home !== node) || roomOn(capacity, job.shape, node) === 0) continue;
    const where = pending.shift();
    if (!where) return;
    place(board, job, where, node);
  }
}

function planOthers(board: Board, job: Job): void {
  for (const where of job.seats) {
    if (where.node !== NOWHERE) continue;
    const node = findNodes(board.capacity, job.shape, 1, homeOf(job))?.[0];
    if (node === undefined) break;
    place(board, job, where, node);
  }
  const beyond = job.seats.filter(({ node }) => node === NOWHERE);
  const placed = job.seats.length - beyond.length;
  if (placed > 0) {
    for (const where of beyond.slice(Math.max(board.policy.pendingPerJob, job.min - placed))) unseat(board, job, where);
    if (job.tenant) job.tenant.runningJobs++;
    return;
  }
  for (const where of beyond) unseat(board, job, where);
  job.waitingSince = board.now - creditMs(job, board.now);
  job.startedAt = undefined;
  job.forced = false;
  rankJob(board, job);
}

/** Best worth keeping first: on a node, busy, longest at work. The rest are the pods to delete. */
export function firstToKeep(workers: readonly WorkerState[]): { worker: WorkerState; index: number }[] {
  const cost = ({ node, idle }: WorkerState): number => (node === undefined ? 2 : idle ? 1 : 0);
  return workers.map((worker, index) => ({ worker, index }))
    .filter(({ worker }) => worker.endingAt === undefined)
    .sort((a, b) => cost(a.worker) - cost(b.worker) || (a.worker.startedAt ?? Number.MAX_VALUE) - (b.worker.startedAt ?? Number.MAX_VALUE) || a.index - b.index);
}

/** The workers of a job, the first to be given up first: pending, idle, newest. */
export function firstToGo(seats: readonly Seat[]): Seat[] {
  const cost = ({ node, worker, idle }: Seat): number => (node === NOWHERE ? 0 : worker === undefined ? 1 : idle ? 2 : 3);
  return seats.length < 2 ? [...seats] : [...seats].sort((a, b) => cost(a) - cost(b) || b.since - a.since || (b.worker ?? 0) - (a.worker ?? 0));
}

/** A worker that does not come to its end still takes its part of the node. */
function takeStuck({ capacity, now, policy }: Board, { state, shape }: Job): void {
  for (const { node, endingAt } of state.workers) {
    if (endingAt === undefined || now - endingAt < policy.endingGraceMs || node === undefined) continue;
    const free = capacity.free[capacity.indexes.get(node) ?? -1];
    if (free) for (let i = 0; i < free.length; i++) free[i] = (free[i] as number) - (shape.need[i] as number);
  }
}
