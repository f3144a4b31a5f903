import { type Capacity, capacityOf, type Shape, shapeFinder } from './capacity.ts';
import type { Policy } from './policy.ts';
import type { Rank } from './rank.ts';
import { addTo, namesIn, type ResourceNames, vector } from './resources.ts';
import type { Reason, VictimReason } from './result.ts';
import { dominantShare, type Holding } from './share.ts';
import type { Amounts, JobState, Snapshot, TenantState } from './snapshot.ts';

/** The working state of one round. All changes go through `seat`, `place` and `unseat`, so the books always agree. */
export interface Board {
  now: number;
  policy: Policy;
  capacity: Capacity;
  quotaNames: ResourceNames;
  tenants: Tenant[];
  /** As in the snapshot. */
  jobs: Job[];
  /** All jobs that take part, first ranked first. */
  ranked: Job[];
  /** How many jobs got room at the expense of others in this round. */
  preemptions: number;
  /** Jobs that wait for room, in the order in which they get it. */
  queue: Job[];
  /** The job for which nodes, quota or its turn are being kept free. */
  reservation: { job: Job; quota: boolean; turn: boolean } | undefined;
}

export interface Tenant extends Holding {
  state: TenantState;
  /** Quota that is left. */
  left: Float64Array;
  runningJobs: number;
  /** Its jobs that run when the round begins, the cheapest to stop first. */
  byCost: Job[];
  /** Of those. */
  lowestScore: number;
  /** Workers that its jobs have beyond their minimum. */
  surplus: number;
  /** The share up to which its jobs go before those of tenants that have theirs. */
  entitled: number;
}

/** A job in this round. */
export interface Job {
  state: JobState;
  index: number;
  tenant: Tenant | undefined;
  shape: Shape;
  charge: Float64Array;
  /** The same for jobs of one tenant that ask the same of nodes and of quota: what one cannot have, the next cannot either. */
  kind: number;
  min: number;
  max: number;
  /** Workers granted by the last round. */
  before: number;
  seats: Seat[];
  rank: Rank;
  waitingSince: number;
  startedAt: number | undefined;
  grewAt: number | undefined;
  cutAt: number | undefined;
  cutFor: string | undefined;
  forced: boolean;
  /** For the jobs that wait for it. */
  dependentPoints: number;
  /** Why it does not take part. */
  obstacle: { reason: Reason; message: string } | undefined;
  /** In this round it had `from` workers before others took some. */
  cut: { from: number; reason: VictimReason } | undefined;
}

/** One granted worker. */
export interface Seat {
  /** Index of a node, or OFF_LIST, or NOWHERE. */
  node: number;
  /** Index among the job's workers; absent while there is no pod. */
  worker: number | undefined;
  /** Since when it has been there. */
  since: number;
  idle: boolean;
}

/** On a node that takes no new pods: the worker runs and takes nothing of what is listed. */
export const OFF_LIST = -1;
/** Beyond the known capacity. */
export const NOWHERE = -2;

/** Sets up the books for a round in which nobody has anything yet. */
export function setUp({ tenants: states, jobs, nodes }: Snapshot, now: number, policy: Policy): Board {
  const shapeKeys = jobs.map(shapeKey);
  const chargeKeys = jobs.map(({ quotaPerWorker }) => amountsKey(quotaPerWorker));
  const shaped = firstOfEach(jobs, shapeKeys);
  const capacity = capacityOf(nodes, shaped);
  const shapeOf = shapeFinder(capacity, shaped);
  const quotaNames = namesIn([...states.map(({ quota }) => quota), ...firstOfEach(jobs, chargeKeys).map(({ quotaPerWorker }) => quotaPerWorker)]);
  const charges = new Map<string, { id: number; amounts: Float64Array }>();
  const kinds = new Map<number, number>();

  const tenants = states.map((state): Tenant => {
    const left = vector(quotaNames, state.quota, Number.POSITIVE_INFINITY);
    addTo(left, vector(quotaNames, state.usedByOthers), -1);
    const amounts = new Float64Array(capacity.resources.length);
    return { state, weight: state.weight, left, amounts, share: 0, runningJobs: 0, byCost: [], lowestScore: Number.POSITIVE_INFINITY, surplus: 0, entitled: 0 };
  });
  const numbers = new Map(states.map(({ name }, index) => [name, index]));

  const all = jobs.map((state, index): Job => {
    const chargeKey = chargeKeys[index] as string;
    const shape = shapeOf(state, shapeKeys[index] as string);
    const charge = charges.get(chargeKey) ?? { id: charges.size, amounts: vector(quotaNames, state.quotaPerWorker) };
    charges.set(chargeKey, charge);
    const tenant = numbers.get(state.tenant) ?? -1;
    const kindKey = ((tenant + 1) * jobs.length + shape.id) * jobs.length + charge.id;
    const kind = kinds.get(kindKey) ?? kinds.size;
    kinds.set(kindKey, kind);
    const { held } = state;
    const max = Math.max(1, state.max);
    const before = held?.workers ?? state.workers.reduce((count, { endingAt }) => count + Number(endingAt === undefined), 0);
    return {
      state, index, tenant: tenants[tenant], shape, charge: charge.amounts, kind, max,
      min: Math.min(max, Math.max(1, state.min)),
      before,
      seats: [],
      rank: UNRANKED,
      waitingSince: held?.waitingSince ?? Math.min(state.queuedAt, now),
      startedAt: before === 0 ? undefined : (held?.startedAt ?? firstPlacedAt(state, now)),
      grewAt: held?.grewAt,
      cutAt: held?.cutAt,
      cutFor: held?.cutFor,
      forced: held?.forced ?? false,
      dependentPoints: 0,
      obstacle: undefined,
      cut: undefined,
    };
  });
  return { now, policy, capacity, quotaNames, tenants, jobs: all, ranked: [], preemptions: 0, queue: [], reservation: undefined };
}

/** A job runs from when its first worker has a node. */
function firstPlacedAt({ workers }: JobState, now: number): number | undefined {
  const placed = workers.filter(({ node, endingAt }) => node !== undefined && endingAt === undefined);
  return placed.length === 0 ? undefined : Math.min(...placed.map(({ startedAt }) => startedAt ?? now));
}

// Made for each job in each round, so plain concatenation instead of JSON.
function shapeKey({ perWorker, nodeSelector, tolerations, oneNode }: JobState): string {
  let key = `${amountsKey(perWorker)}${oneNode ? '!' : '|'}`;
  for (const label in nodeSelector) key += `${label}=${nodeSelector[label]},`;
  for (const toleration of tolerations) key += JSON.stringify(toleration);
  return key;
}

function amountsKey(amounts: Amounts): string {
  let key = '';
  for (const name in amounts) key += `${name}=${amounts[name]},`;
  return key;
}

const UNRANKED: Rank = { dueAt: undefined, aged: false, hurry: undefined, score: 0, createdAt: 0, uid: '' };

function firstOfEach(jobs: readonly JobState[], keys: readonly string[]): JobState[] {
  const seen = new Set<string>();
  return jobs.filter((_, index) => {
    const key = keys[index] as string;
    return !seen.has(key) && seen.add(key);
  });
}

export function seat(board: Board, job: Job, where: Seat): void {
  job.seats.push(where);
  if (job.tenant && job.seats.length > job.min) job.tenant.surplus++;
  book(board, job, where, 1);
}

export function unseat(board: Board, job: Job, where: Seat): void {
  if (job.tenant && job.seats.length > job.min) job.tenant.surplus--;
  job.seats.splice(job.seats.indexOf(where), 1);
  book(board, job, where, -1);
  board.capacity.version++;
}

/** Gives a worker that is beyond the known capacity its place. */
export function place(board: Board, job: Job, where: Seat, node: number): void {
  book(board, job, where, -1);
  where.node = node;
  book(board, job, where, 1);
}

function book({ capacity }: Board, { tenant, shape, charge }: Job, { node }: Seat, times: 1 | -1): void {
  if (node >= 0) addTo(capacity.free[node] as Float64Array, shape.need, -times);
  if (!tenant) return;
  addTo(tenant.left, charge, -times);
  if (node === NOWHERE) return;
  addTo(tenant.amounts, shape.need, times);
  tenant.share = dominantShare(tenant.amounts, capacity.total);
}

/** The node that a job may not leave. */
export const homeOf = ({ shape, seats }: Job): number | undefined => (shape.oneNode ? seats.find(({ node }) => node !== NOWHERE)?.node : undefined);

/** Workers within the known capacity. */
export const placedSeats = ({ seats }: Job): number => seats.reduce((count, { node }) => count + Number(node !== NOWHERE), 0);

export const isWaiting = ({ obstacle, tenant, startedAt }: Job): boolean => obstacle === undefined && tenant !== undefined && startedAt === undefined;

/** It lost workers to another job so recently that it gets none back yet. */
export const isCooling = ({ cutAt }: Job, { now, policy }: Board): boolean => cutAt !== undefined && now - cutAt < policy.cooldownMs;

