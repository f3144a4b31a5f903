import type { FinishResult, ItemCounts, PlanResult, WorkerLoad } from '../../inference-pod/contract.ts';
import { formatRanges } from '../../kit/ranges.ts';
import { itemsInTotal, itemsSoFar } from './failed-items.ts';
import { rateOf } from './rate.ts';
import type { Failure, Ledger, Phase, SavedProgress, Worker } from './state.ts';

/** What a job's status shows. Ages are milliseconds before `now`. */
export interface LedgerProgress {
  version: number;
  phase: Phase;
  plan: PlanResult | undefined;
  /** `completed` as ranges. `retried` counts leases that were given out again after a crash, a loss or silence. */
  shards: { total: number; completed: string; completedCount: number; leased: number; retried: number };
  /** Durable so far, completed shards and open ones. `total` is an estimate unless `exact`. */
  items: ItemCounts & { total: number; exact: boolean };
  bytes: { done: number; total: number };
  /** Items per second over all workers. */
  rate: number;
  /** Absent while there is no rate to judge by. */
  etaSeconds: number | undefined;
  workers: WorkerProgress[];
  /** Warnings of the workers, each once, sorted. */
  warnings: string[];
  checkpointAgeMs: number | undefined;
  failure: Failure | undefined;
  finish: FinishResult | undefined;
}

export interface WorkerProgress {
  slot: number;
  attempt: number;
  state: 'Working' | 'Idle' | 'Paused' | 'Draining' | 'Silent';
  /** The shard it has held longest. */
  shard: number | undefined;
  leases: number;
  rate: number;
  heartbeatAgeMs: number;
  /** What it said of itself last. */
  load: WorkerLoad;
}

export function progress(ledger: Ledger, now: number): LedgerProgress {
  const soFar = itemsSoFar(ledger);
  const total = itemsInTotal(ledger);
  const rate = rateOf(ledger.meter, now);
  const bytesDone = ledger.committed.bytes + ledger.inFlightTotal.bytes;
  const bytesTotal = ledger.plan?.bytes ?? 0;
  const workers = [...ledger.workers.values()].sort((a, b) => a.slot - b.slot);
  return {
    version: ledger.version,
    phase: ledger.phase,
    plan: ledger.plan,
    shards: {
      total: ledger.plan?.shards ?? 0,
      completed: completedRanges(ledger),
      completedCount: ledger.completedCount,
      leased: [...ledger.holders.keys()].filter((work) => typeof work === 'number').length,
      retried: ledger.retried,
    },
    items: { ...soFar, total: total.items, exact: total.exact },
    bytes: { done: Math.min(bytesDone, bytesTotal), total: bytesTotal },
    rate: rate.items,
    etaSeconds: ledger.phase === 'Running' ? secondsLeft(total, soFar, rate, bytesTotal - bytesDone) : undefined,
    workers: workers.map((worker) => workerProgress(worker, ledger.job.suspended, now)),
    warnings: [...new Set(workers.flatMap(({ load }) => load.warning ?? []))].sort(),
    checkpointAgeMs: ledger.lastCheckpoint === undefined ? undefined : now - ledger.lastCheckpoint,
    failure: ledger.failure,
    finish: ledger.finish,
  };
}

function secondsLeft(total: { items: number; exact: boolean }, soFar: ItemCounts, rate: { items: number; bytes: number }, bytesLeft: number): number | undefined {
  const [left, perSecond] = total.exact ? [total.items - soFar.succeeded - soFar.failed, rate.items] : [bytesLeft, rate.bytes];
  if (left <= 0) return 0;
  const seconds = left / perSecond;
  return Number.isFinite(seconds) ? seconds : undefined;
}

function workerProgress(worker: Worker, suspended: boolean, now: number): WorkerProgress {
  const held = [...worker.held.keys()];
  const busy = held.length > 0 ? 'Working' : 'Idle';
  return {
    slot: worker.slot,
    attempt: worker.attempt,
    state: worker.silent ? 'Silent' : worker.draining || worker.leaving ? 'Draining' : suspended ? 'Paused' : busy,
    shard: held.find((work) => typeof work === 'number'),
    leases: held.length,
    rate: worker.silent ? 0 : worker.load.itemsPerSecond,
    heartbeatAgeMs: now - worker.seenAt,
    load: worker.load,
  };
}

function completedRanges(ledger: Ledger): string {
  const ranges: [number, number][] = [];
  for (let shard = 0; shard < ledger.completed.length; shard++) {
    if (ledger.completed[shard] !== 1) continue;
    const open = ranges.at(-1);
    if (open && open[1] === shard - 1) open[1] = shard;
    else ranges.push([shard, shard]);
  }
  return formatRanges(ranges);
}

/** What the status has to keep so that a new leader can go on; to be written in one update. */
export function save(ledger: Ledger): SavedProgress {
  const { succeeded, failed, bytes } = ledger.committed;
  const leases = [...ledger.workers.values()].flatMap(({ slot, attempt, held }) =>
    [...held.keys()].filter((work) => typeof work === 'number').slice(0, 1).map((shard) => ({ slot, attempt, shard })));
  return {
    ...(ledger.plan && { plan: ledger.plan }),
    completed: completedRanges(ledger),
    items: { succeeded, failed },
    bytes,
    ...(ledger.generations.length > 0 && { generations: ledger.generations }),
    leases,
    ...(ledger.firstError && { firstError: ledger.firstError.message }),
    ...(ledger.finish && { finish: ledger.finish }),
    ...(ledger.failure && { failure: ledger.failure }),
  };
}
