import { type Board, isCooling, type Job, NOWHERE, type Seat, type Tenant } from './board.ts';
import { findNodes, type Shape } from './capacity.ts';
import { estimateStarts } from './estimate.ts';
import { firstToKeep } from './keep.ts';
import { jobRoom, type Lack, quotaLack } from './quota.ts';
import { amountText, quantity } from './resources.ts';
import type { Decision, Reason, Schedule, Victim } from './result.ts';
import { atMost } from './share.ts';
import type { Held } from './snapshot.ts';

/** Puts the finished board into words and numbers. */
export function tell(board: Board): Schedule {
  const estimates = estimateStarts(board);
  const positions = new Map(board.queue.map((job, index) => [job, index + 1]));
  const ahead = new Map<Job, number>();
  const seen = new Map<Tenant, number>();
  for (const job of board.queue) {
    const tenant = job.tenant as Tenant;
    ahead.set(job, seen.get(tenant) ?? 0);
    seen.set(tenant, (seen.get(tenant) ?? 0) + 1);
  }
  const words = new Words(board);
  const decisions = board.jobs.map((job): Decision => {
    const planned: string[] = [];
    let beyondCapacity = 0;
    for (const where of job.seats) {
      if (where.node === NOWHERE) beyondCapacity++;
      else if (where.node >= 0 && !hasNode(job, where)) planned.push(board.capacity.nodes[where.node]?.name ?? '');
    }
    const position = positions.get(job);
    const startEstimate = estimates.get(job);
    return {
      uid: job.state.uid,
      key: job.state.key,
      workers: workersOf(job),
      beyondCapacity,
      remove: removed(job),
      planned,
      ...words.why(job, position ?? 0, ahead.get(job) ?? 0),
      ...words.limit(job),
      ...(position === undefined ? {} : { position }),
      ...(startEstimate === undefined ? {} : { startEstimate }),
      held: heldOf(board, job, planned),
    };
  });
  return { decisions, victims: board.jobs.flatMap(victimOf) };
}

const workersOf = ({ obstacle, max, seats }: Job): number => (obstacle?.reason === 'LeftToKueue' ? max : seats.length);

function removed({ state, seats, obstacle, max }: Job): number[] {
  if (state.workers.length === 0) return [];
  if (obstacle?.reason === 'LeftToKueue') return firstToKeep(state.workers).slice(max).map(({ index }) => index);
  return state.workers.flatMap(({ endingAt }, index) => (endingAt !== undefined || seats.some(({ worker }) => worker === index) ? [] : [index]));
}

const hasNode = ({ state }: Job, { worker }: Seat): boolean => worker !== undefined && state.workers[worker]?.node !== undefined;

function heldOf({ now }: Board, job: Job, planned: readonly string[]): Held {
  const { seats, startedAt, grewAt, cutAt, cutFor, rank, forced, obstacle, waitingSince } = job;
  return {
    workers: seats.length,
    planned,
    // A job ages from when nothing but room keeps it from starting.
    waitingSince: obstacle ? now : waitingSince,
    startedAt,
    grewAt: startedAt === undefined ? undefined : grewAt,
    cutAt,
    cutFor,
    hurried: rank.hurry !== undefined,
    forced,
  };
}

function victimOf({ state: { uid, key }, cut, cutFor, seats }: Job): Victim[] {
  if (!cut || seats.length >= cut.from) return [];
  return [{ uid, key, from: cut.from, to: seats.length, reason: cut.reason, for: cutFor ?? '' }];
}

interface Why {
  reason: Reason;
  message: string;
}

/** Says why. What many jobs share is found out once. */
class Words {
  readonly #board: Board;
  readonly #capacity = new Map<number, { kind: 'short' | 'none' | 'kept'; text: string }>();

  constructor(board: Board) {
    this.#board = board;
  }

  why(job: Job, position: number, aheadInTenant: number): Why {
    const { obstacle, startedAt, cutFor, tenant } = job;
    if (obstacle) return obstacle;
    if (startedAt !== undefined || !tenant) return { reason: 'Running', message: this.#running(job) };
    const { reason, message } = this.#waiting(job, tenant, position, aheadInTenant);
    if (cutFor === undefined) return { reason, message };
    return { reason: isCooling(job, this.#board) ? 'Preempted' : reason, message: `preempted for ${cutFor}; ${message}` };
  }

  /** What keeps a running job from growing. */
  limit(job: Job): { limitedBy?: string } {
    const { obstacle, startedAt, tenant, seats, max, shape } = job;
    if (obstacle || startedAt === undefined || !tenant || seats.length >= max) return {};
    const lack = quotaLack(this.#board, job, 1);
    if (lack) return { limitedBy: `waiting for quota: ${lackText(tenant, lack)}` };
    if (isCooling(job, this.#board)) return { limitedBy: `others were taken for ${job.cutFor ?? ''}` };
    return { limitedBy: `waiting for capacity: ${this.#room({ shape, min: 1 }).text}` };
  }

  #running({ seats, max, cutFor }: Job): string {
    const pending = seats.filter(({ node }) => node === NOWHERE).length;
    const parts = [`${seats.length} of at most ${max} worker(s)`];
    if (pending > 0) parts.push(`${pending} of them beyond the known capacity`);
    if (cutFor !== undefined) parts.push(`others were taken for ${cutFor}`);
    return parts.join(', ');
  }

  #waiting(job: Job, tenant: Tenant, position: number, aheadInTenant: number): Why {
    const { name, maxRunningJobs } = tenant.state;
    const ahead = `; ${position - 1} ahead`;
    const granted = job.seats.length > 0;
    const lack = granted ? undefined : quotaLack(this.#board, job, job.min);
    if (lack) {
      return { reason: 'WaitingForQuota', message: `waiting for quota: ${lackText(tenant, lack)}; ${aheadInTenant} ahead in the tenant` };
    }
    if (!granted && !jobRoom(job)) {
      return { reason: 'WaitingForJobLimit', message: `waiting for one of the tenant's jobs to end: ${tenant.runningJobs} of at most ${maxRunningJobs} run; ${aheadInTenant} ahead in the tenant` };
    }
    const { kind, text } = this.#room(job);
    if (kind === 'none') return { reason: 'NoMatchingNode', message: `${text}${ahead}` };
    if (kind === 'short' && atMost(tenant.entitled, tenant.share) && this.#board.tenants.some((other) => other !== tenant && other.share > 0)) {
      const held = `tenant ${name} holds ${percent(tenant.share)} of the cluster, its share is ${percent(tenant.entitled)}`;
      return { reason: 'WaitingForShare', message: `waiting for share: ${text}, ${held}${ahead}` };
    }
    return { reason: 'WaitingForCapacity', message: `waiting for capacity: ${text}${ahead}` };
  }

  #room({ shape, min }: Pick<Job, 'shape' | 'min'>): { kind: 'short' | 'none' | 'kept'; text: string } {
    const key = shape.id * 1_000_000 + min;
    const known = this.#capacity.get(key) ?? this.#findRoom(shape, min);
    this.#capacity.set(key, known);
    return known;
  }

  #findRoom(shape: Shape, min: number): { kind: 'short' | 'none' | 'kept'; text: string } {
    const { capacity, reservation } = this.#board;
    const nodes = `${shape.matching.length} node(s)`;
    if (shape.matching.length === 0) return { kind: 'none', text: `no node of ${capacity.nodes.length} matches its nodeSelector and tolerations` };
    const asks = capacity.resources.flatMap((resource, i) => (resource !== 'pods' && (shape.need[i] as number) > 0 ? [amountText(resource, shape.need[i] as number)] : []));
    if (shape.roomWhenEmpty < min) {
      const room = shape.roomWhenEmpty === 0 ? 'none' : `only ${shape.roomWhenEmpty}`;
      return { kind: 'none', text: `of ${min} worker(s) with ${asks.join(', ')} each, ${room} would fit on the ${nodes} that match, were they empty` };
    }
    if (findNodes(capacity, shape, min)) return { kind: 'kept', text: reservation ? `room is kept for ${reservation.job.state.key}, which has waited longest` : 'there is room, its turn is next' };
    let short: { text: string; ratio: number } | undefined;
    capacity.resources.forEach((resource, i) => {
      const needs = (shape.need[i] as number) * min;
      const free = shape.matching.reduce((sum, node) => sum + Math.max(0, capacity.free[node]?.[i] ?? 0), 0);
      const all = shape.matching.reduce((sum, node) => sum + (capacity.nodes[node]?.allocatable[resource] ?? 0), 0);
      if (needs <= free || free / needs >= (short?.ratio ?? 1)) return;
      short = { ratio: free / needs, text: `needs ${amountText(resource, needs)}, ${quantity(resource, free)} of ${quantity(resource, all)} is free on ${nodes}` };
    });
    const text = (short as { text: string } | undefined)?.text ?? `needs ${min} time(s) ${asks.join(', ')} on a node, ${shape.memo.atMost} free among ${nodes}`;
    return { kind: 'short', text };
  }
}

const lackText = ({ state }: Tenant, { resource, needs, left, hard }: Lack): string =>
  `needs ${amountText(resource, needs)}, tenant ${state.name} has ${quantity(resource, left)} of ${quantity(resource, hard)} left`;

const percent = (part: number): string => `${Math.round(part * 1_000) / 10}%`;
