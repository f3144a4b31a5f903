import type { Clock } from '../../kit/clock.ts';
import type { Feed } from '../engine/batch.ts';
import { PoolStopped, type SessionPool } from '../engine/pool.ts';
import type { RowsAnswer } from '../engine/requests.ts';
import { type Batcher, type BatcherLimits, type Dispatch, dispatch, drop, freed, newBatcher, push, queued } from './batcher.ts';
import type { InferRequest } from './infer-request.ts';
import { Refusal } from './refusal.ts';
import type { ServeMetrics } from './serve-metrics.ts';

export interface ModelServerOptions {
  pool: Pick<SessionPool, 'infer' | 'size'>;
  limits: Omit<BatcherLimits, 'sessions'>;
  clock: Pick<Clock, 'monotonic'>;
  metrics: Pick<ServeMetrics, 'dispatched' | 'ran'>;
  /** A session failed in a way that nobody expected, or is stuck: the process must end. */
  onCrash: (error: Error) => void;
}

interface Waiter {
  request: InferRequest;
  resolve: (outputs: Feed[]) => void;
  reject: (error: unknown) => void;
}

/** Weight of the newest run in the mean that the advice to come back later rests on. */
const newest = 0.2;
const longestAdvice = 60;

/** Brings requests together into runs of one model; the batcher decides, this sends. */
export class ModelServer {
  readonly #options: ModelServerOptions;
  readonly #batcher: Batcher;
  /** Requests that wait or run. */
  readonly #waiters = new Map<number, Waiter>();
  #nextId = 0;
  #deciding: NodeJS.Immediate | undefined;
  #rowsPerMs = 0;
  #onEmpty: () => void = () => undefined;

  constructor(options: ModelServerOptions) {
    this.#options = options;
    this.#batcher = newBatcher({ ...options.limits, sessions: options.pool.size });
  }

  /** Requests that are in no run yet. */
  get queued(): number {
    return queued(this.#batcher);
  }

  /** Requests that wait or run. */
  get open(): number {
    return this.#waiters.size;
  }

  /**
   * The outputs of the model, each with the request's rows; the memory of its feeds is given away. Rejects with Refusal,
   * or with the reason of `signal` when that aborts before the run.
   */
  infer(request: InferRequest, signal: AbortSignal): Promise<Feed[]> {
    signal.throwIfAborted();
    const id = this.#nextId++;
    const shape = request.feeds.map(({ dims }) => dims.slice(1).join('x')).join(' ');
    if (!push(this.#batcher, { id, rows: request.rows, shape }, this.#options.clock.monotonic())) throw this.busy();
    const { promise, resolve, reject } = Promise.withResolvers<Feed[]>();
    const onAbort = (): void => {
      if (drop(this.#batcher, id)) this.#settle(id, ({ reject: refuse }) => refuse(signal.reason));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    this.#waiters.set(id, { request, resolve, reject });
    // When the requests that the event loop has at hand are in: those that come together go together.
    this.#deciding ??= setImmediate(() => {
      this.#deciding = undefined;
      this.#dispatch();
    });
    return promise.finally(() => signal.removeEventListener('abort', onAbort));
  }

  /** 429, with the seconds after which what waits now should be done. */
  busy(): Refusal {
    const rows = [...this.#waiters.values()].reduce((sum, { request }) => sum + request.rows, 0);
    const seconds = this.#rowsPerMs === 0 ? 1 : Math.ceil(rows / this.#rowsPerMs / 1_000);
    const after = Math.min(longestAdvice, Math.max(1, seconds));
    return new Refusal(429, `${this.queued} requests wait already, which is all that may; come back after ${after} s`, { 'retry-after': String(after) });
  }

  /** To be called once, when nothing new comes. Resolves true when all is answered; what is left after `withinMs` is refused with 503. */
  async drain(withinMs: number): Promise<boolean> {
    if (this.open === 0) return true;
    const late = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => late.resolve(false), withinMs);
    const empty = Promise.withResolvers<boolean>();
    this.#onEmpty = () => empty.resolve(true);
    const done = await Promise.race([empty.promise, late.promise]);
    clearTimeout(timer);
    for (const id of [...this.#waiters.keys()]) {
      drop(this.#batcher, id);
      this.#settle(id, ({ reject }) => reject(leaving()));
    }
    return done;
  }

  #dispatch(): void {
    const now = this.#options.clock.monotonic();
    for (const batch of dispatch(this.#batcher, now)) {
      this.#options.metrics.dispatched(batch.requests.map(({ since }) => now - since), batch.requests.reduce((sum, { rows }) => sum + rows, 0));
      this.#run(batch).catch((error: unknown) => this.#options.onCrash(error instanceof Error ? error : new Error(String(error))));
    }
  }

  async #run({ session, requests }: Dispatch): Promise<void> {
    const { pool, metrics } = this.#options;
    const rows = requests.map(({ id }) => {
      const { request } = this.#waiters.get(id) as Waiter;
      return { rows: request.rows, feeds: request.feeds };
    });
    try {
      const { answers, runMs } = await pool.infer(session, rows);
      metrics.ran(runMs, answers.some((answer) => 'refused' in answer));
      const speed = rows.reduce((sum, one) => sum + one.rows, 0) / Math.max(runMs, 0.01) * pool.size;
      this.#rowsPerMs = this.#rowsPerMs === 0 ? speed : this.#rowsPerMs + (speed - this.#rowsPerMs) * newest;
      freed(this.#batcher, session);
      this.#dispatch();
      requests.forEach(({ id }, at) => {
        this.#answer(id, answers[at] as RowsAnswer);
      });
    } catch (error) {
      for (const { id } of requests) this.#settle(id, ({ reject }) => reject(leaving()));
      if (!(error instanceof PoolStopped)) throw error;
    }
  }

  #answer(id: number, answer: RowsAnswer): void {
    this.#settle(id, ({ resolve, reject }) => {
      if ('outputs' in answer) resolve(answer.outputs);
      else if (answer.outOfMemory) reject(new Refusal(500, `there is not enough memory for this request, even alone: ${answer.refused}`));
      else reject(new Refusal(400, `the model refused this request: ${answer.refused}`));
    });
  }

  #settle(id: number, then: (waiter: Waiter) => void): void {
    const waiter = this.#waiters.get(id);
    if (waiter === undefined) return;
    this.#waiters.delete(id);
    then(waiter);
    if (this.#waiters.size === 0) this.#onEmpty();
  }
}

function leaving(): Refusal {
  return new Refusal(503, 'the server is shutting down and did not get to this request; send it again', { 'retry-after': '1' });
}
