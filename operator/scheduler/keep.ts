import { creditMs } from './ageing.ts';
import { type Board, homeOf, type Job, NOWHERE, OFF_LIST, place, type Seat, seat, unseat } from './board.ts';
import { findNodes, roomOn } from './capacity.ts';
import { quotaRoom } from './quota.ts';
import type { WorkerState } from './snapshot.ts';

/**
 * What runs keeps its workers, as far as its maximum, its tenant's quota and its nodes still allow; first ranked first.
 * A job that is left with less than its minimum, or with no worker on any node, waits again with the credit that it has.
 */
export function keepRunning(board: Board): void {
  for (const job of board.jobs) takeStuck(board, job);
  const running = board.ranked.filter(({ startedAt }) => startedAt !== undefined);
  for (const job of running) keepPlaced(board, job);
  for (const job of running) planOthers(board, job);
}

/** Workers on nodes first, of all jobs, so that no plan takes a node from under them. */
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

function planOthers(board: Board, job: Job): void {
  const planned = [...(job.state.held?.planned ?? [])];
  for (const where of job.seats) {
    if (where.node !== NOWHERE) continue;
    const node = nodeFor(board, job, planned);
    if (node !== undefined) place(board, job, where, node);
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
}

/** The node on which the last round counted the worker, if there still is room, else another. */
function nodeFor(board: Board, job: Job, planned: string[]): number | undefined {
  const home = homeOf(job);
  for (let name = planned.shift(); name !== undefined; name = planned.shift()) {
    const node = board.capacity.indexes.get(name);
    if (node === undefined || job.shape.matches[node] === 0 || (home !== undefined && home !== node)) continue;
    if (roomOn(board.capacity, job.shape, node) > 0) return node;
  }
  return findNodes(board.capacity, job.shape, 1, home)?.[0];
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
  return [...seats].sort((a, b) => cost(a) - cost(b) || b.since - a.since || (b.worker ?? 0) - (a.worker ?? 0));
}

/** A worker that does not come to its end still takes its part of the node. */
function takeStuck({ capacity, now, policy }: Board, { state, shape }: Job): void {
  for (const { node, endingAt } of state.workers) {
    if (endingAt === undefined || now - endingAt < policy.endingGraceMs || node === undefined) continue;
    const free = capacity.free[capacity.indexes.get(node) ?? -1];
    if (free) for (let i = 0; i < free.length; i++) free[i] = (free[i] as number) - (shape.need[i] as number);
  }
}
