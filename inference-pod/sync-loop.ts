import { delayFor, pause } from '../kit/backoff.ts';
import type { Clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { type SyncRequest, type SyncResponse, timing } from './contract.ts';
import { messageOf } from './fatal.ts';
import { SyncRefused } from './sync-client.ts';

/** At most five syncs a second on the mean, `burst` of them at once after a quiet time. */
const gapMs = 200;
const burst = 5;
/** News that come together go together. */
const gatherMs = 10;
/** An answer that is this much later than the server's hold is not coming. */
const graceMs = 5_000;
/** The server answers an overtaken sync as soon as it has the newer one; one that it leaves open this long is cut off. */
const overtakenMs = 2_000;
const backoff = { baseMs: 250, capMs: 5_000, jitter: 0.5 };

export interface SyncLoopOptions {
  call: (request: SyncRequest, signal: AbortSignal) => Promise<SyncResponse>;
  /** What the worker has to say now; the loop adds `seq` and `term`. */
  state: () => Omit<SyncRequest, 'seq' | 'term'>;
  /** An answer to the newest request, of the newest term. */
  onAnswer: (answer: SyncResponse) => void;
  clock: Clock;
  log: Log;
}

/**
 * Keeps one sync open. News overtakes it: a newer one is sent beside it, to which the server answers both, so that the
 * connection lives on (cutting it off would cost a TLS handshake per checkpoint). Without an answer it tries again, ever
 * more slowly.
 */
export class SyncLoop {
  readonly #options: SyncLoopOptions;
  #seq = 0;
  #term = 0;
  #failures = 0;
  #lastFailure = '';
  /** When the next sync would be due if all had been sent evenly. */
  #dueAt = Number.NEGATIVE_INFINITY;
  #news = false;
  #overtake: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: SyncLoopOptions) {
    this.#options = options;
  }

  get reachable(): boolean {
    return this.#failures === 0;
  }

  /** There is something to say: soon, a new sync takes the place of the open one. */
  news(): void {
    this.#news = true;
    if (this.#overtake === undefined || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#news) this.#overtake?.();
    }, Math.max(gatherMs, this.#untilGap()));
  }

  /** Runs until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (!(await pause(this.#untilGap(), signal))) break;
      await this.#once(signal);
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** One last word, when `run` has ended. Never throws. */
  async last(withinMs: number): Promise<void> {
    try {
      await this.#options.call(this.#request(), AbortSignal.timeout(withinMs));
    } catch (error) {
      this.#options.log.warn({ reason: messageOf(error) }, 'the last sync was not answered');
    }
  }

  async #once(signal: AbortSignal): Promise<void> {
    const { call, onAnswer, clock } = this.#options;
    const cut = new AbortController();
    const overtaken = Promise.withResolvers<undefined>();
    this.#overtake = () => overtaken.resolve(undefined);
    this.#dueAt = Math.max(this.#dueAt, clock.monotonic()) + gapMs;
    try {
      const answering = call(this.#request(), AbortSignal.any([signal, cut.signal, AbortSignal.timeout(timing.holdMs + graceMs)]));
      const answer = await Promise.race([answering, overtaken.promise]);
      if (answer === undefined) {
        const late = setTimeout(() => cut.abort(new Error('overtaken')), overtakenMs);
        // Whatever comes of it: the newer request says more.
        answering.catch(() => undefined).finally(() => clearTimeout(late));
        return;
      }
      this.#recovered();
      if (signal.aborted || answer.superseded || answer.term < this.#term) return;
      this.#term = answer.term;
      onAnswer(answer);
    } catch (error) {
      if (signal.aborted) return;
      this.#failed(error);
      this.#overtake = undefined;
      await pause(delayFor(this.#failures - 1, backoff), signal);
    } finally {
      this.#overtake = undefined;
    }
  }

  #request(): SyncRequest {
    this.#news = false;
    this.#seq += 1;
    return { ...this.#options.state(), seq: this.#seq, term: this.#term };
  }

  #untilGap(): number {
    return Math.max(0, this.#dueAt - (burst - 1) * gapMs - this.#options.clock.monotonic());
  }

  #failed(error: unknown): void {
    this.#failures += 1;
    const reason = describe(error);
    if (reason !== this.#lastFailure) this.#options.log.warn({ reason }, 'sync failed; what is held goes on, nothing new is taken');
    this.#lastFailure = reason;
  }

  #recovered(): void {
    if (this.#failures > 0) this.#options.log.info({ failures: this.#failures }, 'sync works again');
    this.#failures = 0;
    this.#lastFailure = '';
  }
}

function describe(error: unknown): string {
  if (!(error instanceof SyncRefused)) return messageOf(error);
  if (error.status === 401) return 'the sync server does not accept the token of this worker (401)';
  if (error.status === 403) return 'the sync server does not let this worker speak for its job (403)';
  return error.message;
}
