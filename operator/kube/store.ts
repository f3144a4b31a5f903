import type { KubeObject, Stored } from './object.ts';
import { keyOf } from './object.ts';

/** What happened to one object. A name that was taken over by another UID is a delete and an add, never an update. */
export type Change<T extends KubeObject> =
  | { type: 'add'; object: Stored<T> }
  | { type: 'update'; object: Stored<T>; old: Stored<T> }
  | { type: 'delete'; object: Stored<T> };

/** The values under which an object is found in an index; none leaves it out. */
export type IndexFunction<T extends KubeObject> = (object: Stored<T>) => readonly string[];

/** Objects in a store are frozen to the bottom: they are shared by all readers. */
export interface ReadonlyStore<T extends KubeObject> {
  readonly size: number;
  readonly hasSynced: boolean;
  get(key: string): Stored<T> | undefined;
  /** Every object, in no order. */
  values(): IterableIterator<Stored<T>>;
  list(): Stored<T>[];
  byIndex(index: string, value: string): Stored<T>[];
}

export interface StoreOptions<T extends KubeObject> {
  indexes?: Record<string, IndexFunction<T>>;
  /** Applied to each object before it is frozen and kept; default drops `managedFields`. May change what it is given. */
  transform?: (object: Stored<T>) => Stored<T>;
}

export function dropManagedFields<T extends KubeObject>(object: Stored<T>): Stored<T> {
  delete object.metadata.managedFields;
  return object;
}

/** Of `managedFields` only who wrote last, all that wrote in that second, without the fields. */
export function keepLastWriters<T extends KubeObject>(object: Stored<T>): Stored<T> {
  const entries = (object.metadata.managedFields ?? []).filter(({ subresource = '' }) => subresource === '');
  const last = entries.reduce((newest, { time = '' }) => (time > newest ? time : newest), '');
  object.metadata.managedFields = entries.filter(({ time = '' }) => time === last).map(({ manager = '', time = '' }) => ({ manager, time }));
  return object;
}

export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const child of Object.values(value)) deepFreeze(child);
  }
  return value;
}

/**
 * Cache of one kind by `namespace/name`, with named indexes. Each write returns the changes that it made, in the order
 * in which they are to be told.
 */
export class Store<T extends KubeObject> implements ReadonlyStore<T> {
  readonly #objects = new Map<string, Stored<T>>();
  readonly #functions: ReadonlyMap<string, IndexFunction<T>>;
  readonly #indexes = new Map<string, Map<string, Set<string>>>();
  readonly #transform: (object: Stored<T>) => Stored<T>;
  #synced = false;

  constructor(options: StoreOptions<T> = {}) {
    this.#functions = new Map(Object.entries(options.indexes ?? {}));
    for (const name of this.#functions.keys()) this.#indexes.set(name, new Map());
    this.#transform = options.transform ?? dropManagedFields;
  }

  get size(): number {
    return this.#objects.size;
  }

  /** True once a full list has been taken in. */
  get hasSynced(): boolean {
    return this.#synced;
  }

  get(key: string): Stored<T> | undefined {
    return this.#objects.get(key);
  }

  values(): IterableIterator<Stored<T>> {
    return this.#objects.values();
  }

  list(): Stored<T>[] {
    return [...this.#objects.values()];
  }

  byIndex(index: string, value: string): Stored<T>[] {
    const values = this.#indexes.get(index);
    if (values === undefined) throw new TypeError(`the store has no index "${index}"`);
    const found: Stored<T>[] = [];
    for (const key of values.get(value) ?? []) {
      const object = this.#objects.get(key);
      if (object !== undefined) found.push(object);
    }
    return found;
  }

  /** What is kept of an object. Frozen ones have their shape already. */
  shape(object: Stored<T>): Stored<T> {
    return Object.isFrozen(object) ? object : deepFreeze(this.#transform(object));
  }

  /** Takes a full list: what is missing in it is deleted, what has the same UID and resourceVersion is left alone. */
  replace(items: Iterable<Stored<T>>): Change<T>[] {
    const changes: Change<T>[] = [];
    const gone = new Set(this.#objects.keys());
    for (const item of items) {
      gone.delete(keyOf(item.metadata));
      changes.push(...this.upsert(item));
    }
    for (const key of gone) {
      const object = this.#drop(key);
      if (object !== undefined) changes.push({ type: 'delete', object });
    }
    this.#synced = true;
    return changes;
  }

  upsert(incoming: Stored<T>): Change<T>[] {
    const key = keyOf(incoming.metadata);
    const old = this.#objects.get(key);
    if (
      old?.metadata.uid === incoming.metadata.uid &&
      old.metadata.resourceVersion === incoming.metadata.resourceVersion
    ) {
      return [];
    }
    const object = this.shape(incoming);
    if (old === undefined) {
      this.#put(key, object);
      return [{ type: 'add', object }];
    }
    this.#drop(key);
    this.#put(key, object);
    return old.metadata.uid === object.metadata.uid
      ? [{ type: 'update', object, old }]
      : [
          { type: 'delete', object: old },
          { type: 'add', object },
        ];
  }

  /** Forgets the object; the change tells its last state. A late delete of an earlier UID does nothing. */
  remove(last: Stored<T>): Change<T>[] {
    const key = keyOf(last.metadata);
    const known = this.#objects.get(key);
    if (known === undefined || known.metadata.uid !== last.metadata.uid) return [];
    this.#drop(key);
    return [{ type: 'delete', object: this.shape(last) }];
  }

  #put(key: string, object: Stored<T>): void {
    this.#objects.set(key, object);
    for (const [name, values] of this.#indexes) {
      for (const value of this.#functions.get(name)?.(object) ?? []) {
        const keys = values.get(value);
        if (keys === undefined) values.set(value, new Set([key]));
        else keys.add(key);
      }
    }
  }

  #drop(key: string): Stored<T> | undefined {
    const object = this.#objects.get(key);
    if (object === undefined) return undefined;
    this.#objects.delete(key);
    for (const [name, values] of this.#indexes) {
      for (const value of this.#functions.get(name)?.(object) ?? []) {
        const keys = values.get(value);
        keys?.delete(key);
        if (keys?.size === 0) values.delete(value);
      }
    }
    return object;
  }
}
