import { type Board, isCooling, isWaiting, type Job, type Tenant } from './board.ts';
import { type Dependencies, dependenciesOf } from './dependents.ts';
import { growRunning } from './elastic.ts';
import { keepRunning } from './keep.ts';
import { barFrom, setAside } from './obstacles.ts';
import { grantBeyondCapacity } from './pending.ts';
import { defaultPolicy, type Policy } from './policy.ts';
import { listByCost, lostWorkers } from './preempt.ts';
import { compareRanks, rankJob } from './rank.ts';
import type { Schedule } from './result.ts';
import { addTo } from './resources.ts';
import { setUp } from './set-up.ts';
import { dominantShare, entitlements } from './share.ts';
import type { Snapshot } from './snapshot.ts';
import { release, serveLongestWaiting } from './starved.ts';
import { startWaiting } from './start.ts';
import { tell } from './tell.ts';

/** Each turn starts, grows or stops somebody for good, so a few are enough; the next round would go on. */
const MAX_TURNS = 8;

/**
 * Who runs next. Pure and deterministic: the same snapshot at the same time gives the same schedule, and a snapshot in
 * which the schedule has been carried out changes nothing.
 *
 * What runs stays, so a round only ever decides what is to change:
 *  1. books for tenants, jobs and nodes, in which nobody has anything yet
 *  2. those that take no part are set aside
 *  3. ranks: due jobs, then by base priority + ageing + dependents
 *  4. what runs keeps its workers, as far as quota and nodes still allow
 *  5. those that may not start are barred, then and when they are suspended: dependencies, cordon, a quota that is too small
 *  6. the share that each tenant is entitled to, by weight and by what it wants
 *  7. the job that has waited longest gets its way, if it has waited too long
 *  8. waiting jobs start with their minimum, on free room or on what others owe them; then running jobs grow
 *  9. a few workers beyond the known capacity, for a cluster autoscaler
 * 10. decisions, with position, reason and message
 */
export function schedule(snapshot: Snapshot, now: number, policy: Policy = defaultPolicy): Schedule {
  const board = setUp(snapshot, now, policy);
  const dependencies = dependenciesOf(snapshot, policy);
  for (const job of board.jobs) job.obstacle = setAside(job, dependencies);
  rank(board, dependencies);
  keepRunning(board);
  const bar = (jobs: readonly Job[]): void => { for (const job of jobs) job.obstacle ??= barFrom(board, job, dependencies); };
  bar(board.ranked);
  entitle(board);
  serveLongestWaiting(board);
  for (let turn = 0; turn < MAX_TURNS; turn++) {
    // Who was suspended just now may not be allowed to start again.
    bar(board.ranked.filter(lostWorkers));
    const started = startWaiting(board);
    if (!growRunning(board) && !started) break;
  }
  bar(board.ranked.filter(lostWorkers));
  board.queue.push(...board.ranked.filter((job) => isWaiting(job) && isCooling(job, board)).sort((a, b) => compareRanks(a.rank, b.rank)));
  grantBeyondCapacity(board);
  release(board);
  return tell(board);
}

function rank(board: Board, { points, deadlines }: Dependencies): void {
  board.ranked = board.jobs.filter(({ obstacle }) => obstacle === undefined);
  for (const job of board.ranked) {
    job.dependentPoints = points.get(job.index) ?? 0;
    job.deadlineAt = earlier(job.state.deadlineAt, deadlines.get(job.index));
    rankJob(board, job);
  }
  board.ranked.sort((a, b) => compareRanks(a.rank, b.rank));
}

const earlier = (a: number | undefined, b: number | undefined): number | undefined => (a === undefined || b === undefined ? (a ?? b) : Math.min(a, b));

function entitle(board: Board): void {
  const { capacity, ranked, tenants } = board;
  const wanted = new Map(tenants.map((tenant) => [tenant, new Float64Array(capacity.resources.length)]));
  for (const job of ranked) {
    const sum = job.tenant && wanted.get(job.tenant);
    if (sum && (isWaiting(job) || job.seats.length > 0)) addTo(sum, job.shape.need, Math.max(job.seats.length, job.max));
  }
  const wants = [...wanted].map(([{ weight }, sum]) => ({ weight, wants: dominantShare(sum, capacity.total) }));
  entitlements(wants).forEach((share, index) => { (tenants[index] as Tenant).entitled = share; });
  listByCost(board);
}
