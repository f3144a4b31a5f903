import type { FinishResult, GenerationRange, ItemCounts, PlanResult, WorkerLoad } from '../../inference-pod/contract.ts';
import type { Meter } from './rate.ts';

/**
 * The ledger's state: plain data of one job. Times are monotonic milliseconds that the caller passes in.
 *
 * Invariants: a shard has holders only while it is not completed; `returned` and `holders` are disjoint;
 * `ledger.holders` and `worker.held` say the same; `inFlight` has no completed shard.
 */
export interface Ledger {
  job: LedgerJob;
  phase: Phase;
  plan: PlanResult | undefined;
  finish: FinishResult | undefined;
  failure: Failure | undefined;
  /** 1 per completed shard. Empty until the plan is known. */
  completed: Uint8Array;
  completedCount: number;
  /** Totals of completed shards. */
  committed: ShardCounts;
  /** Durable progress of shards that are not completed, whoever holds them; it outlives a lost lease. */
  inFlight: Map<number, ShardCounts>;
  inFlightTotal: ShardCounts;
  /** Slots that hold a piece of work. */
  holders: Map<Work, number[]>;
  /** Shards that were given out before and are free again. */
  returned: Set<number>;
  /** Every shard below was given out at least once, is completed or is in `returned`. */
  cursor: number;
  crashes: Map<Work, number>;
  workers: Map<number, Worker>;
  /** Slots with room for more work, kept by `refresh`. */
  spare: Set<number>;
  /** The last attempt of a slot that is known to be over. */
  gone: Map<number, number>;
  generations: GenerationRange[];
  firstError: { shard: number; message: string } | undefined;
  meter: Meter;
  /** Leases given out again because a worker crashed, fell silent or was lost. */
  retried: number;
  lastCheckpoint: number | undefined;
  /** Before this no lease expires. */
  graceUntil: number;
  rebalancedAt: number;
  /** Counts up whenever something visible in `progress` changed. */
  version: number;
  /** Slots whose answer may have changed since the caller last looked; `everyone` stands for all. */
  news: Set<number>;
  everyone: boolean;
}

export type Phase = 'Planning' | 'Running' | 'Finishing' | 'Finished' | 'Failed';

/** What can be leased: the plan, the finish, or a shard by its number. */
export type Work = 'plan' | 'finish' | number;

export interface LedgerJob {
  uid: string;
  maxWorkers: number;
  /** Crashes that one shard may cause before the job fails. */
  retryPerShard: number;
  maxFailedItems: { count: number } | { percent: number };
  suspended: boolean;
  /**
   * True until the status that tells the end of the job is stored: workers hold nothing but stay. Were they told to leave
   * first, a new leader that knows of no end would find nobody to ask.
   */
  holdVerdict?: boolean;
}

/** What the BatchJob's status keeps across a failover; written in one update, so that the parts agree. */
export interface SavedProgress {
  plan?: PlanResult;
  /** Ranges of completed shards, and the totals of exactly those shards. */
  completed: string;
  items: ItemCounts;
  bytes: number;
  /** Generations other than 0. */
  generations?: GenerationRange[];
  /** Shards that workers were last seen with: kept for them until they report, at most for the grace period. */
  leases?: { slot: number; attempt: number; shard: number }[];
  firstError?: string;
  finish?: FinishResult;
  /** The job is decided as a success, also where `finish` was not kept. */
  finished?: boolean;
  failure?: Failure;
}

/** `reason` is a condition's reason: `ShardFailed`, `PlanFailed`, `FinishFailed`, `TooManyFailedItems` or a worker's FatalCode. */
export interface Failure {
  reason: string;
  message: string;
}

export interface ShardCounts {
  succeeded: number;
  failed: number;
  bytes: number;
}

export interface Worker {
  slot: number;
  attempt: number;
  /** Undefined when known from a saved lease only. */
  incarnation: string | undefined;
  /** Former incarnations of this attempt, newest last, and the last `seq` of each: late requests count for nothing. */
  former: Map<string, number>;
  seq: number;
  seenAt: number;
  /** Its leases expired. */
  silent: boolean;
  draining: boolean;
  /** Told to leave: gives back what it holds and gets nothing new. */
  leaving: boolean;
  capacity: number;
  load: WorkerLoad;
  /** Items per second when it last had work; 0 when not known yet. */
  speed: number;
  /** In the order of granting. */
  held: Map<Work, Hold>;
  /** Reported as released in the latest request: not granted again before the worker has seen the acknowledgement. */
  refused: Set<Work>;
  /** What ran when it fell silent: counts as a crash if a new incarnation shows that the process died. */
  suspects: Work[];
  /** Keys of all leases in the latest request, whatever their state. */
  reported: Set<string>;
}

export interface Hold {
  /** The worker has reported it. */
  confirmed: boolean;
  /** Of the latest report, or of the grant. */
  reportedAt: number;
  /** Input bytes durable at the first and at the latest report. */
  first: { at: number; done: number } | undefined;
  done: number;
  total: number;
}
