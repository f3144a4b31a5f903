import { Worker } from 'node:worker_threads';
import { type Chunk, type ChunkResult, type Place, placeOf, placeText, transfersOf } from '../reading/chunk.ts';
import type { Format } from '../reading/record-end.ts';
import { type Rows, type RowsAnswer, transfersOf as transfersOfFeeds } from './requests.ts';
import { type RunMark, RunMarks, RunWatch } from './run-marks.ts';
import type { Provider } from './session.ts';
import type { FromSession, SessionOptions, ToSession } from './session-worker.ts';
import type { Signature } from './signature.ts';
import type { TextSettings } from '../text/settings.ts';

/** The model could not be opened; `message` is ONNX Runtime's. */
export class SessionRefused extends Error {}

/** The pool was stopped before this chunk was done. */
export class PoolStopped extends Error {}

/** A run that cannot be cancelled did not return in time: its process must end, and says so with this. */
export class RunStuck extends Error {}

/** It was a run of items of the input. */
export class ItemsStuck extends RunStuck {
  readonly first: Place;
  readonly last: Place;

  constructor(first: Place, last: Place, items: number, seconds: number) {
    const what = items === 1 ? `a model run of one item (${placeText(first)})` : `a model run of ${items} items (${placeText(first)} to ${placeText(last)})`;
    super(`${what} did not return within ${seconds} s (spec.batching.timeoutSeconds); the worker process restarts and ${items === 1 ? 'gives the item up' : 'runs them one by one'}`);
    this.first = first;
    this.last = last;
  }
}

/** How often runs are looked at that may take too long. */
const watchMs = 500;
/** Time for the one who waits for the chunk to take note. */
const orphanMs = 10_000;

/** Chunks that a session holds at once: one in work and one waiting, so that it never idles. */
const queued = 2;

interface Pending {
  done: (message: Extract<FromSession, { kind: 'done' | 'inferred' }>) => void;
  reject: (error: Error) => void;
  stuck: (mark: RunMark, seconds: number) => RunStuck;
}

/** What a batch of requests came to. */
export interface Inferred {
  answers: RowsAnswer[];
  /** Milliseconds that the session worked on it. */
  runMs: number;
}

interface Thread {
  worker: Worker;
  /** In the order in which they are run. */
  pending: Map<number, Pending>;
  watch: RunWatch;
  exited: Promise<void>;
}

/** A place in a session's queue. Exactly one of `run` and `giveBack` is called. */
export interface Slot {
  run(chunk: Chunk): Promise<ChunkResult>;
  giveBack(): void;
}

/** Where chunks are run. */
export interface Sessions {
  readonly signature: Signature;
  /** How many chunks all sessions together hold at once. */
  readonly depth: number;
  /** Waits for a place; the lowest `rank` is served first. Rejects with PoolStopped, or with the signal's reason. */
  acquire(rank: number, signal: AbortSignal): Promise<Slot>;
}

/** N sessions of one model, each on a thread of its own, behind one queue. */
export class SessionPool implements Sessions {
  readonly signature: Signature;
  readonly provider: Provider;
  /** Threads of each session. */
  readonly threads: number;
  readonly #threads: readonly Thread[];
  readonly #stop: SharedArrayBuffer;
  readonly #free: Thread[];
  readonly #waiting: { rank: number; take: (thread: Thread) => void; fail: (error: Error) => void }[] = [];
  readonly #runLimitMs: number;
  readonly #onCrash: (error: Error) => void;
  readonly #watching: NodeJS.Timeout;
  #nextId = 0;
  #closed = false;

  private constructor(threads: Thread[], signature: Signature, provider: Provider, sessionThreads: number, stop: SharedArrayBuffer, runLimitMs: number, onCrash: (error: Error) => void) {
    this.#threads = threads;
    this.signature = signature;
    this.provider = provider;
    this.threads = sessionThreads;
    this.#stop = stop;
    this.#runLimitMs = runLimitMs;
    this.#onCrash = onCrash;
    this.#watching = setInterval(() => this.#watch(), watchMs).unref();
    this.#free = Array.from({ length: queued }, () => threads).flat();
  }

  /** Throws SessionRefused. `onCrash` is called once when a thread ends by itself. */
  static async open(
    options: { model: string; provider: Provider; format: Format; text?: TextSettings; sessions: number; threads: number; runLimitMs: number },
    onCrash: (error: Error) => void,
  ): Promise<SessionPool> {
    const stop = new SharedArrayBuffer(4);
    const { runLimitMs } = options;
    const data = { model: options.model, provider: options.provider, threads: options.threads, format: options.format, stop, ...(options.text === undefined ? {} : { text: options.text }) };
    // The first alone: a model that cannot be loaded is refused once, and others of its size fit only after it.
    const first = await startThread(data, runLimitMs, onCrash);
    const others = await Promise.all(Array.from({ length: options.sessions - 1 }, () => startThread(data, runLimitMs, onCrash)));
    const threads = [first, ...others].map(({ thread }) => thread);
    return new SessionPool(threads, first.signature, options.provider, options.threads, stop, runLimitMs, onCrash);
  }

  get size(): number {
    return this.#threads.length;
  }

  get depth(): number {
    return this.#threads.length * queued;
  }

  /** Chunks that wait: behind another at a session, or for a place at one. */
  get waiting(): number {
    return this.#threads.reduce((sum, { pending }) => sum + Math.max(0, pending.size - 1), this.#waiting.length);
  }

  get busy(): boolean {
    return this.#threads.some(({ pending }) => pending.size > 0);
  }

  async acquire(rank: number, signal: AbortSignal): Promise<Slot> {
    signal.throwIfAborted();
    if (this.#closed) throw new PoolStopped('the pool is closed');
    return this.#slot(this.#leastLoaded() ?? (await this.#wait(rank, signal)));
  }

  /**
   * Runs requests of equal shape on session number `session`, behind what it has. Their memory is given away. Whoever
   * calls this keeps the books of the sessions: it does not go with \`acquire\`. Rejects with PoolStopped or RunStuck.
   */
  infer(session: number, requests: Rows[]): Promise<Inferred> {
    const thread = this.#threads[session];
    if (this.#closed || thread === undefined) return Promise.reject(new PoolStopped('the pool is closed'));
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<Inferred>();
    thread.pending.set(id, {
      done: (message) => message.kind === 'inferred' && resolve({ answers: message.answers, runMs: message.runMs }),
      reject,
      stuck: ({ items }, seconds) => new RunStuck(`a model run of ${items} request(s) did not return within ${seconds} s (batching.timeoutSeconds); the process restarts`),
    });
    const memory = new Set(requests.flatMap(({ feeds }) => transfersOfFeeds(feeds)));
    thread.worker.postMessage({ kind: 'infer', id, requests } satisfies ToSession, [...memory]);
    return promise;
  }

  /** No further run begins: chunks in work end with PoolStopped after the batch that is running. */
  stop(): void {
    this.#closed = true;
    Atomics.store(new Int32Array(this.#stop), 0, 1);
    for (const { fail } of this.#waiting.splice(0)) fail(new PoolStopped('the pool was stopped'));
  }

  #watch(): void {
    for (const { pending, watch } of this.#threads) {
      const mark = watch.overdue(performance.now());
      const [head] = pending.values();
      if (mark === undefined || head === undefined) continue;
      clearInterval(this.#watching);
      const stuck = head.stuck(mark, this.#runLimitMs / 1_000);
      head.reject(stuck);
      // When nobody waits for that chunk any more, the thread is lost all the same.
      setTimeout(() => this.#onCrash(stuck), orphanMs).unref();
      return;
    }
  }

  /** Resolves true when all threads have left, false when one is still in a run after `withinMs`. */
  async close(withinMs: number): Promise<boolean> {
    this.stop();
    clearInterval(this.#watching);
    for (const { worker } of this.#threads) worker.postMessage({ kind: 'close' } satisfies ToSession);
    const gone = Promise.all(this.#threads.map(({ exited }) => exited)).then(() => true);
    const late = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => late.resolve(false), withinMs);
    try {
      return await Promise.race([gone, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  #leastLoaded(): Thread | undefined {
    let best = 0;
    this.#free.forEach((thread, index) => {
      if (thread.pending.size < (this.#free[best] as Thread).pending.size) best = index;
    });
    return this.#free.splice(best, 1)[0];
  }

  #wait(rank: number, signal: AbortSignal): Promise<Thread> {
    const { promise, resolve, reject } = Promise.withResolvers<Thread>();
    const onAbort = (): void => {
      const at = this.#waiting.indexOf(waiter);
      if (at >= 0) this.#waiting.splice(at, 1);
      reject(signal.reason as Error);
    };
    const settle = <T>(then: (value: T) => void) => (value: T): void => {
      signal.removeEventListener('abort', onAbort);
      then(value);
    };
    const waiter = { rank, take: settle(resolve), fail: settle<Error>(reject) };
    signal.addEventListener('abort', onAbort, { once: true });
    const later = this.#waiting.findIndex((other) => other.rank > rank);
    this.#waiting.splice(later < 0 ? this.#waiting.length : later, 0, waiter);
    return promise;
  }

  #slot(thread: Thread): Slot {
    const release = (): void => {
      const waiter = this.#waiting.shift();
      if (waiter) waiter.take(thread);
      else this.#free.push(thread);
    };
    return {
      giveBack: release,
      run: async (chunk) => {
        const id = this.#nextId++;
        const { promise, resolve, reject } = Promise.withResolvers<ChunkResult>();
        thread.pending.set(id, {
          done: (message) => message.kind === 'done' && resolve(message.result),
          reject,
          stuck: ({ first, last, items }, seconds) => new ItemsStuck(placeOf(chunk, first), placeOf(chunk, last), items, seconds),
        });
        thread.worker.postMessage({ kind: 'run', id, chunk } satisfies ToSession, transfersOf(chunk));
        try {
          return await promise;
        } finally {
          release();
        }
      },
    };
  }
}

async function startThread(
  options: Omit<SessionOptions, 'marks'>,
  runLimitMs: number,
  onCrash: (error: Error) => void,
): Promise<{ thread: Thread; signature: Signature }> {
  const marks = new RunMarks();
  const workerData: SessionOptions = { ...options, marks: marks.memory };
  const worker = new Worker(new URL('./session-worker.ts', import.meta.url), { workerData, resourceLimits: { maxYoungGenerationSizeMb: 12 } });
  const ready = Promise.withResolvers<Signature>();
  const exited = Promise.withResolvers<void>();
  const pending = new Map<number, Pending>();
  const settle = (id: number, then: (pending: Pending) => void): void => {
    const waiting = pending.get(id);
    pending.delete(id);
    if (waiting) then(waiting);
  };
  worker.on('message', (message: FromSession) => {
    if (message.kind === 'ready') ready.resolve(message.signature);
    else if (message.kind === 'refused') ready.reject(new SessionRefused(message.message));
    else if (message.kind === 'done' || message.kind === 'inferred') settle(message.id, ({ done }) => done(message));
    else if (message.kind === 'stopped') settle(message.id, ({ reject }) => reject(new PoolStopped('the pool was stopped')));
    else settle(message.id, ({ reject }) => reject(new Error(`session worker: ${message.message}`)));
  });
  const fail = (error: Error): void => {
    ready.reject(error);
    const lost = [...pending.values()];
    pending.clear();
    for (const { reject } of lost) reject(error);
  };
  worker.on('error', (error) => {
    const failure = error instanceof Error ? error : new Error(String(error));
    fail(failure);
    onCrash(failure);
  });
  worker.on('exit', () => {
    fail(new PoolStopped('the session worker has ended'));
    exited.resolve();
  });
  const signature = await ready.promise;
  return { thread: { worker, pending, watch: new RunWatch(marks, runLimitMs), exited: exited.promise }, signature };
}
