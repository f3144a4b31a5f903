import { createHash, randomBytes } from 'node:crypto';
import { pause, sleep } from '../../kit/backoff.ts';
import type { Clock } from '../../kit/clock.ts';
import type { Log } from '../../kit/log.ts';
import type { Registry } from '../../kit/metrics.ts';
import { counter } from '../../kit/metrics.ts';
import { TokenBucket } from '../../kit/token-bucket.ts';
import type { KubeClient } from './client.ts';
import { isAlreadyExists, isNotFound, isTransient } from './errors.ts';
import { kinds } from './kinds.ts';
import { microTime } from './micro-time.ts';
import type { KubeObject, Stored } from './object.ts';

/** What an event says, without what it is about. */
export interface EventText {
  type: 'Normal' | 'Warning';
  reason: string;
  action: string;
  note: string;
}

/** `events.k8s.io/v1` Event. */
export interface KubeEvent extends KubeObject {
  eventTime: string;
  reportingController: string;
  reportingInstance: string;
  action: string;
  reason: string;
  type: string;
  note: string;
  regarding: {
    apiVersion: string;
    kind: string;
    namespace?: string;
    name: string;
    uid: string;
    resourceVersion?: string;
  };
  series?: { count: number; lastObservedTime: string };
}

export interface EventRecorderOptions {
  client: Pick<KubeClient, 'create' | 'mergePatch'>;
  clock: Clock;
  log: Log;
  registry: Registry;
  /** Shown as FROM by `kubectl describe`. */
  controller: string;
  /** Which replica: the pod's name. */
  instance: string;
  /** Writes per object: burst, then one each `refillMs`. */
  burst?: number;
  refillMs?: number;
  /** Least time between two writes of one series; repeats in between only count. */
  seriesMs?: number;
}

/** One event of the API server, counted on while it repeats. */
interface Series {
  event: KubeEvent;
  /** What the API server has: 0 before the POST. */
  written: number;
  count: number;
  lastAt: number;
  writtenAt: number;
  queued: boolean;
}

const MAX_NOTE = 1024;
const MAX_SERIES = 4096;
const MAX_OBJECTS = 4096;
const MAX_QUEUE = 1000;
/** Well below the hour for which the API server keeps events. */
const SERIES_LIFE_MS = 30 * 60_000;
const SWEEP_MS = 10_000;
const TRIES = 3;

/** Cuts by code points, with a mark. */
function truncate(text: string, limit: number): string {
  const points = [...text];
  return points.length <= limit ? text : `${points.slice(0, limit - 1).join('')}…`;
}

function evictOldest<V>(map: Map<string, V>, limit: number): void {
  for (const key of map.keys()) {
    if (map.size <= limit) return;
    map.delete(key);
  }
}

/**
 * Writes events beside the work: `record` neither waits nor throws, and what cannot be written is counted and dropped.
 * Repeats become one event with a count; an object that causes too many is cut off for a while.
 */
export class EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #series = new Map<string, Series>();
  readonly #buckets = new Map<string, TokenBucket>();
  readonly #queue: Series[] = [];
  readonly #stop = new AbortController();
  readonly #dropped;
  readonly #sweep: NodeJS.Timeout;
  #sending: Promise<void> | undefined;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#dropped = counter(options.registry, {
      name: 'millrace_events_dropped_total',
      help: 'Kubernetes events that were not written, by cause.',
      labels: ['cause'],
    });
    this.#sweep = setInterval(() => this.#requeue(false), Math.min(SWEEP_MS, options.seriesMs ?? SWEEP_MS));
    this.#sweep.unref();
  }

  record(about: Stored, text: EventText): void {
    if (this.#stop.signal.aborted) return;
    try {
      this.#record(about, text);
    } catch (error) {
      this.#dropped.inc({ cause: 'error' });
      this.#options.log.warn({ err: error, reason: text.reason }, 'an event was not recorded');
    }
  }

  #record(about: Stored, text: EventText): void {
    const now = this.#options.clock.now();
    const note = truncate(text.note, MAX_NOTE);
    const digest = createHash('sha256').update(note).digest('base64');
    const key = [about.metadata.uid, text.type, text.reason, text.action, digest].join('\0');
    const known = this.#series.get(key);
    if (known !== undefined && now - known.lastAt < SERIES_LIFE_MS) {
      known.count += 1;
      known.lastAt = now;
      // Most recent last, so that the oldest are evicted first.
      this.#series.delete(key);
      this.#series.set(key, known);
      if (now - known.writtenAt >= this.#seriesMs()) this.#enqueue(known);
      return;
    }
    const series: Series = {
      event: this.#event(about, { ...text, note }, now),
      written: 0,
      count: 1,
      lastAt: now,
      writtenAt: 0,
      queued: false,
    };
    if (!this.#enqueue(series)) {
      this.#dropped.inc({ cause: 'throttled' });
      return;
    }
    this.#series.set(key, series);
    evictOldest(this.#series, MAX_SERIES);
  }

  #event(about: Stored, text: EventText, now: number): KubeEvent {
    const { namespace, name, uid, resourceVersion } = about.metadata;
    return {
      apiVersion: kinds.Event.apiVersion,
      kind: kinds.Event.kind,
      // Events of cluster-scoped objects live in `default`, where `kubectl describe` looks for them.
      metadata: { name: `${name}.${randomBytes(8).toString('hex')}`, namespace: namespace ?? 'default' },
      eventTime: microTime(now),
      reportingController: this.#options.controller,
      reportingInstance: truncate(this.#options.instance, 128),
      action: text.action,
      reason: text.reason,
      type: text.type,
      note: text.note,
      regarding: {
        apiVersion: about.apiVersion,
        kind: about.kind,
        ...(namespace === undefined ? {} : { namespace }),
        name,
        uid,
        resourceVersion,
      },
    };
  }

  #seriesMs(): number {
    return this.#options.seriesMs ?? SWEEP_MS;
  }

  /** Takes a write from the object's allowance; false when there is none left. */
  #enqueue(series: Series): boolean {
    if (series.queued) return true;
    if (this.#queue.length >= MAX_QUEUE) return false;
    const { uid } = series.event.regarding;
    let bucket = this.#buckets.get(uid);
    if (bucket === undefined) {
      const { burst = 25, refillMs = 300_000, clock } = this.#options;
      bucket = new TokenBucket({ burst, perSecond: 1000 / refillMs, clock });
      this.#buckets.set(uid, bucket);
      evictOldest(this.#buckets, MAX_OBJECTS);
    }
    if (!bucket.tryTake()) return false;
    this.#push(series);
    return true;
  }

  #push(series: Series): void {
    series.queued = true;
    this.#queue.push(series);
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
    });
  }

  /** Queues the series whose count has moved on; when draining, all of them. */
  #requeue(draining: boolean): void {
    const now = this.#options.clock.now();
    for (const series of this.#series.values()) {
      if (series.written === 0 || series.written === series.count || series.queued) continue;
      if (draining) this.#push(series);
      else if (now - series.writtenAt >= this.#seriesMs()) this.#enqueue(series);
    }
  }

  async #send(): Promise<void> {
    for (let series = this.#queue.shift(); series !== undefined; series = this.#queue.shift()) {
      series.queued = false;
      await this.#write(series);
    }
  }

  async #write(series: Series): Promise<void> {
    const call = { signal: this.#stop.signal, timeoutMs: 10_000 };
    for (let attempt = 1; ; attempt += 1) {
      const { count, event } = series;
      const body = count === 1 ? undefined : { count, lastObservedTime: microTime(series.lastAt) };
      try {
        if (series.written === 0) {
          await this.#options.client.create(kinds.Event, body === undefined ? event : { ...event, series: body }, call);
        } else if (count > series.written) {
          await this.#options.client.mergePatch(kinds.Event, event.metadata, { series: body }, call);
        }
        series.written = count;
        series.writtenAt = this.#options.clock.now();
        return;
      } catch (error) {
        if (series.written === 0 && isAlreadyExists(error)) {
          // An earlier try whose answer was lost.
          series.written = 1;
          series.writtenAt = this.#options.clock.now();
          return;
        }
        if (series.written > 0 && isNotFound(error)) {
          // Expired on the server: begins anew under another name.
          event.metadata.name = `${event.regarding.name}.${randomBytes(8).toString('hex')}`;
          series.written = 0;
          if (attempt < TRIES) continue;
        }
        const given = this.#stop.signal.aborted || attempt >= TRIES || !isTransient(error);
        if (given) {
          this.#dropped.inc({ cause: 'refused' });
          const err = error instanceof Error ? error.message : String(error);
          this.#options.log.debug({ err, reason: event.reason }, 'an event was not written');
          return;
        }
        await pause(1_000 * attempt, this.#stop.signal);
      }
    }
  }

  /** Writes what is pending, pending counts included, for at most `timeoutMs`; tells whether everything is out. */
  async flush(timeoutMs: number): Promise<boolean> {
    this.#requeue(true);
    const limit = new AbortController();
    try {
      await Promise.race([this.#sending, sleep(timeoutMs, limit.signal)]);
    } catch {
      return false;
    } finally {
      limit.abort();
    }
    return this.#sending === undefined && this.#queue.length === 0;
  }

  /** Drops what is still pending. Call `flush` first. */
  close(): void {
    clearInterval(this.#sweep);
    this.#stop.abort();
  }
}
