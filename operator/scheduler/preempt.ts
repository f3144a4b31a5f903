import { type Board, homeOf, type Job, type Seat, seat, unseat } from './board.ts';
import { roomOn } from './capacity.ts';
import { firstToGo } from './keep.ts';
import type { Policy } from './policy.ts';
import { quotaRoom } from './quota.ts';
import { compareRanks, type Rank } from './rank.ts';
import type { VictimReason } from './result.ts';
import { atMost, dominantShare, weighed } from './share.ts';

/**
 * What room is made for:
 * - start: a job's first workers; jobs that it outranks give what they have beyond their minimum, then all
 * - grow: one more worker; nobody is suspended for that
 * - forced: the first workers of the job that has waited longest, whoever is in the way
 */
export type Purpose = 'start' | 'grow' | 'forced';

interface Taken {
  job: Job;
  seats: Seat[];
  reason: VictimReason;
  whole: boolean;
  /** Workers that it had before. */
  from: number;
}

/**
 * Takes workers from the cheapest running jobs until `count` more of `want` have room in quota and on nodes: first those
 * beyond a job's minimum, then whole jobs. What turns out not to be needed is left where it was. Changes nothing when it
 * is not enough.
 */
export function makeRoom(board: Board, want: Job, count: number, purpose: Purpose): boolean {
  const victims = victimsFor(board, want, count, purpose);
  if (victims.length === 0) return false;
  const search = new Search(board, want, count, purpose, victims);
  if (search.shrink() || (purpose !== 'grow' && search.suspend())) {
    search.spare();
    for (const taken of search.taken) settle(board, want, taken);
    return true;
  }
  search.undo();
  return false;
}

/** Whether rank lets `want` take workers from the other job. `needed`: that one needs them to meet its deadline. */
export function outranks(want: Rank, other: Rank, needed: boolean, margin: number, policy: Policy): VictimReason | undefined {
  if (want.hurry && (!other.hurry || want.hurry.dueAt + policy.dueMarginMs < other.hurry.dueAt)) return 'Deadline';
  if (other.hurry && needed) return undefined;
  return want.score >= other.score + margin ? 'Priority' : undefined;
}

/** Cheapest first: not hurried, low score (jobs of nearly the same score are equal), least work since its checkpoint, last in rank. */
export function compareCosts(a: Job, b: Job, policy: Policy): number {
  const step = Math.max(1, policy.preemptMargin / 2);
  return Number(a.rank.hurry !== undefined) - Number(b.rank.hurry !== undefined)
    || Math.floor(a.rank.score / step) - Math.floor(b.rank.score / step)
    || (b.state.lastCheckpointAt ?? 0) - (a.state.lastCheckpointAt ?? 0)
    || compareRanks(b.rank, a.rank);
}

/** Running jobs that may owe something to this one, cheapest first. */
function victimsFor({ capacity, tenants, byCost }: Board, want: Job, count: number, purpose: Purpose): readonly Job[] {
  const own = want.tenant;
  if (!own) return [];
  // Quota is only ever freed by the tenant's own jobs; what nodes lack, by those of any tenant.
  if (purpose === 'forced') return byCost;
  const after = weighed(dominantShare(own.amounts, capacity.total, want.shape.need, count), own);
  let found = own.byCost;
  let all = found.length;
  for (const tenant of tenants) {
    // Who would hold less than the job's tenant owes nothing, and nobody is suspended for growth.
    if (tenant === own || tenant.byCost.length === 0 || !atMost(after, weighed(tenant.share, tenant)) || (purpose === 'grow' && tenant.surplus === 0)) continue;
    found = found.concat(tenant.byCost);
    all += tenant.byCost.length;
  }
  if (all === own.byCost.length) return purpose === 'grow' && own.surplus === 0 ? [] : found;
  return found.sort((a, b) => a.cost - b.cost);
}

/** One search for room. It works on the board itself, so what it took is either settled or undone. */
class Search {
  readonly taken: Taken[] = [];
  readonly #board: Board;
  readonly #want: Job;
  readonly #count: number;
  readonly #purpose: Purpose;
  readonly #victims: readonly Job[];
  readonly #version: number;
  readonly #home: number | undefined;
  /** Workers of the job that wants room for which nodes have it now. */
  #fits: number;
  #suspended = 0;

  constructor(board: Board, want: Job, count: number, purpose: Purpose, victims: readonly Job[]) {
    this.#board = board;
    this.#want = want;
    this.#count = count;
    this.#purpose = purpose;
    this.#victims = victims;
    this.#version = board.capacity.version;
    this.#home = homeOf(want);
    const { memo } = want.shape;
    const none = memo.version === board.capacity.version && memo.atMost === 0 && this.#home === undefined;
    this.#fits = none ? 0 : this.#countFits();
  }

  shrink(): boolean {
    const { now, policy } = this.#board;
    for (const victim of this.#victims) {
      const from = victim.seats.length;
      if (from <= victim.min || victim === this.#want || !this.#right(victim, 1, 'surplus')) continue;
      const seats: Seat[] = [];
      for (const where of firstToGo(victim.seats)) {
        if (victim.seats.length <= victim.min || this.#enough()) break;
        if (now - where.since < policy.minWorkerRuntimeMs || !this.#helps(victim, where)) continue;
        const reason = this.#right(victim, 1, 'surplus');
        if (!reason) break;
        if (seats.length === 0) this.taken.push({ job: victim, seats, reason, whole: false, from });
        this.#take(victim, where);
        seats.push(where);
      }
      if (seats.length > 0 && this.#enough()) return true;
    }
    return false;
  }

  suspend(): boolean {
    const { now, policy } = this.#board;
    for (const victim of this.#victims) {
      if (victim === this.#want || now - (victim.startedAt ?? now) < policy.minRuntimeMs) continue;
      const reason = this.#right(victim, victim.seats.length, 'all');
      if (!reason || !(victim.seats.some((where) => this.#helps(victim, where)) || this.#freesJob(victim))) continue;
      const seats = [...victim.seats];
      this.taken.push({ job: victim, seats, reason, whole: true, from: seats.length });
      for (const where of seats) this.#take(victim, where);
      if (victim.tenant === this.#want.tenant) this.#suspended++;
      if (this.#enough()) return true;
    }
    return false;
  }

  /** Gives back what is not needed, dearest first. */
  spare(): void {
    for (const taken of [...this.taken].reverse()) {
      for (const group of taken.whole ? [taken.seats] : taken.seats.map((where) => [where]).reverse()) {
        for (const where of group) this.#giveBack(taken.job, where);
        const own = taken.whole && taken.job.tenant === this.#want.tenant ? 1 : 0;
        this.#suspended -= own;
        if (this.#enough()) taken.seats = taken.seats.filter((where) => !group.includes(where));
        else {
          this.#suspended += own;
          for (const where of group) this.#take(taken.job, where);
        }
      }
    }
  }

  undo(): void {
    for (const { job, seats } of this.taken) for (const where of seats) seat(this.#board, job, where);
    this.#board.capacity.version = this.#version;
  }

  /** What lets the job take that many workers from the victim. */
  #right(victim: Job, workers: number, part: 'surplus' | 'all'): VictimReason | undefined {
    const { policy, capacity } = this.#board;
    if (this.#purpose === 'forced') return 'Starvation';
    const [own, other] = [this.#want.tenant, victim.tenant];
    if (!own || !other) return undefined;
    if (own !== other && this.#fits >= this.#count) return undefined;
    const needed = part === 'all' || victim.seats.length <= (victim.rank.hurry?.workers ?? 0);
    // Growing asks for a margin as suspending does, so that equals do not pass workers to and fro.
    const margin = part === 'surplus' && this.#purpose === 'start' ? 0 : policy.preemptMargin;
    const byRank = outranks(this.#want.rank, victim.rank, needed, margin, policy);
    if (own === other) return byRank;
    const after = weighed(dominantShare(own.amounts, capacity.total, this.#want.shape.need, this.#count), own);
    if (atMost(after, weighed(dominantShare(other.amounts, capacity.total, victim.shape.need, -workers), other))) return byRank ?? 'Share';
    return atMost(after, weighed(other.share, other)) ? byRank : undefined;
  }

  #enough(): boolean {
    return this.#fits >= this.#count && quotaRoom(this.#want) >= this.#count && this.#jobsLeft() > 0;
  }

  #jobsLeft(): number {
    const { tenant, startedAt } = this.#want;
    if (!tenant || startedAt !== undefined) return 1;
    return (tenant.state.maxRunningJobs ?? Number.POSITIVE_INFINITY) - tenant.runningJobs + this.#suspended;
  }

  #freesJob(victim: Job): boolean {
    return victim.tenant === this.#want.tenant && this.#jobsLeft() <= 0;
  }

  #helps(victim: Job, { node }: Seat): boolean {
    if (victim.tenant === this.#want.tenant && quotaRoom(this.#want) < this.#count) return true;
    if (this.#fits >= this.#count || node < 0 || this.#board.capacity.reserved[node] === 1) return false;
    return this.#home === undefined ? this.#want.shape.matches[node] === 1 : node === this.#home;
  }

  #take(job: Job, where: Seat): void {
    this.#change(where.node, () => unseat(this.#board, job, where));
  }

  #giveBack(job: Job, where: Seat): void {
    this.#change(where.node, () => seat(this.#board, job, where));
  }

  #change(node: number, act: () => void): void {
    const { shape } = this.#want;
    if (node < 0 || shape.matches[node] === 0) return act();
    const before = roomOn(this.#board.capacity, shape, node);
    act();
    this.#fits = shape.oneNode || this.#home !== undefined ? this.#countFits() : this.#fits + roomOn(this.#board.capacity, shape, node) - before;
  }

  #countFits(): number {
    const { capacity } = this.#board;
    const { shape } = this.#want;
    if (this.#home !== undefined) return this.#home >= 0 ? roomOn(capacity, shape, this.#home) : 0;
    let fits = 0;
    for (const node of shape.matching) {
      const room = roomOn(capacity, shape, node);
      fits = shape.oneNode ? Math.max(fits, room) : fits + room;
    }
    return fits;
  }
}

function settle({ now }: Board, want: Job, { job, seats, reason, whole, from }: Taken): void {
  if (seats.length === 0) return;
  job.cut ??= { from, reason };
  job.cutAt = now;
  job.cutFor = want.state.key;
  if (!whole) return;
  job.startedAt = undefined;
  job.waitingSince = now;
  job.forced = false;
  if (job.tenant) job.tenant.runningJobs--;
}

/** It has fewer workers than before the round because others took them. */
export const lostWorkers = ({ cut, seats }: Job): boolean => cut !== undefined && seats.length < cut.from;
