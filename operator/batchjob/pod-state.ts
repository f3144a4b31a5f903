import { labels, WORKER_CONTAINER } from '../api/names.ts';
import type { Stored } from '../kube/object.ts';
import type { ContainerStatus, WorkerPod } from './observe.ts';

/**
 * - pending: no container has run yet
 * - running: the worker's container runs, or will be restarted in place
 * - ending: being deleted, its process may still be alive
 * - lost: being deleted on a node that is not ready; nothing will come back, the slot is free
 * - succeeded, failed: terminal
 */
export type PodState = 'pending' | 'running' | 'ending' | 'lost' | 'succeeded' | 'failed';

export function podState(pod: WorkerPod, lostNodes: ReadonlySet<string>): PodState {
  if (pod.status?.phase === 'Succeeded') return 'succeeded';
  if (pod.status?.phase === 'Failed') return 'failed';
  if (pod.metadata.deletionTimestamp !== undefined) return lostNodes.has(pod.spec?.nodeName ?? '') ? 'lost' : 'ending';
  return pod.status?.phase === 'Running' ? 'running' : 'pending';
}

/** A pod that occupies its slot: while it lives, no other attempt of the slot may start. */
export const occupies = (state: PodState): boolean => state === 'pending' || state === 'running' || state === 'ending';

/** Not terminal and not known to be gone: a job is not finished while one is left. */
export const isLive = occupies;

export function slotOf(pod: Stored<WorkerPod>): number {
  return Number(pod.metadata.labels?.[labels.slot] ?? Number.NaN);
}

export function attemptOf(pod: Stored<WorkerPod>): number {
  return Number(pod.metadata.labels?.[labels.attempt] ?? Number.NaN);
}

export function workerContainer(pod: WorkerPod): ContainerStatus | undefined {
  return pod.status?.containerStatuses?.find((status) => status.name === WORKER_CONTAINER);
}

/** How the worker's process last ended, if it ever did. */
export function lastTermination(pod: WorkerPod): NonNullable<ContainerStatus['state']>['terminated'] | undefined {
  const container = workerContainer(pod);
  return container?.state?.terminated ?? container?.lastState?.terminated;
}
