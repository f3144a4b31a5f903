import { timing } from '../../inference-pod/contract.ts';
import { drop, hasRoom, isOver, take } from './lease.ts';
import { startMeter } from './rate.ts';
import type { Ledger, Work, Worker } from './state.ts';

/** A worker that missed its heartbeat gets nothing new. */
const attentiveMs = timing.holdMs + 2_000;
const rebalanceMs = 100;
/** Start-up and one checkpoint: what re-running a shard elsewhere costs before it gains anything. */
const moveCostSeconds = 2;

/** Who gets what. Gives out free work, least loaded worker first, then evens out the end of the job. */
export function assign(ledger: Ledger, now: number): void {
  if (isOver(ledger) || ledger.job.suspended) return;
  const speed = speeds(ledger);
  const candidates = new Set<Worker>();
  for (const slot of ledger.spare) {
    const worker = ledger.workers.get(slot);
    if (worker && now - worker.seenAt <= attentiveMs) candidates.add(worker);
  }
  while (candidates.size > 0 && hasFree(ledger)) {
    const worker = leastLoaded(candidates, speed);
    const work = nextFor(ledger, worker);
    if (work === undefined) {
      candidates.delete(worker);
      continue;
    }
    take(ledger, worker, work, now);
    if (typeof work === 'number') startMeter(ledger.meter, now);
    if (!hasRoom(ledger, worker)) candidates.delete(worker);
  }
  const idle = [...candidates].filter((worker) => worker.held.size === 0);
  if (ledger.phase !== 'Running' || idle.length === 0 || now - ledger.rebalancedAt < rebalanceMs) return;
  ledger.rebalancedAt = now;
  rebalance(ledger, idle, speed, now);
}

type Speed = (worker: Worker) => number;

/** Measured items per second; a worker that was not measured yet counts as an average one. */
function speeds(ledger: Ledger): Speed {
  let mean: number | undefined;
  const average = (): number => {
    if (mean !== undefined) return mean;
    const known = [...ledger.workers.values()].map(({ speed }) => speed).filter((rate) => rate > 0);
    mean = known.length > 0 ? known.reduce((sum, rate) => sum + rate, 0) / known.length : 1;
    return mean;
  };
  return (worker) => (worker.speed > 0 ? worker.speed : average());
}

/** The one that would be through with one more piece first. */
function leastLoaded(workers: Iterable<Worker>, speed: Speed): Worker {
  let best: Worker | undefined;
  let bestTime = Number.POSITIVE_INFINITY;
  for (const worker of workers) {
    const time = (worker.held.size + 1) / speed(worker);
    if (!best || time < bestTime || (time === bestTime && worker.slot < best.slot)) [best, bestTime] = [worker, time];
  }
  if (!best) throw new RangeError('there is no worker to choose from');
  return best;
}

function hasFree(ledger: Ledger): boolean {
  if (ledger.phase === 'Planning') return !ledger.holders.has('plan');
  if (ledger.phase === 'Finishing') return !ledger.holders.has('finish');
  return ledger.returned.size > 0 || untouched(ledger) !== undefined;
}

function untouched(ledger: Ledger): number | undefined {
  const total = ledger.plan?.shards ?? 0;
  const taken = (shard: number): boolean => ledger.completed[shard] === 1 || ledger.holders.has(shard) || ledger.returned.has(shard);
  while (ledger.cursor < total && taken(ledger.cursor)) ledger.cursor++;
  return ledger.cursor < total ? ledger.cursor : undefined;
}

/**
 * A shard that crashed a worker runs alone on its next one: the crash count then singles out the culprit instead of
 * blaming the shards that happened to be beside it.
 */
function nextFor(ledger: Ledger, worker: Worker): Work | undefined {
  if (ledger.phase === 'Planning') return worker.refused.has('plan') ? undefined : 'plan';
  if (ledger.phase === 'Finishing') return worker.refused.has('finish') ? undefined : 'finish';
  for (const work of worker.held.keys()) if (ledger.crashes.has(work)) return undefined;
  for (const shard of ledger.returned) {
    if (worker.refused.has(shard)) continue;
    if (worker.held.size === 0 || !ledger.crashes.has(shard)) return shard;
  }
  return untouched(ledger);
}

/**
 * Nothing is free and workers are idle: they take over what others have queued but not begun, and then re-run the
 * slowest shards where that clearly pays. Segments make a duplicate harmless: both follow one chain.
 */
function rebalance(ledger: Ledger, idle: Worker[], speed: Speed, now: number): void {
  const waiting = idle.sort((a, b) => speed(b) - speed(a) || a.slot - b.slot);
  const queued = [...ledger.workers.values()].filter((worker) => worker.held.size > 1)
    .sort((a, b) => b.held.size / speed(b) - a.held.size / speed(a) || a.slot - b.slot);
  for (const victim of queued) {
    for (const [work, hold] of [...victim.held].reverse()) {
      const worker = waiting[0];
      if (!worker || victim.held.size < 2 || 1 / speed(worker) >= victim.held.size / speed(victim)) break;
      if (typeof work !== 'number' || hold.done > 0 || worker.refused.has(work) || ledger.holders.get(work)?.length !== 1) continue;
      drop(ledger, victim, work);
      take(ledger, worker, work, now);
      waiting.shift();
    }
  }
  if (waiting.length > 0) speculate(ledger, waiting, now);
}

function speculate(ledger: Ledger, waiting: Worker[], now: number): void {
  const items = ledger.committed.succeeded + ledger.committed.failed;
  if (items === 0) return;
  const bytesPerItem = ledger.committed.bytes / items;
  const slowest: { work: number; left: number; seconds: number }[] = [];
  for (const [work, slots] of ledger.holders) {
    const holder = slots.length === 1 ? ledger.workers.get(slots[0] as number) : undefined;
    const hold = holder?.held.get(work);
    if (!holder || !hold || typeof work !== 'number' || ledger.crashes.has(work) || hold.total === 0) continue;
    slowest.push({ work, left: hold.total - hold.done, seconds: secondsLeft(holder, hold, now) });
  }
  slowest.sort((a, b) => b.seconds - a.seconds || a.work - b.work);
  for (const { work, left, seconds } of slowest) {
    const worker = waiting.find(({ refused, speed }) => !refused.has(work) && speed > 0);
    if (!worker) return;
    const expected = left / (worker.speed * bytesPerItem) + moveCostSeconds;
    if (seconds < 2 * expected) continue;
    take(ledger, worker, work, now);
    waiting.splice(waiting.indexOf(worker), 1);
  }
}

/** By the progress seen on this shard; infinite when its holder missed a heartbeat, zero while there is no measure. */
function secondsLeft(holder: Worker, hold: { first: { at: number; done: number } | undefined; done: number; total: number }, now: number): number {
  if (now - holder.seenAt > attentiveMs) return Number.POSITIVE_INFINITY;
  if (!hold.first || now - hold.first.at < timing.checkpointMs * 3) return 0;
  const perSecond = ((hold.done - hold.first.done) * 1000) / (now - hold.first.at);
  return perSecond > 0 ? (hold.total - hold.done) / perSecond : Number.POSITIVE_INFINITY;
}
