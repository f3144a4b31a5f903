import { type Board, isCooling, isWaiting, type Job, type Tenant } from './board.ts';
import { atMost, dominantShare, weighed } from './share.ts';

/**
 * Offers waiting jobs in the order in which they may start. First those of tenants below the share that they are entitled
 * to, by rank; then, for what is left to lend, due jobs by rank, and the others in turns, the tenant with the least share
 * first. A job that is passed over holds its place: what it claims counts as its tenant's from then on.
 */
export function inStartOrder(board: Board, tryJob: (job: Job) => boolean): void {
  const nothing = new Float64Array(board.capacity.resources.length);
  const claims = new Map<Tenant, number>();
  const shareOf = (tenant: Tenant): number => tenant.share + (claims.get(tenant) ?? 0);
  const offer = (job: Job): void => {
    if (tryJob(job)) return;
    const tenant = job.tenant as Tenant;
    const claim = dominantShare(nothing, board.capacity.total, job.shape.need, job.min);
    claims.set(tenant, (claims.get(tenant) ?? 0) + claim);
  };
  const beyond: Job[] = [];
  for (const job of board.ranked) {
    if (!isWaiting(job) || isCooling(job, board)) continue;
    const tenant = job.tenant as Tenant;
    if (!atMost(tenant.entitled, shareOf(tenant))) offer(job);
    else beyond.push(job);
  }
  const [due, others] = [beyond.filter(({ rank }) => rank.dueAt !== undefined), beyond.filter(({ rank }) => rank.dueAt === undefined)];
  for (const job of due) offer(job);
  inTurns(others, (tenant) => weighed(shareOf(tenant), tenant), (job) => {
    offer(job);
    return false;
  });
}

/**
 * Lets tenants take turns, the one with the least share first, each with its first job until `act` returns false for that.
 * Equal tenants: the one whose first job comes first.
 */
export function inTurns(jobs: readonly Job[], shareOf: (tenant: Tenant) => number, act: (job: Job) => boolean): void {
  const open = [...Map.groupBy(jobs, ({ tenant }) => tenant as Tenant)].map(([tenant, queue]) => ({ queue, next: 0, tenant, share: shareOf(tenant) }));
  while (open.length > 0) {
    let least = 0;
    for (let i = 1; i < open.length; i++) if ((open[i] as Turn).share < (open[least] as Turn).share) least = i;
    const turn = open[least] as Turn;
    if (!act(turn.queue[turn.next] as Job)) turn.next++;
    turn.share = shareOf(turn.tenant);
    if (turn.next === turn.queue.length) open.splice(least, 1);
  }
}

interface Turn {
  tenant: Tenant;
  queue: readonly Job[];
  next: number;
  share: number;
}
