import { type Board, homeOf, type Job, NOWHERE, placedSeats, type Seat, seat, type Tenant, unseat } from './board.ts';
import { roomOn } from './capacity.ts';
import { firstToGo } from './keep.ts';
import type { Policy } from './policy.ts';
import { quotaRoom } from './quota.ts';
import type { Rank } from './rank.ts';
import type { VictimReason } from './result.ts';
import { atMost, dominantShare, weighed } from './share.ts';
import { isInTerm } from './term.ts';

/**
 * What room is made for:
 * - start: a job's first workers; jobs that it outranks give what they have beyond their minimum, then all
 * - grow: one more worker; nobody is suspended for that
 * - forced: the first workers of the job that has waited longest, whoever is in the way
 */
export type Purpose = 'start' | 'grow' | 'forced';

/** What was taken of one job. */
export interface Taken {
  job: Job;
  seats: Seat[];
  reason: VictimReason;
  whole: boolean;
  /** Workers that it had before. */
  from: number;
}

/** Whether rank lets `want` take workers from the other job. `needed`: that one needs them to meet its deadline. */
export function outranks(want: Rank, other: Rank, needed: boolean, margin: number, policy: Policy): VictimReason | undefined {
  if (want.hurry && (!other.hurry || !needed && want.hurry.dueAt + policy.dueMarginMs < other.hurry.dueAt)) return 'Deadline';
  if (other.hurry && needed) return undefined;
  return want.score >= other.score + margin ? 'Priority' : undefined;
}

/** One search for room. It works on the board itself, so what it took is either settled or undone. */
export class RoomSearch {
  readonly taken: Taken[] = [];
  readonly #board: Board;
  readonly #want: Job;
  readonly #count: number;
  readonly #purpose: Purpose;
  readonly #tenants: readonly Tenant[];
  readonly #version: number;
  readonly #home: number | undefined;
  /** Workers of the job that wants room for which nodes have it now. */
  #fits: number;
  #suspended = 0;
  /** The rank that it claims by: its deadline gives it no more than what it needs to be in time. */
  readonly #claim: Rank;

  constructor(board: Board, want: Job, count: number, purpose: Purpose, tenants: readonly Tenant[]) {
    this.#board = board;
    this.#want = want;
    this.#count = count;
    this.#purpose = purpose;
    this.#tenants = tenants;
    this.#version = board.capacity.version;
    this.#home = homeOf(want);
    this.#claim = want.seats.length > 0 && want.seats.length >= (want.rank.hurry?.workers ?? 0) ? { ...want.rank, hurry: undefined } : want.rank;
    const { memo } = want.shape;
    const none = memo.version === board.capacity.version && memo.atMost === 0 && this.#home === undefined;
    this.#fits = none ? 0 : this.#countFits();
  }

  shrink(): boolean {
    return this.#tenants.some(({ byCost, surplus }) => surplus > 0 && this.#shrinkAny(byCost));
  }

  /** First whole jobs that are out of their term, whoever they belong to; then, where that counts for nothing, those that are in it. */
  suspend(): boolean {
    const anyway = this.#purpose === 'forced' || this.#claim.hurry !== undefined;
    return this.#tenants.some(({ ripe }) => this.#suspendAny(ripe, false)) || (anyway && this.#tenants.some(({ byCost }) => this.#suspendAny(byCost, true)));
  }

  #shrinkAny(victims: readonly Job[]): boolean {
    const { now, policy } = this.#board;
    for (const victim of victims) {
      const from = victim.seats.length;
      if (from <= victim.min || victim === this.#want || !this.#right(victim, 1, 'surplus')) continue;
      const seats: Seat[] = [];
      const useful = victim.seats.filter((where) => now - where.since >= policy.minWorkerRuntimeMs && this.#helps(victim, where));
      for (const where of firstToGo(useful)) {
        if (victim.seats.length <= victim.min || this.#enough()) break;
        if (!this.#helps(victim, where) || (where.node !== NOWHERE && placedSeats(victim) <= victim.min)) continue;
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

  #suspendAny(victims: readonly Job[], inTerm: boolean): boolean {
    const { now, policy } = this.#board;
    for (const victim of victims) {
      if (victim === this.#want || victim.seats.length === 0 || now - (victim.startedAt ?? now) < policy.minRuntimeMs) continue;
      // Those that are in a hurry themselves give way to nobody's deadline.
      if (inTerm && this.#purpose !== 'forced' && victim.rank.hurry !== undefined) continue;
      const reason = this.#right(victim, victim.seats.length, 'all');
      if (!reason || !(victim.seats.some((where) => this.#helps(victim, where)) || this.#freesJob(victim))) continue;
      if (isInTerm(victim, this.#board, reason) && !(inTerm && (reason === 'Starvation' || reason === 'Deadline'))) continue;
      const remaining = [...victim.seats];
      const earlier = this.taken.findIndex(({ job }) => job === victim);
      const shrunk = earlier < 0 ? [] : this.taken.splice(earlier, 1).flatMap(({ seats }) => seats);
      this.taken.push({ job: victim, seats: [...shrunk, ...remaining], reason, whole: true, from: shrunk.length + remaining.length });
      for (const where of remaining) this.#take(victim, where);
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
    if (own !== other && (this.#fits >= this.#count || atMost(own.entitled, own.share))) return undefined;
    const needed = part === 'all' || victim.seats.length <= (victim.rank.hurry?.keeps ?? 0);
    // Growing asks for a margin as suspending does, so that equals do not pass workers to and fro.
    const margin = part === 'surplus' && this.#purpose === 'start' ? 0 : policy.preemptMargin;
    const byRank = outranks(this.#claim, victim.rank, needed, margin, policy);
    if (own === other) return byRank;
    // What is beyond the other's share was lent. Within it, rank decides, and only as long as the other is not the poorer.
    if (atMost(other.entitled, dominantShare(other.amounts, capacity.total, victim.shape.need, -workers))) return byRank ?? 'Share';
    return byRank && atMost(weighed(dominantShare(own.amounts, capacity.total, this.#want.shape.need, this.#count), own), weighed(other.share, other)) ? byRank : undefined;
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
