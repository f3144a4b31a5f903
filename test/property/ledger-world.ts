import type { LeaseReport, SyncRequest, SyncResponse } from '../../inference-pod/contract.ts';
import { leaseKey } from '../../inference-pod/contract.ts';
import { hasRoom } from '../../operator/dispatch/lease.ts';
import { leave, openLedger, sync, tick, updateJob, workerGone } from '../../operator/dispatch/ledger.ts';
import { save } from '../../operator/dispatch/progress.ts';
import type { Ledger, LedgerJob, SavedProgress } from '../../operator/dispatch/state.ts';

/**
 * A small world around a ledger: workers that can crash, hang or vanish, a network that duplicates, delays and reorders,
 * a store of segment chains, leaders that change. Workers follow the contract; the store decides what is true.
 */
export interface World {
  now: number;
  ledger: Ledger;
  saved: SavedProgress;
  job: LedgerJob;
  /** Items per shard; an item is 10 bytes, every 7th fails. */
  sizes: number[];
  poison: ReadonlySet<number>;
  /** Durable items per shard: the end of its chain. */
  chain: number[];
  planned: boolean;
  finished: boolean;
  processes: Map<number, Process>;
  requests: SyncRequest[];
  responses: { incarnation: string; seq: number; response: SyncResponse }[];
  incarnations: number;
  crashes: number;
  /** Items per second that each worker reports. */
  speed: (slot: number) => number;
}

export interface Process {
  slot: number;
  attempt: number;
  incarnation: string;
  seq: number;
  answered: number;
  held: Map<string, LeaseReport>;
  draining: boolean;
  exited: 'done' | 'retired' | 'drained' | undefined;
}

export const bytesPerItem = 10;
export const truth = (items: number): { succeeded: number; failed: number } => {
  const failed = Math.floor(items / 7);
  return { succeeded: items - failed, failed };
};

export function newWorld(settings: LedgerJob, sizes: number[], poison: Iterable<number> = []): World {
  const job = { ...settings, holdVerdict: true };
  const world: World = {
    now: 0, ledger: openLedger(job, undefined, 0), saved: { completed: '', items: { succeeded: 0, failed: 0 }, bytes: 0 }, job, sizes,
    poison: new Set(poison), chain: sizes.map(() => 0), planned: false, finished: false, processes: new Map(), requests: [], responses: [], incarnations: 0, crashes: 0, speed: (slot) => 10 * (slot + 1),
  };
  for (let slot = 0; slot < job.maxWorkers; slot++) start(world, slot, 0);
  return world;
}

export function start(world: World, slot: number, attempt: number): Process {
  const process: Process = { slot, attempt, incarnation: `i${world.incarnations++}`, seq: 0, answered: 0, held: new Map(), draining: false, exited: undefined };
  world.processes.set(slot, process);
  return process;
}

/** The worker sends its state; the request waits in the network. */
export function send(world: World, { slot, attempt, incarnation, ...process }: Process): void {
  if (process.exited) return;
  const real = world.processes.get(slot) as Process;
  real.seq++;
  world.requests.push(structuredClone({
    protocol: 1, worker: { job: world.job.uid, slot, attempt, incarnation }, seq: real.seq, term: 0, draining: process.draining, capacity: process.draining ? 0 : 2,
    leases: [...process.held.values()], load: { itemsPerSecond: world.speed(slot), cpuSeconds: 0, rssBytes: 0 },
  }));
}

export function deliver(world: World, index: number, keep: boolean): void {
  if (world.requests.length === 0) return;
  const at = index % world.requests.length;
  const request = world.requests[at] as SyncRequest;
  if (!keep) world.requests.splice(at, 1);
  const response = sync(world.ledger, structuredClone(request), world.now);
  check(world);
  world.responses.push({ incarnation: request.worker.incarnation, seq: request.seq, response: structuredClone(response) });
}

export function receive(world: World, index: number): void {
  if (world.responses.length === 0) return;
  const [{ incarnation, seq, response }] = world.responses.splice(index % world.responses.length, 1) as [World['responses'][number]];
  const process = [...world.processes.values()].find((candidate) => candidate.incarnation === incarnation);
  if (!process || process.exited || response.superseded || seq <= process.answered) return;
  process.answered = seq;
  if (response.verdict === 'leave') drain(process);
  else if (response.verdict !== 'work') {
    process.exited = response.verdict;
    process.held.clear();
    return;
  }
  const listed = new Map(response.leases.map((lease) => [leaseKey(lease), lease]));
  for (const key of [...process.held.keys()]) if (!listed.has(key)) process.held.delete(key);
  for (const [key, lease] of listed) {
    if (process.held.has(key)) continue;
    const report: LeaseReport = { lease, state: process.draining ? 'released' : 'running', items: { succeeded: 0, failed: 0 }, bytes: { done: 0, total: 0 } };
    if (lease.kind === 'shard') place(world, report, lease.shard);
    process.held.set(key, report);
  }
}

/** A report reads the stored chain, whoever wrote it. */
function place(world: World, report: LeaseReport, shard: number): void {
  report.items = truth(world.chain[shard] as number);
  report.bytes = { done: (world.chain[shard] as number) * bytesPerItem, total: (world.sizes[shard] as number) * bytesPerItem };
}

/** One step on one lease: a segment, the plan or the finish. @returns false when the shard crashed the process. */
export function work(world: World, process: Process, index: number, items: number): boolean {
  const running = [...process.held.values()].filter(({ state }) => state === 'running');
  const report = running[index % Math.max(1, running.length)];
  if (!report || process.exited || process.draining) return true;
  const { lease } = report;
  if (lease.kind === 'plan') {
    world.planned = true;
    const all = world.sizes.reduce((sum, size) => sum + size, 0);
    Object.assign(report, { state: 'done', plan: { shards: world.sizes.length, items: all, exact: true, bytes: all * bytesPerItem, files: 1 } });
    return true;
  }
  if (lease.kind === 'finish') {
    if (world.chain.some((end, shard) => end !== world.sizes[shard])) throw new Error('the finish was leased before all shards were durable');
    world.finished = true;
    Object.assign(report, { state: 'done', finish: { items: truthOfAll(world), results: 'r', errors: 'e', manifest: 'm', resultsBytes: 1, errorsBytes: 1 } });
    return true;
  }
  if (!world.planned) throw new Error('a shard was leased before the plan was durable');
  if (world.poison.has(lease.shard)) return false;
  const { shard } = lease;
  world.chain[shard] = Math.min(world.sizes[shard] as number, (world.chain[shard] as number) + items);
  place(world, report, shard);
  if (world.chain[shard] === world.sizes[shard]) report.state = 'done';
  return true;
}

export function crash(world: World, process: Process): void {
  if (process.exited) return;
  world.crashes++;
  start(world, process.slot, process.attempt);
}

export function drain(process: Process): void {
  process.draining = true;
  for (const report of process.held.values()) if (report.state === 'running') report.state = 'released';
}

/** The pod is to go. */
export function dismiss(world: World, { slot, attempt }: Process): void {
  leave(world.ledger, slot, attempt);
  check(world);
}

/** The pod is gone and the next attempt takes its slot; the ledger is told only when `told`. */
export function lose(world: World, process: Process, told: boolean): void {
  if (told) workerGone(world.ledger, process.slot, process.attempt, world.now);
  check(world);
  start(world, process.slot, process.attempt + 1);
}

export function pass(world: World, ms: number): void {
  world.now += ms;
  tick(world.ledger, world.now);
  check(world);
}

export function writeStatus(world: World): void {
  world.saved = structuredClone(save(world.ledger));
  world.job = { ...world.job, holdVerdict: !world.saved.finish && !world.saved.failure };
  updateJob(world.ledger, world.job, world.now);
  check(world);
}

/** A new leader knows what the status says and nothing else. */
export function failOver(world: World): void {
  world.ledger = openLedger(world.job, structuredClone(world.saved), world.now);
  check(world);
}

/** From here on nothing fails: every worker speaks, works and is heard once a second. */
export function settleDown(world: World, rounds: number): void {
  for (let round = 0; round < rounds && world.job.holdVerdict; round++) {
    pass(world, 1_000);
    writeStatus(world);
    for (const process of [...world.processes.values()]) {
      if (process.exited === 'retired' || process.draining) lose(world, process, true);
    }
    for (const process of [...world.processes.values()]) {
      send(world, process);
      while (world.requests.length > 0) deliver(world, 0, false);
      while (world.responses.length > 0) receive(world, world.responses.length - 1);
      const alive = [...process.held.values()].every((_, index) => work(world, process, index, 3));
      if (alive) continue;
      send(world, process);
      while (world.requests.length > 0) deliver(world, 0, false);
      crash(world, process);
    }
  }
}

export function truthOfAll(world: World): { succeeded: number; failed: number } {
  return world.sizes.map(truth).reduce((sum, { succeeded, failed }) => ({ succeeded: sum.succeeded + succeeded, failed: sum.failed + failed }), { succeeded: 0, failed: 0 });
}

/** What must hold after every call. */
export function check({ ledger, chain, sizes, planned }: World): void {
  const demand = (holds: boolean, what: string): void => {
    if (!holds) throw new Error(what);
  };
  let committed = 0;
  for (let shard = 0; shard < ledger.completed.length; shard++) {
    if (ledger.completed[shard] !== 1) continue;
    committed += sizes[shard] as number;
    demand(chain[shard] === sizes[shard], `shard ${shard} counts as completed, but its chain ends at ${chain[shard]} of ${sizes[shard]}`);
    demand(!ledger.holders.has(shard) && !ledger.returned.has(shard) && !ledger.inFlight.has(shard), `shard ${shard} is completed and yet open`);
  }
  demand(ledger.committed.succeeded + ledger.committed.failed === committed, 'the committed items are not those of the completed shards');
  demand(ledger.committed.bytes === committed * bytesPerItem, 'the committed bytes are not those of the completed shards');
  demand(ledger.phase === 'Planning' || ledger.phase === 'Failed' || planned, 'the ledger left Planning without a plan');
  const open = [...ledger.inFlight].reduce((sum, [shard, { succeeded, failed }]) => {
    demand(succeeded + failed <= (chain[shard] as number), `shard ${shard} shows more items than are durable`);
    return sum + succeeded + failed;
  }, 0);
  demand(open === ledger.inFlightTotal.succeeded + ledger.inFlightTotal.failed, 'the totals in flight do not add up');
  for (const [work, slots] of ledger.holders) {
    demand(slots.length > 0 && new Set(slots).size === slots.length, `the holders of ${work} are wrong`);
    demand(slots.length === 1 || (slots.length === 2 && typeof work === 'number'), `${work} is held by ${slots.length} workers`);
    for (const slot of slots) demand(ledger.workers.get(slot)?.held.has(work) === true, `slot ${slot} does not know that it holds ${work}`);
    demand(typeof work !== 'number' || !ledger.returned.has(work), `shard ${work} is held and free`);
  }
  for (const worker of ledger.workers.values()) {
    const { slot, held, silent } = worker;
    for (const work of held.keys()) demand(ledger.holders.get(work)?.includes(slot) === true, `slot ${slot} holds ${work} unknown to the ledger`);
    demand(!silent || held.size === 0, `slot ${slot} is silent and holds work`);
    demand(ledger.spare.has(slot) === hasRoom(ledger, worker), `slot ${slot} is wrongly counted as ${ledger.spare.has(slot) ? 'free' : 'busy'}`);
  }
}

