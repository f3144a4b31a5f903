import { delayFor } from '../../kit/backoff.ts';
import type { Backoff } from '../../kit/backoff.ts';
import type { Clock } from '../../kit/clock.ts';
import type { Registry } from '../../kit/metrics.ts';
import { counter, exponentialBuckets, gauge, histogram } from '../../kit/metrics.ts';
import { TokenBucket } from '../../kit/token-bucket.ts';
import { Heap } from './heap.ts';

export interface QueueOptions {
  /** Label `name` and `controller` of the metrics. */
  name: string;
  clock: Clock;
  registry: Registry;
  /** Delay of a key by the number of its failures in a row. */
  backoff?: Backoff;
  /** Limit over all rate-limited adds together. */
  overall?: { perSecond: number; burst: number };
}

export interface AddOptions {
  /** Higher comes first; default 0. Keys of the same priority come in the order in which they were added. */
  priority?: number;
}

interface Ready {
  key: string;
  priority: number;
  sequence: number;
  addedAt: number;
  /** Replaced by an entry of higher priority. */
  stale: boolean;
}

interface Delayed {
  key: string;
  priority: number;
  sequence: number;
  readyAt: number;
  stale: boolean;
}

const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Keyed work queue.
 *
 * Guarantees: a key is never with two workers at once; a key added while a worker has it comes back when that worker is
 * done; adds of a key that already waits are one. A delayed key is kept once, with the earliest of its times and the
 * highest of its priorities, and an immediate add replaces the delay: whoever handles the key decides anew when to
 * come back.
 */
export class WorkQueue {
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  readonly #bucket: TokenBucket;
  readonly #ready = new Heap<Ready>(
    (a, b) => a.priority > b.priority || (a.priority === b.priority && a.sequence < b.sequence),
  );
  readonly #delays = new Heap<Delayed>(
    (a, b) => a.readyAt < b.readyAt || (a.readyAt === b.readyAt && a.sequence < b.sequence),
  );
  /** Keys that wait for a worker, those held back because a worker has them included. */
  readonly #waiting = new Map<string, Ready>();
  readonly #delayed = new Map<string, Delayed>();
  /** Keys that a worker has, with the time when it got them. */
  readonly #processing = new Map<string, number>();
  readonly #failures = new Map<string, number>();
  readonly #takers: ((key: string | undefined) => void)[] = [];
  readonly #metrics;
  #sequence = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(options: QueueOptions) {
    this.#clock = options.clock;
    this.#backoff = options.backoff ?? { baseMs: 5, capMs: 16 * 60_000 };
    this.#bucket = new TokenBucket({ ...(options.overall ?? { perSecond: 10, burst: 100 }), clock: options.clock });
    this.#metrics = queueMetrics(options.registry, options.name, {
      unfinished: () => this.#runningTimes().reduce((sum, ms) => sum + ms, 0) / 1000,
      longest: () => Math.max(0, ...this.#runningTimes()) / 1000,
    });
  }

  /** Keys that could be taken now. */
  get length(): number {
    return this.#waiting.size;
  }

  get processing(): number {
    return this.#processing.size;
  }

  /** Keys that wait for their time. */
  get delayed(): number {
    return this.#delayed.size;
  }

  add(key: string, options: AddOptions = {}): void {
    if (this.#closed) return;
    const delayed = this.#undelay(key);
    const priority = Math.max(options.priority ?? 0, delayed?.priority ?? Number.NEGATIVE_INFINITY);
    const known = this.#waiting.get(key);
    if (known !== undefined && known.priority >= priority) return;
    if (known === undefined) this.#metrics.adds.inc();
    else known.stale = true;
    this.#sequence += 1;
    const entry: Ready = {
      key,
      priority,
      sequence: known?.sequence ?? this.#sequence,
      addedAt: known?.addedAt ?? this.#clock.monotonic(),
      stale: false,
    };
    this.#waiting.set(key, entry);
    this.#metrics.depth.set(this.#waiting.size);
    if (this.#processing.has(key)) return;
    this.#ready.push(entry);
    this.#hand();
  }

  addAfter(key: string, delayMs: number, options: AddOptions = {}): void {
    if (this.#closed) return;
    if (!(delayMs > 0)) {
      this.add(key, options);
      return;
    }
    const waiting = this.#waiting.get(key);
    if (waiting !== undefined) {
      // It comes sooner than asked for anyway.
      if ((options.priority ?? 0) > waiting.priority) this.add(key, options);
      return;
    }
    const known = this.#delayed.get(key);
    const readyAt = Math.min(this.#clock.monotonic() + delayMs, known?.readyAt ?? Number.POSITIVE_INFINITY);
    const priority = Math.max(options.priority ?? 0, known?.priority ?? Number.NEGATIVE_INFINITY);
    if (known !== undefined) {
      known.priority = priority;
      if (known.readyAt === readyAt) return;
      known.stale = true;
    }
    this.#sequence += 1;
    const entry: Delayed = { key, priority, sequence: this.#sequence, readyAt, stale: false };
    this.#delayed.set(key, entry);
    this.#delays.push(entry);
    this.#arm();
  }

  /** Comes back after this key's back-off, which grows with each call until `forget`. `minDelayMs`: what a server asked for. */
  addRateLimited(key: string, options: AddOptions & { minDelayMs?: number } = {}): void {
    if (this.#closed) return;
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    this.#metrics.retries.inc();
    const delay = Math.max(delayFor(failures, this.#backoff), this.#bucket.reserve(), options.minDelayMs ?? 0);
    this.addAfter(key, delay, options);
  }

  /** The key is well again: its next back-off starts from the beginning. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  failures(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  /** The next key, whenever there is one; undefined when the queue was shut down. Each key must be given back by `done`. */
  take(): Promise<string | undefined> {
    if (this.#closed) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#takers.push(resolve);
      this.#hand();
    });
  }

  done(key: string): void {
    const since = this.#processing.get(key);
    if (since === undefined) return;
    this.#processing.delete(key);
    this.#metrics.work.observe((this.#clock.monotonic() - since) / 1000);
    const again = this.#waiting.get(key);
    if (again !== undefined && !this.#closed) {
      this.#ready.push(again);
      this.#hand();
    }
    if (this.#processing.size === 0) this.#idle?.resolve();
  }

  /** Hands out no more keys and drops those that wait; resolves when every key that was handed out is done. */
  shutDown(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const taker of this.#takers.splice(0)) taker(undefined);
    this.#waiting.clear();
    this.#delayed.clear();
    this.#metrics.depth.set(0);
    this.#idle ??= Promise.withResolvers<void>();
    if (this.#processing.size === 0) this.#idle.resolve();
    return this.#idle.promise;
  }

  #undelay(key: string): Delayed | undefined {
    const entry = this.#delayed.get(key);
    if (entry === undefined) return undefined;
    entry.stale = true;
    this.#delayed.delete(key);
    return entry;
  }

  #hand(): void {
    while (this.#takers.length > 0) {
      const entry = this.#ready.pop();
      if (entry === undefined) return;
      if (entry.stale) continue;
      const now = this.#clock.monotonic();
      this.#waiting.delete(entry.key);
      this.#processing.set(entry.key, now);
      this.#metrics.depth.set(this.#waiting.size);
      this.#metrics.wait.observe((now - entry.addedAt) / 1000);
      this.#takers.shift()?.(entry.key);
    }
  }

  /** Sets the timer for the earliest delayed key. */
  #arm(): void {
    clearTimeout(this.#timer);
    for (let next = this.#delays.peek(); next?.stale === true; next = this.#delays.peek()) this.#delays.pop();
    const next = this.#delays.peek();
    if (next === undefined) return;
    const wait = Math.max(0, Math.ceil(next.readyAt - this.#clock.monotonic()));
    this.#timer = setTimeout(() => this.#ripen(), Math.min(wait, MAX_TIMER_MS));
  }

  #ripen(): void {
    const now = this.#clock.monotonic();
    for (
      let next = this.#delays.peek();
      next !== undefined && (next.stale || next.readyAt <= now);
      next = this.#delays.peek()
    ) {
      this.#delays.pop();
      if (!next.stale) this.add(next.key, { priority: next.priority });
    }
    this.#arm();
  }

  #runningTimes(): number[] {
    const now = this.#clock.monotonic();
    return [...this.#processing.values()].map((since) => now - since);
  }
}

type Reading = { unfinished: () => number; longest: () => number };
/** Queues whose running times are read at each scrape, by registry: one gauge serves all queues. */
const readings = new WeakMap<Registry, Map<string, Reading>>();

/** The names and labels that controller-runtime uses, so that existing dashboards work. */
function queueMetrics(registry: Registry, name: string, reading: Reading) {
  const known = readings.get(registry) ?? new Map<string, Reading>();
  readings.set(registry, known.set(name, reading));
  const labels = ['name', 'controller'] as const;
  const own = { name, controller: name };
  const buckets = exponentialBuckets(1e-6, 10, 10);
  const scraped = (metric: string, help: string, read: (reading: Reading) => number): void => {
    gauge(registry, {
      name: metric,
      help,
      labels,
      collect: (family) => {
        for (const [queue, of] of known) family.set({ name: queue, controller: queue }, read(of));
      },
    });
  };
  scraped(
    'workqueue_unfinished_work_seconds',
    'Seconds of work in progress that work_duration has not observed yet.',
    (of) => of.unfinished(),
  );
  scraped(
    'workqueue_longest_running_processor_seconds',
    'Seconds that the longest running worker has been at its key.',
    (of) => of.longest(),
  );
  return {
    depth: gauge(registry, { name: 'workqueue_depth', help: 'Keys that wait for a worker.', labels }).labels(own),
    adds: counter(registry, { name: 'workqueue_adds_total', help: 'Keys added to the queue.', labels }).labels(own),
    retries: counter(registry, { name: 'workqueue_retries_total', help: 'Keys added with back-off.', labels }).labels(
      own,
    ),
    wait: histogram(registry, {
      name: 'workqueue_queue_duration_seconds',
      help: 'Time that a key waited for a worker, in seconds.',
      labels,
      buckets,
    }).labels(own),
    work: histogram(registry, {
      name: 'workqueue_work_duration_seconds',
      help: 'Time that a worker had a key, in seconds.',
      labels,
      buckets,
    }).labels(own),
  };
}
