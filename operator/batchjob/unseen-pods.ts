import { keyOf, type KubeObject, type Stored } from '../kube/object.ts';
import type { WorkerPod } from './observe.ts';

/** After this long without an event, a pod that was made is believed to be gone again. */
const FORGET_MS = 30_000;

/**
 * Pods that were made but that the cache does not show yet. Without them a plan on a stale cache would fill the same
 * slot a second time, under the next attempt's name.
 */
export class UnseenPods {
  readonly #pods = new Map<string, { pod: Stored<WorkerPod>; jobUid: string; madeAt: number }>();

  /** `now`: monotonic milliseconds. */
  made(jobUid: string, pod: KubeObject, now: number): void {
    const metadata = { ...pod.metadata, uid: '', resourceVersion: '', creationTimestamp: new Date().toISOString() };
    this.#pods.set(keyOf(pod.metadata), { pod: { ...pod, metadata, status: { phase: 'Pending' } }, jobUid, madeAt: now });
  }

  /** The POST failed or was refused. One that failed without an answer is found by its name (AlreadyExists) next time. */
  failed(pod: KubeObject): void {
    this.#pods.delete(keyOf(pod.metadata));
  }

  /** Any event about a pod of this name: the cache knows better from now on. */
  seen(key: string): void {
    this.#pods.delete(key);
  }

  of(jobUid: string, now: number): Stored<WorkerPod>[] {
    const pods: Stored<WorkerPod>[] = [];
    for (const [key, entry] of this.#pods) {
      if (now - entry.madeAt > FORGET_MS) this.#pods.delete(key);
      else if (entry.jobUid === jobUid) pods.push(entry.pod);
    }
    return pods;
  }
}
