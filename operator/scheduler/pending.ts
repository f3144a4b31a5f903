import { type Board, isCooling, type Job, NOWHERE, seat } from './board.ts';
import { findNodes } from './capacity.ts';
import { jobRoom, quotaRoom } from './quota.ts';

/**
 * Grants a few workers beyond the known capacity, so that a cluster autoscaler sees the need (a pool may be empty) and the
 * cluster's scheduler says why a pod finds no node. They take only quota that nobody who has a place needs, and end as soon
 * as somebody does, or as they could take the place of a worker that is on its way. Those who were granted such workers
 * before keep them first. A job that needs several workers at once gets none: one of them alone would take room from
 * others and be of no use. Off by default, since without an autoscaler such a pod only takes the next room that comes,
 * whoever's turn it is.
 */
export function grantBeyondCapacity(board: Board): void {
  const { policy, ranked, queue } = board;
  if (policy.pendingPerJob <= 0) return;
  let inAll = 0;
  for (const { seats } of ranked) for (const { node } of seats) if (node === NOWHERE) inAll++;
  const promised = promisedNodes(board);
  const couldSteal = ({ shape }: Job): boolean => promised.some((node) => shape.matches[node] === 1);
  const grant = (job: Job, wanted: number, least: number): void => {
    const count = Math.min(wanted, quotaRoom(job));
    if (count < least || count <= 0 || couldSteal(job) || (inAll > 0 && inAll + count > policy.pendingInAll)) return;
    const pods = pendingPods(job);
    for (let i = 0; i < count; i++) seat(board, job, { node: NOWHERE, worker: pods[i], since: board.now, idle: false });
    inAll += count;
  };
  const isPatient = (since: number | undefined): boolean => since !== undefined && board.now - since >= policy.pendingAfterMs;
  const waiting = [...queue.filter(({ before }) => before > 0), ...queue.filter(({ before, waitingSince }) => before === 0 && isPatient(waitingSince))];
  for (const job of waiting) {
    if (inAll >= policy.pendingInAll) return;
    if (job.min === 1 && jobRoom(job) && !wantsReserved(board, job) && !findNodes(board.capacity, job.shape, job.min)) grant(job, Math.min(job.max, policy.pendingPerJob), 1);
  }
  for (const job of ranked) {
    if (inAll >= policy.pendingInAll) return;
    if (job.startedAt === undefined || job.seats.length === 0 || job.shape.oneNode || !isPatient(job.grewAt ?? job.startedAt) || isCooling(job, board) || job.tenant?.state.cordoned || wantsReserved(board, job)) continue;
    const pending = job.seats.filter(({ node }) => node === NOWHERE).length;
    grant(job, Math.min(job.max - job.seats.length, policy.pendingPerJob - pending), 1);
  }
}

/** Nodes that are meant for workers that are not there yet. A pod that waits anyway would be put on them first. */
function promisedNodes({ jobs }: Board): number[] {
  return jobs.flatMap(({ seats, state }) => seats.flatMap(({ node, worker }) => (node >= 0 && (worker === undefined || state.workers[worker]?.node === undefined) ? [node] : [])));
}

/** Indexes of the job's pods that have no node and no place yet. */
function pendingPods({ state, seats }: Job): number[] {
  const taken = new Set(seats.map(({ worker }) => worker));
  return state.workers.flatMap(({ node, endingAt }, index) => (node === undefined && endingAt === undefined && !taken.has(index) ? [index] : []));
}

/** A pending pod of it could end up on a node that is being kept for another job. */
const wantsReserved = ({ reservation, capacity }: Board, job: Job): boolean =>
  reservation !== undefined && reservation.job !== job && job.shape.matching.some((node) => capacity.reserved[node] === 1);
