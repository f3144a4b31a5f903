import type { KubeObject, Stored } from '../kube/object.ts';

/**
 * What this process wrote last, per object, until the cache has caught up. A plan on a cache that lags behind our own
 * status could take back what that status has decided, or tell it twice.
 */
export class OwnWrites<T extends KubeObject> {
  readonly #written = new Map<string, Stored<T>>();

  wrote(object: Stored<T>): void {
    this.#written.set(object.metadata.uid, object);
  }

  /** The newer of the cached object and our last write to it. */
  freshest(cached: Stored<T>): Stored<T> {
    const written = this.#written.get(cached.metadata.uid);
    if (written === undefined) return cached;
    if (isOlder(cached.metadata.resourceVersion, written.metadata.resourceVersion)) return written;
    this.#written.delete(cached.metadata.uid);
    return cached;
  }

  forget(uid: string): void {
    this.#written.delete(uid);
  }
}

/** Resource versions of one kind compare as integers (KEP-5504). */
function isOlder(a: string, b: string): boolean {
  return /^\d+$/.test(a) && /^\d+$/.test(b) && BigInt(a) < BigInt(b);
}
