import type { Held } from './snapshot.ts';

export interface Schedule {
  /** One for each job of the snapshot, in its order. */
  decisions: Decision[];
  /** Jobs that lost workers to others in this round. */
  victims: Victim[];
}

export interface Decision {
  uid: string;
  key: string;
  /** Worker pods that the job is to have now. */
  workers: number;
  /** Of them, how many exceed the known capacity: they stay Pending until a node is added or freed. */
  beyondCapacity: number;
  /** Indexes into the job's `workers` of those to delete. From then on they are to be told as ending, so that the next round does not choose others. */
  remove: number[];
  /** Nodes on which workers are counted that have no node yet. A plan: where they go, the cluster's own scheduler decides. */
  planned: string[];
  reason: Reason;
  /** Ready for status.message. Bounded, without times; the same for the same situation. */
  message: string;
  /** Of a running job with fewer workers than it could use: what keeps it from more. */
  limitedBy?: string;
  /** From 1, over all tenants, of the jobs that only wait for room. */
  position?: number;
  /** When it is likely to start, if all that runs told its rate. */
  startEstimate?: number;
  /** To be handed back with the next snapshot. */
  held: Held;
}

/**
 * - Running: has its workers, or is getting them
 * - LeftToKueue: has all it asked for as far as this scheduler is concerned
 * - Suspended: by its user
 * - UnknownTenant, TenantCordoned
 * - WaitingForDependencies, DependencyFailed, DependencyCycle: the last two never start by themselves
 * - ExceedsQuota: its minimum is more than the whole quota
 * - NoMatchingNode: no listed node could take a worker even if it were empty
 * - Preempted: lost its workers to another job a moment ago
 * - WaitingForQuota, WaitingForJobLimit, WaitingForCapacity: room is wanted
 * - WaitingForShare: there is room for others only, because the tenant has its share
 */
export type Reason =
  | 'Running' | 'LeftToKueue' | 'Suspended' | 'UnknownTenant' | 'TenantCordoned'
  | 'WaitingForDependencies' | 'DependencyFailed' | 'DependencyCycle'
  | 'ExceedsQuota' | 'NoMatchingNode' | 'Preempted'
  | 'WaitingForQuota' | 'WaitingForJobLimit' | 'WaitingForCapacity' | 'WaitingForShare';

export interface Victim {
  uid: string;
  key: string;
  from: number;
  to: number;
  /** What gave the other job the right: its rank, its deadline, its tenant's share, or that it had waited longest. */
  reason: VictimReason;
  /** Key of the job that gets the room. */
  for: string;
}

export type VictimReason = 'Priority' | 'Deadline' | 'Share' | 'Starvation';
