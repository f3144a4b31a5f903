import type { Capacity, Shape } from './capacity.ts';
import type { Policy } from './policy.ts';
import type { Rank } from './rank.ts';
import { addTo, type ResourceNames } from './resources.ts';
import type { Reason, VictimReason } from './result.ts';
import { dominantShare, type Holding } from './share.ts';
import type { JobState, TenantState } from './snapshot.ts';

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
  /** Those of them that were out of their term when the round began, in the same order. */
  ripe: Job[];
  lowestRipeScore: number;
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
  /** Its own, or what those that wait for it need. */
  deadlineAt: number | undefined;
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

