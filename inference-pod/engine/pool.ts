import { Worker } from 'node:worker_threads';
import { type Chunk, type ChunkResult, transfersOf } from '../reading/chunk.ts';
import type { Provider } from './session.ts';
import type { FromSession, SessionOptions, ToSession } from './session-worker.ts';
import type { Signature } from './signature.ts';

/** The model could not be opened; `message` is ONNX Runtime's. */
export class SessionRefused extends Error {}

/** The pool was stopped before this chunk was done. */
export class PoolStopped extends Error {}

/** Chunks that a session holds at once: one in work and one waiting, so that it never idles. */
const queued = 2;

interface Pending {
  resolve: (result: ChunkResult) => void;
  reject: (error: Error) => void;
}

interface Thread {
  worker: Worker;
  pending: Map<number, Pending>;
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
  readonly #threads: readonly Thread[];
  readonly #stop: SharedArrayBuffer;
  readonly #free: Thread[];
  readonly #waiting: { rank: number; take: (thread: Thread) => void; fail: (error: Error) => void }[] = [];
  #nextId = 0;
  #closed = false;

  private constructor(threads: Thread[], signature: Signature, provider: Provider, stop: SharedArrayBuffer) {
    this.#threads = threads;
    this.signature = signature;
    this.provider = provider;
    this.#stop = stop;
    this.#free = Array.from({ length: queued }, () => threads).flat();
  }

  /** Throws SessionRefused. `onCrash` is called once when a thread ends by itself. */
  static async open(
    options: { model: string; provider: Provider; maxSize: number; sessions: number },
    onCrash: (error: Error) => void,
  ): Promise<SessionPool> {
    const stop = new SharedArrayBuffer(4);
    const data: SessionOptions = { model: options.model, provider: options.provider, maxSize: options.maxSize, stop };
    // The first alone: a model that cannot be loaded is refused once, and others of its size fit only after it.
    const first = await startThread(data, onCrash);
    const others = await Promise.all(Array.from({ length: options.sessions - 1 }, () => startThread(data, onCrash)));
    const threads = [first, ...others].map(({ thread }) => thread);
    return new SessionPool(threads, first.signature, options.provider, stop);
  }

  get size(): number {
    return this.#threads.length;
  }

  get depth(): number {
    return this.#threads.length * queued;
  }

  get busy(): boolean {
    return this.#threads.some(({ pending }) => pending.size > 0);
  }

  async acquire(rank: number, signal: AbortSignal): Promise<Slot> {
    signal.throwIfAborted();
    if (this.#closed) throw new PoolStopped('the pool is closed');
    return this.#slot(this.#leastLoaded() ?? (await this.#wait(rank, signal)));
  }

  /** No further run begins: chunks in work end with PoolStopped after the batch that is running. */
  stop(): void {
    this.#closed = true;
    Atomics.store(new Int32Array(this.#stop), 0, 1);
    for (const { fail } of this.#waiting.splice(0)) fail(new PoolStopped('the pool was stopped'));
  }

  /** Resolves true when all threads have left, false when one is still in a run after `withinMs`. */
  async close(withinMs: number): Promise<boolean> {
    this.stop();
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
        thread.pending.set(id, { resolve, reject });
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

async function startThread(workerData: SessionOptions, onCrash: (error: Error) => void): Promise<{ thread: Thread; signature: Signature }> {
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
    else if (message.kind === 'done') settle(message.id, ({ resolve }) => resolve(message.result));
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
  return { thread: { worker, pending, exited: exited.promise }, signature };
}
