import type { Board, Job, Tenant } from './board.ts';
import { workMs } from './deadline.ts';
import { addTo } from './resources.ts';

/**
 * When the jobs of the queue are likely to start: what the running jobs will give back, when they end at their measured
 * rates, is handed out in the order of the queue, first of all nodes together and then of the tenant's quota. Ends where
 * the queue waits for a job whose rate is not known. A guess: it knows nothing of single nodes, preemption or growth.
 */
export function estimateStarts(board: Board): Map<Job, number> {
  const { capacity, queue, now } = board;
  const free = new Float64Array(capacity.resources.length);
  for (const node of capacity.free) addTo(free, node, 1);
  const ends = board.ranked.filter(({ startedAt }) => startedAt !== undefined).map((job) => ({ job, at: endOf(job, now) }))
    .filter((end): end is End => end.at !== undefined).sort((a, b) => a.at - b.at || a.job.index - b.job.index);
  const endsOf = Map.groupBy(ends, ({ job }) => job.tenant as Tenant);
  const nodes = new Supply(free, ends, ({ shape, seats }) => ({ amounts: shape.need, times: seats.length }));
  const quotas = new Map<Tenant, Supply>();
  const estimates = new Map<Job, number>();
  for (const job of queue) {
    const tenant = job.tenant as Tenant;
    let quota = quotas.get(tenant);
    if (!quota) {
      quota = new Supply(tenant.left.slice(), endsOf.get(tenant) ?? [], ({ charge, seats }) => ({ amounts: charge, times: seats.length }));
      quotas.set(tenant, quota);
    }
    const roomAt = nodes.take(job.shape.need, job.min);
    const quotaAt = quota.take(job.charge, job.min);
    if (roomAt === undefined) break;
    if (quotaAt !== undefined) estimates.set(job, Math.max(now, roomAt, quotaAt));
  }
  return estimates;
}

interface End {
  job: Job;
  at: number;
}

function endOf({ state, seats }: Job, now: number): number | undefined {
  const work = workMs(state);
  return work === undefined || seats.length === 0 ? undefined : now + work / seats.length;
}

/** Amounts that grow as jobs end and are handed out in order. */
class Supply {
  readonly #free: Float64Array;
  readonly #ends: readonly End[];
  readonly #givenBack: (job: Job) => { amounts: Float64Array; times: number };
  #next = 0;
  #at = 0;

  constructor(free: Float64Array, ends: readonly End[], givenBack: (job: Job) => { amounts: Float64Array; times: number }) {
    this.#free = free;
    this.#ends = ends;
    this.#givenBack = givenBack;
  }

  /** When there will be that much for who comes next; undefined when all that is known does not do. */
  take(need: Float64Array, times: number): number | undefined {
    addTo(this.#free, need, -times);
    while (this.#lacks(need)) {
      const end = this.#ends[this.#next++];
      if (!end) return undefined;
      const { amounts, times: count } = this.#givenBack(end.job);
      addTo(this.#free, amounts, count);
      this.#at = end.at;
    }
    return this.#at;
  }

  #lacks(need: Float64Array): boolean {
    for (let i = 0; i < need.length; i++) if ((need[i] as number) > 0 && (this.#free[i] as number) < 0) return true;
    return false;
  }
}
