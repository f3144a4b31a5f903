import { exitCodes } from '../../inference-pod/contract.ts';
import { kueue, WORKER_CONTAINER } from '../api/names.ts';
import type { ContainerState, ContainerStatus, WorkerPod } from './observe.ts';

/**
 * - pending: no container has run yet
 * - running: the worker's container runs, or will be restarted in place
 * - ending: being deleted, its process may still be alive
 * - lost: being deleted, on a node that is not ready or before it had one; nothing will come back, the slot is free
 * - succeeded, failed: terminal
 */
export type PodState = 'pending' | 'running' | 'ending' | 'lost' | 'succeeded' | 'failed';

export function podState(pod: WorkerPod, lostNodes: ReadonlySet<string>): PodState {
  if (pod.status?.phase === 'Succeeded') return 'succeeded';
  if (pod.status?.phase === 'Failed') return 'failed';
  if (pod.metadata.deletionTimestamp !== undefined) return hasNode(pod) && !lostNodes.has(pod.spec?.nodeName ?? '') ? 'ending' : 'lost';
  return pod.status?.phase === 'Running' ? 'running' : 'pending';
}

/** A pod that is being deleted is not bound to a node any more; what still shows it is somebody's finalizer. */
const hasNode = ({ spec }: WorkerPod): boolean => (spec?.nodeName ?? '') !== '';

/** Kueue has not admitted the pod. */
export const isGated = ({ spec }: WorkerPod): boolean => spec?.schedulingGates?.some(({ name }) => name === kueue.gate) ?? false;

/** Not terminal and not lost. While one is left its slot gets no other attempt, and its job is not finished. */
export function isLive(state: PodState): boolean {
  return state === 'pending' || state === 'running' || state === 'ending';
}

/** Names are the identity of a worker: unlike labels nobody can change them. */
export const podName = (job: string, slot: number, attempt: number): string => `${job}-w${slot}-${attempt}`;

/** NaN for a name that is not a worker's. */
export function slotAndAttempt(name: string): { slot: number; attempt: number } {
  const match = NAME.exec(name);
  return { slot: Number(match?.[1] ?? Number.NaN), attempt: Number(match?.[2] ?? Number.NaN) };
}
export const slotOf = (pod: WorkerPod): number => slotAndAttempt(pod.metadata.name).slot;
export const attemptOf = (pod: WorkerPod): number => slotAndAttempt(pod.metadata.name).attempt;
const NAME = /-w(\d+)-(\d+)$/;

export function workerContainer(pod: WorkerPod): ContainerStatus | undefined {
  return pod.status?.containerStatuses?.find(({ name }) => name === WORKER_CONTAINER);
}

/** How the worker's process last ended, if it ever did. */
export function lastTermination(pod: WorkerPod): ContainerState['terminated'] {
  const container = workerContainer(pod);
  return container?.state?.terminated ?? container?.lastState?.terminated;
}

const NOT_A_CRASH: ReadonlySet<number> = new Set([exitCodes.done, exitCodes.retired, exitCodes.drained]);

/** Whether the worker's last process ended by itself and badly, before anyone asked the pod to go. */
export function hadCrashed(pod: WorkerPod): boolean {
  const ended = lastTermination(pod);
  if (!ended || NOT_A_CRASH.has(ended.exitCode) || workerContainer(pod)?.state?.running) return false;
  const { deletionTimestamp, deletionGracePeriodSeconds = 0 } = pod.metadata;
  // The API server sets the time of the deletion's end.
  return deletionTimestamp === undefined || Date.parse(ended.finishedAt ?? '') < Date.parse(deletionTimestamp) - deletionGracePeriodSeconds * 1000;
}
