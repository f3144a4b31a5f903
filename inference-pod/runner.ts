import { pause, sleep } from '../kit/backoff.ts';
import type { Clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import {
  exitCodes,
  type Fatal,
  fatalExitCodes,
  type ItemCounts,
  type Lease,
  type LeaseReport,
  leaseKey,
  PROTOCOL,
  type SyncRequest,
  type SyncResponse,
  type WorkerEngine,
  type WorkerId,
  type WorkerLoad,
} from './contract.ts';
import { RunStuck, type SessionPool } from './engine/pool.ts';
import { FatalError, messageOf, shorten } from './fatal.ts';
import { finishJob, sweep } from './finishing/finish.ts';
import { Gate } from './gate.ts';
import type { Job } from './job.ts';
import { type LeaseTask, oneGo } from './lease-task.ts';
import { planInput } from './planning/plan-input.ts';
import { Rate } from './rate.ts';
import { RunMeter } from './run-meter.ts';
import { ChunkSize } from './reading/chunk-size.ts';
import { SpareBuffers } from './reading/spare-buffers.ts';
import type { RunTimes } from './reading/chunk.ts';
import { ShardRun } from './shard-run.ts';
import type { SyncClient } from './sync-client.ts';
import { SyncLoop } from './sync-loop.ts';

/** Given at SIGTERM to chunks in work, then again to the batch in work; with the last sync it stays below ten seconds. */
const drainMs = 3_000;
const stopMs = 2_000;
const lastSyncMs = 3_000;
const sweepMs = 2_000;

/** What leases need and what takes a while: the output folder and the loaded model. */
export interface Workplace {
  job: Job;
  pool: SessionPool;
  engine: WorkerEngine;
  /** What the user should know. */
  warnings: string[];
  /** Memory that the process may have; absent: no limit. */
  memoryBytes: number | undefined;
}

export interface RunnerOptions {
  worker: WorkerId;
  client: SyncClient;
  /** Rejects with FatalError. */
  workplace: Promise<Workplace>;
  clock: Clock;
  log: Log;
  onDurable: (items: ItemCounts) => void;
  onRuns: (runs: RunTimes) => void;
}

interface Held {
  lease: Lease;
  task?: LeaseTask;
  over: boolean;
  ended: Promise<void>;
}

/** Holds the leases that the operator lists, works on them, and reports; ends with an exit code. */
export class Runner {
  readonly #options: RunnerOptions;
  readonly #loop: SyncLoop;
  readonly #held = new Map<string, Held>();
  readonly #gate = new Gate();
  readonly #chunkSize = new ChunkSize();
  readonly #spares = new SpareBuffers();
  readonly #rate = new Rate();
  readonly #runs = new RunMeter();
  #cpuBefore: { at: number; seconds: number } | undefined;
  readonly #ending = Promise.withResolvers<number>();
  readonly #over = new AbortController();
  #ready: Workplace | undefined;
  #ranks = 0;
  #draining = false;
  #fatal: Fatal | undefined;
  #stuck: string | undefined;
  /** This process stored a segment. */
  #stored = false;

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.#loop = new SyncLoop({
      call: (request, signal) => options.client.call(request, signal),
      state: () => this.#state(),
      onAnswer: (answer) => this.#apply(answer),
      clock: options.clock,
      log: options.log,
    });
  }

  get leases(): number {
    return this.#held.size;
  }

  get reachable(): boolean {
    return this.#loop.reachable;
  }

  get itemsPerSecond(): number {
    return this.#rate.perSecond(this.#options.clock.monotonic());
  }

  get queueDepth(): number {
    return this.#ready?.pool.waiting ?? 0;
  }

  get failuresInARow(): number {
    return this.#runs.failuresInARow;
  }

  /** Resolves with the exit code; rejects with what no part of the program expected. */
  async run(): Promise<number> {
    this.#options.workplace.then(
      (workplace) => {
        this.#ready = workplace;
        this.#loop.news();
      },
      (error: unknown) => this.#fail(error),
    );
    const looping = this.#loop.run(this.#over.signal);
    let code: number | undefined;
    try {
      code = await this.#ending.promise;
      return code;
    } finally {
      for (const held of this.#held.values()) this.#stop(held);
      this.#over.abort();
      await looping;
      if (this.#fatal !== undefined || this.#stuck !== undefined || this.#draining) await this.#loop.last(lastSyncMs);
      if (code === exitCodes.done || code === exitCodes.retired) await this.#sweep();
    }
  }

  /** A worker that stored something, and may have been late with it, leaves nothing of it in a job that is complete. */
  async #sweep(): Promise<void> {
    if (!this.#stored || this.#ready === undefined) return;
    const { job } = this.#ready;
    const swept = Promise.allSettled([...this.#held.values()].map(({ ended }) => ended)).then(() => sweep(job));
    await Promise.race([swept.catch((error: unknown) => job.log.warn({ reason: messageOf(error) }, 'not swept')), sleep(sweepMs)]);
  }

  /** SIGTERM, or told to leave: closes the open segments, gives every lease back. Safe to call again. */
  async drain(exitCode: number = exitCodes.drained): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    this.#options.log.info({ leases: this.#held.size }, 'draining');
    this.#loop.news();
    this.#gate.set(true);
    for (const held of this.#held.values()) held.task?.drain();
    const ended = Promise.allSettled([...this.#held.values()].map((held) => (held.task ? held.ended : undefined)));
    const both = new AbortController();
    const finished = ended.then(() => both.abort());
    if (await pause(drainMs, both.signal)) {
      this.#ready?.pool.stop();
      await pause(stopMs, both.signal);
    }
    if (both.signal.aborted) await finished;
    this.#ending.resolve(exitCode);
  }

  #state(): Omit<SyncRequest, 'seq' | 'term'> {
    return {
      protocol: PROTOCOL,
      worker: this.#options.worker,
      draining: this.#draining,
      // One more than can be worked on, so that no session waits for the next shard.
      capacity: this.#draining ? 0 : (this.#ready?.pool.size ?? 1) + 1,
      leases: [...this.#held.values()].map((held) => this.#report(held)),
      ...(this.#fatal === undefined ? {} : { fatal: this.#fatal }),
      load: this.#load(),
    };
  }

  #report({ lease, task }: Held): LeaseReport {
    if (task) return task.report();
    const state = this.#draining ? 'released' : 'running';
    return { lease, state, items: { succeeded: 0, failed: 0 }, bytes: { done: 0, total: 0 } };
  }

  #load(): WorkerLoad {
    const { user, system } = process.cpuUsage();
    const cpu = { at: this.#options.clock.monotonic(), seconds: (user + system) / 1e6 };
    const before = this.#cpuBefore;
    this.#cpuBefore = cpu;
    const runs = this.#runs.times(cpu.at);
    const warning = this.#stuck ?? shorten(this.#ready?.warnings.join('; ') ?? '', 300);
    return {
      itemsPerSecond: this.itemsPerSecond,
      cpuSeconds: cpu.seconds,
      rssBytes: process.memoryUsage.rss(),
      ...(before === undefined || cpu.at <= before.at ? {} : { cpus: ((cpu.seconds - before.seconds) * 1_000) / (cpu.at - before.at) }),
      ...(runs === undefined ? {} : { runs }),
      queueDepth: this.queueDepth,
      failuresInARow: this.failuresInARow,
      ...(this.#ready === undefined ? {} : { engine: this.#ready.engine }),
      ...(warning === '' ? {} : { warning }),
    };
  }

  #apply(answer: SyncResponse): void {
    if (answer.verdict === 'leave') this.drain(exitCodes.done).catch((error: unknown) => this.#fail(error));
    else if (answer.verdict !== 'work') {
      this.#options.log.info({ verdict: answer.verdict }, 'told to leave');
      this.#ending.resolve(exitCodes[answer.verdict]);
      return;
    }
    const listed = new Map(answer.leases.map((lease) => [leaseKey(lease), lease]));
    for (const [key, held] of this.#held) {
      if (listed.has(key)) continue;
      this.#stop(held);
      this.#held.delete(key);
    }
    if (this.#draining) return;
    this.#gate.set(!answer.pause);
    for (const [key, lease] of listed) if (!this.#held.has(key)) this.#hold(key, lease);
  }

  #hold(key: string, lease: Lease): void {
    const held: Held = { lease, over: false, ended: Promise.resolve() };
    held.ended = this.#work(held).catch((error: unknown) => {
      if (!held.over) this.#fail(error);
    });
    this.#held.set(key, held);
    this.#options.log.debug({ lease: key }, 'lease taken');
  }

  async #work(held: Held): Promise<void> {
    const workplace = await this.#options.workplace;
    if (held.over || this.#draining) return;
    this.#rate.start(this.#options.clock.monotonic());
    held.task = this.#taskOf(held.lease, workplace);
    await held.task.run();
    const { state, items } = held.task.report();
    if (!held.over) this.#options.log.info({ lease: leaseKey(held.lease), state, ...items }, 'lease ended');
  }

  #taskOf(lease: Lease, workplace: Workplace): LeaseTask {
    const { job, pool } = workplace;
    const { clock } = this.#options;
    const onNews = (): void => this.#loop.news();
    if (lease.kind === 'plan') return oneGo(lease, async (signal) => ({ plan: await planInput(workplace, signal) }), onNews);
    if (lease.kind === 'finish') {
      return oneGo(lease, async (signal) => ({ finish: await finishJob(job, lease.generations, signal) }), onNews);
    }
    const onDurable = (items: ItemCounts): void => {
      this.#rate.add(items.succeeded + items.failed, clock.monotonic());
      this.#stored = true;
      this.#options.onDurable(items);
    };
    const onRuns = (runs: RunTimes): void => {
      this.#runs.add(runs, clock.monotonic());
      this.#options.onRuns(runs);
    };
    return new ShardRun(lease, this.#ranks++, { job, pool, gate: this.#gate, chunkSize: this.#chunkSize, spares: this.#spares, clock, onDurable, onRuns, onNews });
  }

  #stop(held: Held): void {
    held.over = true;
    held.task?.stop();
  }

  #fail(error: unknown): void {
    if (!(error instanceof FatalError)) {
      if (error instanceof RunStuck) this.#stuck = shorten(error.message, 300);
      this.#ending.reject(error);
      return;
    }
    this.#fatal ??= { code: error.code, message: error.message };
    this.#ending.resolve(fatalExitCodes[this.#fatal.code]);
  }

  /** Why the process ends with a permanent exit code. */
  get fatal(): Fatal | undefined {
    return this.#fatal;
  }
}
