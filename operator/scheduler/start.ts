import { type Board, type Job, seat, type Tenant } from './board.ts';
import { findNodes } from './capacity.ts';
import { inStartOrder } from './order.ts';
import { makeRoom } from './preempt.ts';
import { jobRoom, quotaRoom } from './quota.ts';
import { rankJob } from './rank.ts';

/** Starts what can be started, each job with its minimum of workers or not at all. Leaves the others in `board.queue`. */
export function startWaiting(board: Board): boolean {
  let started = false;
  board.queue = [];
  const failed = new Map<number, number>();
  let starts = 0;
  const passed = new Map<Tenant, number>();
  inStartOrder(board, (job) => {
    // What an equal job of higher rank could not have is not tried again.
    const hopeless = job.min >= (failed.get(job.kind) ?? Number.POSITIVE_INFINITY);
    if (!hopeless && tryStart(board, job, 'start', (passed.get(job.tenant as Tenant) ?? starts) === starts)) {
      started = true;
      starts++;
      return true;
    }
    if (!hopeless) failed.set(job.kind, job.min);
    if (!passed.has(job.tenant as Tenant)) passed.set(job.tenant as Tenant, starts);
    board.queue.push(job);
    return false;
  });
  return started;
}

/** Starts a job where there is room, or where the purpose lets it make room. */
export function tryStart(board: Board, job: Job, purpose: 'start' | 'forced', mayTake = true): boolean {
  const { now, capacity } = board;
  const find = (): number[] | undefined => (quotaRoom(job) >= job.min && jobRoom(job) ? findNodes(capacity, job.shape, job.min) : undefined);
  const nodes = find() ?? (mayTake && job.shape.roomWhenEmpty >= job.min && makeRoom(board, job, job.min, purpose) ? find() : undefined);
  if (!nodes) return false;
  Object.assign(job, { startedAt: now, grewAt: now, cutAt: undefined, cutFor: undefined, forced: purpose === 'forced' });
  if (job.tenant) job.tenant.runningJobs++;
  for (const node of nodes) seat(board, job, { node, worker: undefined, since: now, idle: false });
  rankJob(board, job);
  return true;
}
