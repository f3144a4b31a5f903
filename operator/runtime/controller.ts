import { randomBytes } from 'node:crypto';
import { sleep } from '../../kit/backoff.ts';
import type { Clock } from '../../kit/clock.ts';
import type { Log } from '../../kit/log.ts';
import type { Registry } from '../../kit/metrics.ts';
import { counter, gauge, histogram } from '../../kit/metrics.ts';
import { KubeError, isConflict } from '../kube/errors.ts';
import type { Informer } from '../kube/informer.ts';
import type { KubeObject } from '../kube/object.ts';
import { controllerOf, keyOf } from '../kube/object.ts';
import type { Change } from '../kube/store.ts';
import type { Executed } from './execute.ts';
import type { Outcome } from './outcome.ts';
import type { ChangeSet } from './plan.ts';
import { WorkQueue } from './queue.ts';
import type { AddOptions, QueueOptions } from './queue.ts';

export interface ReconcileContext {
  /** Aborts at the time limit, when the leadership ends, and when a drain runs out of time. */
  signal: AbortSignal;
  /** Carries controller, key and a reconcile id. */
  log: Log;
}

/** What `execute` returns, or the outcome alone. Throwing means: transient, again with back-off. */
export type Reconcile = (key: string, context: ReconcileContext) => Promise<Outcome | Executed>;

/** Keys that a change of a watched object asks to reconcile. */
export type Mapper<T extends KubeObject> = (change: Change<T>) => readonly string[];

/** The object itself. */
export const toOwnKey = <T extends KubeObject>(change: Change<T>): readonly string[] => [keyOf(change.object.metadata)];

/** The controller owner of the object, of its old version too when it changed hands. */
export function toOwnerKey<T extends KubeObject>(of: {
  apiVersion: string;
  kind: string;
  namespaced: boolean;
}): Mapper<T> {
  return (change) => {
    const keys = new Set<string>();
    for (const { metadata } of change.type === 'update' ? [change.object, change.old] : [change.object]) {
      const owner = controllerOf(metadata);
      if (owner?.apiVersion !== of.apiVersion || owner.kind !== of.kind) continue;
      keys.add(of.namespaced ? keyOf({ name: owner.name, namespace: metadata.namespace }) : owner.name);
    }
    return [...keys];
  };
}

/** The value of a label of the object, as a key; for children that have no owner reference. */
export function toLabelKey<T extends KubeObject>(label: string): Mapper<T> {
  return ({ object }) => {
    const value = object.metadata.labels?.[label];
    return value === undefined || value === '' ? [] : [value];
  };
}

export interface ControllerOptions extends Pick<QueueOptions, 'backoff' | 'overall'> {
  name: string;
  reconcile: Reconcile;
  /** Reconciles at a time. Default 4. */
  workers?: number;
  /** Time limit of one reconcile. Default 60 s. */
  timeoutMs?: number;
  clock: Clock;
  log: Log;
  registry: Registry;
}

/** Not thrown on purpose anywhere: a mistake in the program. */
const isPanic = (error: unknown): boolean =>
  !(error instanceof Error) ||
  error instanceof TypeError ||
  error instanceof RangeError ||
  error instanceof ReferenceError;

/** A reconcile that does not end even when told to leaves its worker after this long; its key stays taken. */
const ABANDON_MS = 10_000;

/**
 * Takes keys from a queue to `reconcile`, never one key twice at a time, and brings them back as its outcome says.
 * Collects keys from the start; works only between `start` and `drain`, and only when all its informers are synced.
 */
export class Controller {
  readonly name: string;
  readonly queue: WorkQueue;
  readonly #options: ControllerOptions;
  readonly #sources: { hasSynced: boolean; synced: Promise<void> }[] = [];
  readonly #abort = new AbortController();
  readonly #metrics;
  #running: Promise<void> | undefined;

  constructor(options: ControllerOptions) {
    this.name = options.name;
    this.#options = options;
    const { name, clock, registry, backoff, overall } = options;
    this.queue = new WorkQueue({
      name,
      clock,
      registry,
      ...(backoff === undefined ? {} : { backoff }),
      ...(overall === undefined ? {} : { overall }),
    });
    this.#metrics = controllerMetrics(registry, name);
    this.#metrics.max.set(options.workers ?? 4);
  }

  /** Reconciles the keys that `mapper` gives for each change. `priority` may look at the change. */
  watch<T extends KubeObject>(
    informer: Informer<T>,
    mapper: Mapper<T>,
    priority?: (change: Change<T>) => number,
  ): void {
    this.#sources.push(informer);
    informer.onChange((change) => {
      const options: AddOptions = priority === undefined ? {} : { priority: priority(change) };
      for (const key of mapper(change)) this.queue.add(key, options);
    });
  }

  /** Asks for a reconcile from elsewhere: the scheduler, the ledger. */
  enqueue(key: string, options: AddOptions & { afterMs?: number } = {}): void {
    this.queue.addAfter(key, options.afterMs ?? 0, options);
  }

  get synced(): boolean {
    return this.#sources.every((source) => source.hasSynced);
  }

  /** Begins to work as soon as everything is synced. The signal ends it at once, running reconciles included. */
  start(leadership: AbortSignal): Promise<void> {
    this.#running ??= this.#run(leadership);
    return this.#running;
  }

  /** Begins nothing new and lets what runs end, for at most `timeoutMs`, then aborts it. Tells whether all ended by themselves. */
  async drain(timeoutMs: number): Promise<boolean> {
    const idle = this.queue.shutDown();
    const limit = new AbortController();
    const inTime = await Promise.race([
      idle.then(() => true),
      sleep(timeoutMs, limit.signal).then(
        () => false,
        () => false,
      ),
    ]);
    limit.abort();
    if (!inTime) this.#abort.abort(new Error('the controller is shutting down'));
    await this.#running;
    return inTime;
  }

  async #run(leadership: AbortSignal): Promise<void> {
    const onLost = (): void => {
      this.#abort.abort(leadership.reason);
      void this.queue.shutDown();
    };
    if (leadership.aborted) onLost();
    leadership.addEventListener('abort', onLost, { once: true });
    const { signal } = this.#abort;
    const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    await Promise.race([Promise.all(this.#sources.map((source) => source.synced)), stopped]);
    if (!signal.aborted) {
      const workers = this.#options.workers ?? 4;
      this.#options.log.info({ controller: this.name, workers }, 'controller started');
      await Promise.all(Array.from({ length: workers }, () => this.#work()));
    }
    leadership.removeEventListener('abort', onLost);
  }

  async #work(): Promise<void> {
    for (let key = await this.queue.take(); key !== undefined; key = await this.queue.take()) {
      const taken = key;
      const ended = this.#reconcile(taken).finally(() => this.queue.done(taken));
      // `#reconcile` handles all errors itself; only a reconcile that ignores its signal makes this wait matter.
      const limit = new AbortController();
      const abandoned = sleep((this.#options.timeoutMs ?? 60_000) + ABANDON_MS, limit.signal).then(
        () => true,
        () => false,
      );
      if (await Promise.race([ended.then(() => false), abandoned])) {
        this.#options.log.error(
          { controller: this.name, key: taken },
          'a reconcile does not end; its key is left alone',
        );
      }
      limit.abort();
    }
  }

  async #reconcile(key: string): Promise<void> {
    const { clock, reconcile } = this.#options;
    const timeoutMs = this.#options.timeoutMs ?? 60_000;
    const log = this.#options.log.child({ controller: this.name, key, reconcileId: randomBytes(6).toString('hex') });
    const limit = new AbortController();
    const onAbort = (): void => limit.abort(this.#abort.signal.reason);
    this.#abort.signal.addEventListener('abort', onAbort, { once: true });
    if (this.#abort.signal.aborted) onAbort();
    const timer = setTimeout(() => limit.abort(new Error(`the reconcile took longer than ${timeoutMs} ms`)), timeoutMs);
    const started = clock.monotonic();
    this.#metrics.active.inc();
    try {
      const result = await reconcile(key, { signal: limit.signal, log });
      const executed = 'kind' in result ? undefined : result;
      const outcome = 'kind' in result ? result : result.outcome;
      this.#settle(key, outcome);
      report(log, outcome, executed?.changes, clock.monotonic() - started);
    } catch (error) {
      this.#fail(key, error, log);
    } finally {
      clearTimeout(timer);
      this.#abort.signal.removeEventListener('abort', onAbort);
      this.#metrics.active.dec();
      this.#metrics.time.observe((clock.monotonic() - started) / 1000);
    }
  }

  #settle(key: string, outcome: Outcome): void {
    this.queue.forget(key);
    if (outcome.kind === 'requeue' || outcome.kind === 'waiting') {
      this.queue.addAfter(key, outcome.afterMs);
      this.#metrics.result('requeue_after');
      return;
    }
    // Needs a human, though nothing went wrong here.
    if (outcome.kind === 'stalled') this.#metrics.terminal.inc();
    this.#metrics.result('success');
  }

  #fail(key: string, error: unknown, log: Log): void {
    if (this.#abort.signal.aborted) return;
    const minDelayMs = error instanceof KubeError ? (error.retryAfterMs ?? 0) : 0;
    this.queue.addRateLimited(key, { minDelayMs });
    // The cache was behind; by the next try it has caught up.
    if (isConflict(error)) {
      this.#metrics.result('requeue');
      log.debug({ err: error.message }, 'reconcile met a conflict');
      return;
    }
    this.#metrics.result('error');
    this.#metrics.errors.inc();
    const failures = this.queue.failures(key);
    if (isPanic(error)) {
      this.#metrics.panics.inc();
      log.error({ err: error, failures }, 'reconcile failed by a mistake in the program');
    } else {
      log.error({ err: error instanceof Error ? error.message : String(error), failures }, 'reconcile failed');
    }
  }
}

function report(log: Log, outcome: Outcome, changes: ChangeSet | undefined, ms: number): void {
  const durationMs = Math.round(ms);
  if (changes === undefined) {
    log.debug({ outcome, durationMs }, 'reconciled');
    return;
  }
  const { unchanged, ...rest } = changes;
  const told = Object.fromEntries(Object.entries(rest).filter(([, list]) => list.length > 0));
  // Progress is written every second; that alone is not worth a line.
  const changed = Object.values(told).some((list) =>
    list.some((item) => typeof item !== 'string' || !item.endsWith('/status')),
  );
  log[changed ? 'info' : 'debug']({ outcome, ...told, unchanged: unchanged.length, durationMs }, 'reconciled');
}

/** The names that controller-runtime uses, so that existing dashboards and alerts work. */
function controllerMetrics(registry: Registry, controller: string) {
  const labels = ['controller'] as const;
  const count = (name: string, help: string) => counter(registry, { name, help, labels }).labels({ controller });
  const results = counter(registry, {
    name: 'controller_runtime_reconcile_total',
    help: 'Reconciles by controller and result.',
    labels: ['controller', 'result'],
  });
  return {
    result: (result: 'success' | 'error' | 'requeue' | 'requeue_after') => results.inc({ controller, result }),
    errors: count('controller_runtime_reconcile_errors_total', 'Reconciles that failed and are tried again.'),
    terminal: count(
      'controller_runtime_terminal_reconcile_errors_total',
      'Reconciles that only a change of the object can help.',
    ),
    panics: count('controller_runtime_reconcile_panics_total', 'Reconciles that failed by a mistake in the program.'),
    time: histogram(registry, {
      name: 'controller_runtime_reconcile_time_seconds',
      help: 'Time of one reconcile, in seconds.',
      labels,
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    }).labels({ controller }),
    active: gauge(registry, {
      name: 'controller_runtime_active_workers',
      help: 'Workers that are at a key.',
      labels,
    }).labels({ controller }),
    max: gauge(registry, {
      name: 'controller_runtime_max_concurrent_reconciles',
      help: 'Reconciles that may run at a time.',
      labels,
    }).labels({ controller }),
  };
}
