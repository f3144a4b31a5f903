import type { Clock } from '../../kit/clock.ts';
import type { Log } from '../../kit/log.ts';
import type { Registry } from '../../kit/metrics.ts';
import { counter, gauge } from '../../kit/metrics.ts';
import type { KubeClient, Selection } from './client.ts';
import type { Kind } from './kinds.ts';
import type { KubeObject } from './object.ts';
import { reflect } from './reflector.ts';
import type { ReflectorTimings } from './reflector.ts';
import { Store } from './store.ts';
import type { Change, ReadonlyStore, StoreOptions } from './store.ts';

export interface InformerOptions<T extends KubeObject> extends StoreOptions<T> {
  client: Pick<KubeClient, 'list' | 'watch'>;
  kind: Kind;
  selection?: Selection;
  clock: Clock;
  log: Log;
  registry: Registry;
  timings?: ReflectorTimings;
}

export type Handler<T extends KubeObject> = (change: Change<T>) => void;

/**
 * A store that follows the API server, and tells its handlers of each change after the store has it. A handler that
 * throws is logged and harms neither the others nor the watch.
 */
export class Informer<T extends KubeObject> {
  readonly kind: Kind;
  readonly store: ReadonlyStore<T>;
  readonly #store: Store<T>;
  readonly #options: InformerOptions<T>;
  readonly #handlers: Handler<T>[] = [];
  readonly #synced = Promise.withResolvers<void>();
  readonly #panics;
  readonly #events;
  readonly #size;

  constructor(options: InformerOptions<T>) {
    if (!options.kind.watched)
      throw new TypeError(`${options.kind.kind} is not to be watched, says the table of kinds`);
    this.kind = options.kind;
    this.#options = options;
    this.#store = new Store<T>(options);
    this.store = this.#store;
    this.#panics = counter(options.registry, {
      name: 'millrace_informer_handler_errors_total',
      help: 'Errors thrown by handlers of watch events, by kind.',
      labels: ['kind'],
    });
    this.#events = counter(options.registry, {
      name: 'millrace_reflector_events_total',
      help: 'Lists, watches and failures of both, by kind and reason of the failure.',
      labels: ['kind', 'event', 'reason'],
    });
    this.#size = gauge(options.registry, {
      name: 'millrace_informer_objects',
      help: 'Objects in the cache, by kind.',
      labels: ['kind'],
    });
  }

  get hasSynced(): boolean {
    return this.store.hasSynced;
  }

  /** Resolves with the first full list, after the handlers were told of all of it. */
  get synced(): Promise<void> {
    return this.#synced.promise;
  }

  /** A handler that comes late is told of everything that is there as `add`. */
  onChange(handler: Handler<T>): void {
    this.#handlers.push(handler);
    for (const object of this.#store.values()) this.#call(handler, { type: 'add', object });
  }

  /** Runs until the signal aborts; never rejects. */
  run(signal: AbortSignal): Promise<void> {
    const { client, kind, selection, clock, log, timings } = this.#options;
    return reflect<T>(
      {
        client,
        kind,
        clock,
        log,
        ...(selection === undefined ? {} : { selection }),
        ...(timings === undefined ? {} : { timings }),
        observe: (event, reason) => this.#events.inc({ kind: kind.kind, event, reason }),
        sink: {
          shape: (item) => this.#store.shape(item),
          replace: (items) => {
            this.#tell(this.#store.replace(items));
            this.#synced.resolve();
          },
          event: (event) => {
            this.#tell(event.type === 'DELETED' ? this.#store.remove(event.object) : this.#store.upsert(event.object));
          },
        },
      },
      signal,
    );
  }

  #tell(changes: Change<T>[]): void {
    this.#size.set({ kind: this.kind.kind }, this.#store.size);
    for (const change of changes) {
      for (const handler of this.#handlers) this.#call(handler, change);
    }
  }

  #call(handler: Handler<T>, change: Change<T>): void {
    try {
      handler(change);
    } catch (error) {
      this.#panics.inc({ kind: this.kind.kind });
      this.#options.log.error({ kind: this.kind.kind, err: error }, 'a handler of watch events failed');
    }
  }
}
