import type { Lease } from '../../inference-pod/contract.ts';
import { includes, parseRanges } from '../../kit/ranges.ts';
import { record, stopMeter } from './rate.ts';
import type { Failure, Hold, Ledger, Phase, ShardCounts, Work, Worker } from './state.ts';

/** The elementary changes of a ledger. Each keeps the invariants named in state.ts. */

export function workOf(lease: Lease): Work {
  return lease.kind === 'shard' ? lease.shard : lease.kind;
}

export function leaseOf(ledger: Ledger, work: Work): Lease {
  if (work === 'plan') return { kind: 'plan' };
  if (work === 'finish') return { kind: 'finish', generations: finalGenerations(ledger) };
  return { kind: 'shard', shard: work, generation: generationOf(ledger, work) };
}

export function generationOf(ledger: Ledger, shard: number): number {
  return ledger.generations.find(({ shards }) => includes(parseRanges(shards), shard))?.generation ?? 0;
}

function finalGenerations(ledger: Ledger): { shards: string; generation: number }[] {
  const total = ledger.plan?.shards ?? 0;
  if (total === 0) return [];
  if (ledger.generations.length === 0) return [{ shards: total === 1 ? '0' : `0-${total - 1}`, generation: 0 }];
  const runs: { first: number; last: number; generation: number }[] = [];
  for (let shard = 0; shard < total; shard++) {
    const generation = generationOf(ledger, shard);
    const open = runs.at(-1);
    if (open?.generation === generation) open.last = shard;
    else runs.push({ first: shard, last: shard, generation });
  }
  const texts = new Map<number, string[]>();
  for (const { first, last, generation } of runs) {
    texts.set(generation, [...(texts.get(generation) ?? []), first === last ? `${first}` : `${first}-${last}`]);
  }
  return [...texts].map(([generation, parts]) => ({ shards: parts.join(','), generation }));
}

/** Shards that a worker brought along from a former leader must not keep it from the plan that they wait for. */
export function hasRoom(ledger: Ledger, { draining, leaving, silent, held, capacity }: Worker): boolean {
  if (draining || leaving || silent || capacity === 0) return false;
  return held.size < capacity || ledger.phase === 'Planning';
}

/** Called after every change of what a worker holds or can hold. */
export function refresh(ledger: Ledger, worker: Worker): void {
  if (hasRoom(ledger, worker)) ledger.spare.add(worker.slot);
  else ledger.spare.delete(worker.slot);
}

export function take(ledger: Ledger, worker: Worker, work: Work, now: number): Hold {
  const hold: Hold = { confirmed: false, reportedAt: now, first: undefined, done: 0, total: 0 };
  worker.held.set(work, hold);
  ledger.holders.set(work, [...(ledger.holders.get(work) ?? []), worker.slot]);
  if (typeof work === 'number') ledger.returned.delete(work);
  changed(ledger, worker);
  return hold;
}

/** The worker no longer has it; it is free when nobody else has it. */
export function drop(ledger: Ledger, worker: Worker, work: Work): void {
  if (!worker.held.delete(work)) return;
  const others = (ledger.holders.get(work) ?? []).filter((slot) => slot !== worker.slot);
  if (others.length > 0) ledger.holders.set(work, others);
  else {
    ledger.holders.delete(work);
    if (typeof work === 'number' && ledger.completed[work] !== 1) ledger.returned.add(work);
  }
  changed(ledger, worker);
}

export function dropAll(ledger: Ledger, worker: Worker): void {
  for (const work of [...worker.held.keys()]) drop(ledger, worker, work);
}

/** Takes `work` from everyone. */
export function clear(ledger: Ledger, work: Work): void {
  for (const slot of ledger.holders.get(work) ?? []) {
    const worker = ledger.workers.get(slot);
    if (worker) drop(ledger, worker, work);
  }
}

function changed(ledger: Ledger, worker: Worker): void {
  refresh(ledger, worker);
  ledger.news.add(worker.slot);
  ledger.version++;
}

/**
 * Durable progress of an open shard. Several workers may report the same chain, in any order, so only what goes
 * beyond the known end counts. At most `mostItems` of it count as speed: the rest was done before this ledger knew of it.
 */
export function advance(ledger: Ledger, shard: number, seen: ShardCounts, now: number, mostItems: number): void {
  const known = ledger.inFlight.get(shard) ?? { succeeded: 0, failed: 0, bytes: 0 };
  if (seen.bytes < known.bytes || seen.succeeded + seen.failed <= known.succeeded + known.failed) return;
  ledger.inFlight.set(shard, seen);
  add(ledger.inFlightTotal, seen, known);
  noteDurable(ledger, seen, known, now, mostItems);
}

export function complete(ledger: Ledger, shard: number, counts: ShardCounts, now: number, mostItems: number): void {
  if (ledger.completed[shard] === 1) return;
  const known = ledger.inFlight.get(shard) ?? { succeeded: 0, failed: 0, bytes: 0 };
  ledger.inFlight.delete(shard);
  add(ledger.inFlightTotal, { succeeded: 0, failed: 0, bytes: 0 }, known);
  add(ledger.committed, counts, { succeeded: 0, failed: 0, bytes: 0 });
  ledger.completed[shard] = 1;
  ledger.completedCount++;
  clear(ledger, shard);
  ledger.returned.delete(shard);
  ledger.crashes.delete(shard);
  noteDurable(ledger, counts, known, now, mostItems);
}

function noteDurable(ledger: Ledger, seen: ShardCounts, known: ShardCounts, now: number, mostItems: number): void {
  ledger.version++;
  ledger.lastCheckpoint = now;
  const items = seen.succeeded + seen.failed - known.succeeded - known.failed;
  if (items <= 0) return;
  const share = Math.min(1, mostItems / items);
  record(ledger.meter, items * share, Math.max(0, seen.bytes - known.bytes) * share, now);
}

function add(sum: ShardCounts, plus: ShardCounts, minus: ShardCounts): void {
  sum.succeeded += plus.succeeded - minus.succeeded;
  sum.failed += plus.failed - minus.failed;
  sum.bytes += plus.bytes - minus.bytes;
}

export function enter(ledger: Ledger, phase: Phase): void {
  if (ledger.phase === phase) return;
  ledger.phase = phase;
  for (const worker of ledger.workers.values()) refresh(ledger, worker);
  ledger.everyone = true;
  ledger.version++;
}

export function isOver(ledger: Ledger): boolean {
  return ledger.phase === 'Finished' || ledger.phase === 'Failed';
}

/** The first failure stays. */
export function fail(ledger: Ledger, failure: Failure): void {
  if (isOver(ledger)) return;
  ledger.failure = failure;
  end(ledger, 'Failed');
}

export function end(ledger: Ledger, phase: 'Finished' | 'Failed'): void {
  for (const worker of ledger.workers.values()) dropAll(ledger, worker);
  stopMeter(ledger.meter);
  enter(ledger, phase);
}
