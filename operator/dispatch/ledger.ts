import { leaseKey, timing } from '../../inference-pod/contract.ts';
import type { FinishResult, LeaseReport, PlanResult, SyncRequest, SyncResponse } from '../../inference-pod/contract.ts';
import { membersOf, parseRanges } from '../../kit/ranges.ts';
import { answer } from './answer.ts';
import { assign } from './assign.ts';
import { tooManyFailed } from './failed-items.ts';
import { advance, clear, complete, drop, dropAll, end, enter, fail, generationOf, isOver, refresh, take, workOf } from './lease.ts';
import { newMeter, startMeter, stopMeter } from './rate.ts';
import type { Ledger, LedgerJob, SavedProgress, Work, Worker } from './state.ts';

/**
 * Which worker has which shard of one job. Deterministic: the same calls with the same `now` give the same answers.
 * Knows no clock, no connection and no cluster; `now` is monotonic milliseconds.
 *
 * Guarantees: every shard is counted once, however many workers report it; the finish is given out only when all
 * shards are completed; an older attempt or incarnation of a worker changes nothing.
 */

const graceMs = 30_000;
const mostFormer = 16;

/** @throws RangeError when `saved.completed` is no list of ranges. */
export function openLedger(job: LedgerJob, saved: SavedProgress | undefined, now: number): Ledger {
  const ledger: Ledger = {
    job, phase: 'Planning', plan: undefined, finish: undefined, failure: undefined,
    completed: new Uint8Array(0), completedCount: 0,
    committed: { succeeded: 0, failed: 0, bytes: 0 }, inFlight: new Map(), inFlightTotal: { succeeded: 0, failed: 0, bytes: 0 },
    holders: new Map(), returned: new Set(), cursor: 0, crashes: new Map(),
    workers: new Map(), spare: new Set(), gone: new Map(), generations: saved?.generations ?? [], firstError: undefined,
    meter: newMeter(), retried: 0, lastCheckpoint: undefined,
    graceUntil: saved ? now + graceMs : now, rebalancedAt: Number.NEGATIVE_INFINITY, version: 1, news: new Set(), everyone: false,
  };
  if (saved) restore(ledger, saved, now);
  return ledger;
}

function restore(ledger: Ledger, saved: SavedProgress, now: number): void {
  if (saved.plan) {
    acceptPlan(ledger, saved.plan);
    for (const shard of membersOf(parseRanges(saved.completed))) {
      if (shard >= saved.plan.shards) throw new RangeError(`completed shards "${saved.completed}" go beyond the ${saved.plan.shards} shards of the plan`);
      ledger.completed[shard] = 1;
      ledger.completedCount++;
    }
    ledger.committed = { ...saved.items, bytes: saved.bytes };
  }
  if (saved.firstError) ledger.firstError = { shard: Number.POSITIVE_INFINITY, message: saved.firstError };
  for (const { slot, attempt, shard } of saved.leases ?? []) {
    if (ledger.phase !== 'Running' || ledger.completed[shard] !== 0 || ledger.holders.has(shard)) continue;
    take(ledger, ledger.workers.get(slot) ?? meet(ledger, slot, attempt, undefined, now), shard, now);
  }
  if (saved.finish) acceptFinish(ledger, saved.finish);
  else if (saved.finished) end(ledger, 'Finished');
  if (saved.failure) fail(ledger, saved.failure);
  settle(ledger, now);
}

/** The job's own fields changed. */
export function updateJob(ledger: Ledger, job: LedgerJob, now: number): void {
  if (job.suspended !== ledger.job.suspended) {
    ledger.everyone = true;
    ledger.version++;
    stopMeter(ledger.meter);
  }
  if (job.holdVerdict !== ledger.job.holdVerdict) ledger.everyone = true;
  ledger.job = job;
  settle(ledger, now);
}

/** The pod of this attempt is to go: its worker gives back what it holds. Another attempt in the slot is not concerned. */
export function leave(ledger: Ledger, slot: number, attempt: number): void {
  const worker = ledger.workers.get(slot);
  if (!worker || worker.attempt !== attempt || worker.leaving) return;
  worker.leaving = true;
  refresh(ledger, worker);
  ledger.news.add(slot);
  ledger.version++;
}

/** One sync: takes in what the worker says, gives out work, answers. `term` is for the caller to fill in. */
export function sync(ledger: Ledger, request: SyncRequest, now: number): SyncResponse {
  const standing = receive(ledger, request, now);
  if (standing === 'retired') return { term: 0, leases: [], pause: false, verdict: 'retired' };
  const current = answer(ledger, request.worker.slot);
  return standing === 'superseded' ? { ...current, superseded: true } : current;
}

export type Standing = 'current' | 'superseded' | 'retired';

export function receive(ledger: Ledger, request: SyncRequest, now: number): Standing {
  const { slot, attempt, incarnation } = request.worker;
  if (attempt <= (ledger.gone.get(slot) ?? -1)) return 'retired';
  let worker = ledger.workers.get(slot);
  if (worker && attempt < worker.attempt) return 'retired';
  if (worker && attempt > worker.attempt) {
    free(ledger, worker);
    worker = undefined;
  }
  worker ??= meet(ledger, slot, attempt, incarnation, now);
  if (request.seq <= (worker.former.get(incarnation) ?? -1)) return 'superseded';
  if (worker.incarnation !== incarnation) reincarnate(ledger, worker, request);
  if (request.seq < worker.seq) return 'superseded';

  worker.seq = request.seq;
  worker.seenAt = now;
  const sameEngine = (worker.load.engine === undefined) === (request.load.engine === undefined);
  if (worker.silent || worker.draining !== request.draining || !sameEngine) ledger.version++;
  Object.assign(worker, { silent: false, draining: request.draining, capacity: request.capacity, load: request.load, suspects: [] });
  if (request.load.itemsPerSecond > 0 && (worker.held.size > 0 || worker.speed === 0)) worker.speed = request.load.itemsPerSecond;
  worker.refused.clear();
  worker.reported = new Set(request.leases.map(({ lease }) => leaseKey(lease)));
  for (const report of request.leases) accept(ledger, worker, report, now);
  if (request.draining) {
    for (const [work, hold] of [...worker.held]) if (!hold.confirmed) drop(ledger, worker, work);
  }
  refresh(ledger, worker);
  if (request.fatal) fail(ledger, { reason: request.fatal.code, message: request.fatal.message });
  settle(ledger, now);
  return 'current';
}

/** Time has passed: leases of silent workers become free. To be called about once a second. */
export function tick(ledger: Ledger, now: number): void {
  if (now >= ledger.graceUntil) {
    for (const worker of ledger.workers.values()) {
      if (!worker.silent && now - worker.seenAt > timing.leaseMs) fallSilent(ledger, worker);
    }
  }
  settle(ledger, now);
}

function fallSilent(ledger: Ledger, worker: Worker): void {
  worker.suspects = running(worker);
  worker.silent = true;
  ledger.retried += worker.held.size;
  dropAll(ledger, worker);
  refresh(ledger, worker);
  ledger.version++;
}

/**
 * The pod of this attempt has ended or is gone for good; whatever still comes from it is answered with `retired`.
 * `byCrash`: its process had ended badly before, which counts against what it ran.
 */
export function workerGone(ledger: Ledger, slot: number, attempt: number, now: number, byCrash = false): void {
  if (attempt <= (ledger.gone.get(slot) ?? -1)) return;
  ledger.gone.set(slot, attempt);
  const worker = ledger.workers.get(slot);
  if (worker && worker.attempt <= attempt) {
    const culprits = byCrash && worker.attempt === attempt ? [...running(worker), ...worker.suspects] : [];
    free(ledger, worker);
    for (const work of culprits) crashed(ledger, work);
  }
  settle(ledger, now);
}

function meet(ledger: Ledger, slot: number, attempt: number, incarnation: string | undefined, now: number): Worker {
  const worker: Worker = {
    slot, attempt, incarnation, former: new Map(), seq: -1, seenAt: now, silent: false, draining: false, leaving: false, capacity: 0,
    load: { itemsPerSecond: 0, cpuSeconds: 0, rssBytes: 0 }, speed: 0, held: new Map(), refused: new Set(), suspects: [],
    reported: new Set(),
  };
  ledger.workers.set(slot, worker);
  ledger.version++;
  return worker;
}

function free(ledger: Ledger, worker: Worker): void {
  ledger.retried += worker.held.size;
  dropAll(ledger, worker);
  ledger.workers.delete(worker.slot);
  ledger.spare.delete(worker.slot);
  ledger.news.add(worker.slot);
  ledger.version++;
}

function running(worker: Worker): Work[] {
  return [...worker.held].filter(([, hold]) => hold.confirmed).map(([work]) => work);
}

/**
 * The same pod with another process. One that was never seen means that the known one crashed, also when its leases
 * expired before the restart. One that was seen before and still counts up is the living one after all: a late request
 * of its predecessor had come in between. An incarnation known only from saved leases says nothing; its unreported
 * leases are dropped.
 */
function reincarnate(ledger: Ledger, worker: Worker, request: SyncRequest): void {
  if (worker.incarnation === undefined) {
    const reported = new Set(request.leases.map(({ lease }) => workOf(lease)));
    for (const work of [...worker.held.keys()]) if (!reported.has(work)) drop(ledger, worker, work);
  } else {
    const culprits = worker.former.has(request.worker.incarnation) ? [] : [...running(worker), ...worker.suspects];
    worker.former.delete(request.worker.incarnation);
    worker.former.set(worker.incarnation, worker.seq);
    for (const oldest of worker.former.keys()) if (worker.former.size > mostFormer) worker.former.delete(oldest);
    ledger.retried += worker.held.size;
    dropAll(ledger, worker);
    for (const work of culprits) crashed(ledger, work);
  }
  Object.assign(worker, { incarnation: request.worker.incarnation, seq: -1, suspects: [] });
}

function crashed(ledger: Ledger, work: Work): void {
  if (typeof work === 'number' && ledger.completed[work] === 1) return;
  const count = (ledger.crashes.get(work) ?? 0) + 1;
  ledger.crashes.set(work, count);
  if (count <= ledger.job.retryPerShard) return;
  const reason = work === 'plan' ? 'PlanFailed' : work === 'finish' ? 'FinishFailed' : 'ShardFailed';
  const subject = work === 'plan' ? 'finding the shards' : work === 'finish' ? 'joining the results' : `shard ${work}`;
  const times = count === 1 ? 'once' : `${count} times`;
  fail(ledger, { reason, message: `${subject} crashed its worker ${times}, spec.retry.perShard allows ${ledger.job.retryPerShard}; see the logs of the worker pods` });
}

function accept(ledger: Ledger, worker: Worker, report: LeaseReport, now: number): void {
  if (isOver(ledger)) return;
  const { lease, state } = report;
  const work = workOf(lease);
  if (lease.kind === 'shard' && lease.generation !== generationOf(ledger, lease.shard)) return;
  if (state === 'released') {
    worker.refused.add(work);
    if (typeof work === 'number' && ledger.completed[work] === 0) note(ledger, worker, work, report, now);
    drop(ledger, worker, work);
    return;
  }
  if (state === 'done' && work === 'plan') {
    worker.refused.add(work);
    if (report.plan && ledger.phase === 'Planning') acceptPlan(ledger, report.plan);
    return;
  }
  if (state === 'done' && work === 'finish') {
    worker.refused.add(work);
    if (report.finish && ledger.phase === 'Finishing') acceptFinish(ledger, report.finish);
    return;
  }
  if (typeof work === 'number' && ledger.plan && ledger.completed[work] !== 0) return;
  if (typeof work === 'number' && ledger.plan && state === 'done') {
    noteError(ledger, work, report);
    complete(ledger, work, { ...report.items, bytes: report.bytes.total }, now, plausibleItems(worker, work, now));
    return;
  }
  // Unknown here: granted by a former leader, or before its lease expired. It stays where it is unless someone else has it.
  if (!worker.held.has(work)) {
    if (!mayAdopt(ledger, work)) return;
    take(ledger, worker, work, now);
    if (typeof work === 'number') startMeter(ledger.meter, now);
  }
  note(ledger, worker, work, report, now);
}

/** A shard may be reported before the plan is known to a new leader: it is kept until a worker repeats the plan. */
function mayAdopt(ledger: Ledger, work: Work): boolean {
  if (ledger.holders.has(work)) return false;
  if (work === 'plan') return ledger.phase === 'Planning';
  if (work === 'finish') return ledger.phase === 'Finishing';
  return ledger.phase === 'Planning' || ledger.phase === 'Running';
}

function note(ledger: Ledger, worker: Worker, work: Work, report: LeaseReport, now: number): void {
  const hold = worker.held.get(work);
  const { done, total } = report.bytes;
  const mostItems = plausibleItems(worker, work, now);
  if (hold) {
    hold.first ??= { at: now, done };
    Object.assign(hold, { confirmed: true, reportedAt: now, done, total });
  }
  if (typeof work !== 'number') return;
  noteError(ledger, work, report);
  advance(ledger, work, { ...report.items, bytes: done }, now, mostItems);
}

/**
 * What the worker can itself have made durable since it last spoke of this shard. More than that was there before, as
 * when a chain that others wrote is taken up: progress, but no speed.
 */
function plausibleItems({ held, load }: Worker, work: Work, now: number): number {
  const elapsed = now - (held.get(work)?.reportedAt ?? now);
  return 3 * load.itemsPerSecond * Math.max(2, elapsed / 1_000);
}

/** The first error by position, so that repeated runs of a job name the same one. */
function noteError(ledger: Ledger, shard: number, { firstError }: LeaseReport): void {
  if (firstError && shard < (ledger.firstError?.shard ?? Number.POSITIVE_INFINITY)) ledger.firstError = { shard, message: firstError };
}

function acceptPlan(ledger: Ledger, plan: PlanResult): void {
  ledger.plan = plan;
  ledger.completed = new Uint8Array(plan.shards);
  clear(ledger, 'plan');
  const beyond = [...ledger.holders.keys()].filter((work) => typeof work === 'number' && work >= plan.shards);
  for (const work of beyond) clear(ledger, work);
  for (const shard of [...ledger.returned]) if (shard >= plan.shards) ledger.returned.delete(shard);
  enter(ledger, 'Running');
}

function acceptFinish(ledger: Ledger, finish: FinishResult): void {
  ledger.finish = finish;
  end(ledger, 'Finished');
}

/** Brings the phase up to date and gives out what is free. */
function settle(ledger: Ledger, now: number): void {
  if (isOver(ledger)) return;
  const failure = tooManyFailed(ledger);
  if (failure) return fail(ledger, failure);
  if (ledger.phase === 'Running' && ledger.completedCount === ledger.plan?.shards) {
    stopMeter(ledger.meter);
    enter(ledger, 'Finishing');
  }
  assign(ledger, now);
}
