/** Another request has this id. */
export class IdTaken extends Error {}

export interface AnswersOptions {
  maxCount: number;
  maxBytes: number;
  maxAgeMs: number;
  /** Monotonic milliseconds. */
  now: () => number;
}

interface Entry<T> {
  digest: string;
  answer: Promise<T>;
  /** Those who still wait for it. */
  waiting: number;
  abandoned: AbortController;
}

interface Kept<T> {
  digest: string;
  answer: T;
  since: number;
}

/**
 * One answer per request id: a request that comes again while its like is in work waits for the same answer, and later
 * gets the one that was kept. A failure is not kept. What was finished longest ago is forgotten first.
 */
export class Answers<T extends { bytes: number }> {
  readonly #options: AnswersOptions;
  readonly #working = new Map<string, Entry<T>>();
  /** In the order in which they were finished. */
  readonly #kept = new Map<string, Kept<T>>();
  #bytes = 0;

  constructor(options: AnswersOptions) {
    this.#options = options;
  }

  /** Of answers that are kept. */
  get size(): { count: number; bytes: number } {
    return { count: this.#kept.size, bytes: this.#bytes };
  }

  /** A request with this id is in work or has an answer that is kept. */
  has(id: string): boolean {
    this.#forgetOld();
    return this.#kept.has(id) || this.#working.has(id);
  }

  /**
   * The answer to the request `id` with the content `digest`; `work` is called when there is none. Its signal aborts
   * when nobody waits any more. Rejects with IdTaken, with the reason of `signal`, or as `work` does.
   */
  async get(id: string, digest: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    this.#forgetOld();
    const kept = this.#kept.get(id);
    const known = kept ?? this.#working.get(id);
    if (known && known.digest !== digest) throw new IdTaken();
    if (kept) return kept.answer;
    const entry = this.#working.get(id) ?? this.#begin(id, digest, work);
    entry.waiting++;
    const gone = Promise.withResolvers<never>();
    const onAbort = (): void => {
      entry.waiting--;
      if (entry.waiting === 0) this.#abandon(id, entry, signal.reason);
      gone.reject(signal.reason as Error);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await Promise.race([entry.answer, gone.promise]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  #begin(id: string, digest: string, work: (signal: AbortSignal) => Promise<T>): Entry<T> {
    const abandoned = new AbortController();
    const entry: Entry<T> = { digest, answer: work(abandoned.signal), waiting: 0, abandoned };
    this.#working.set(id, entry);
    entry.answer.then(
      (answer) => this.#keep(id, entry, answer),
      () => this.#end(id, entry),
    );
    return entry;
  }

  /** Whoever comes with this id from now on begins anew, even before the work has ended. */
  #abandon(id: string, entry: Entry<T>, reason: unknown): void {
    this.#end(id, entry);
    entry.abandoned.abort(reason);
  }

  #end(id: string, entry: Entry<T>): boolean {
    return this.#working.get(id) === entry && this.#working.delete(id);
  }

  #keep(id: string, entry: Entry<T>, answer: T): void {
    if (!this.#end(id, entry)) return;
    this.#kept.set(id, { digest: entry.digest, answer, since: this.#options.now() });
    this.#bytes += answer.bytes;
    this.#forgetOld();
  }

  #forgetOld(): void {
    const { maxCount, maxBytes, maxAgeMs, now } = this.#options;
    for (const [id, { answer, since }] of this.#kept) {
      if (this.#kept.size <= maxCount && this.#bytes <= maxBytes && now() - since < maxAgeMs) return;
      this.#kept.delete(id);
      this.#bytes -= answer.bytes;
    }
  }
}
