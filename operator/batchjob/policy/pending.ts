import type { Stored } from '../../kube/object.ts';
import type { WorkerPod } from '../observe.ts';
import { podState, workerContainer } from '../pod-state.ts';
import type { Failure } from './failure.ts';

const IMAGE_REASONS = new Set(['ErrImagePull', 'ImagePullBackOff', 'InvalidImageName', 'ErrImageNeverPull', 'RegistryUnavailable']);

/** Why a pod that exists does not run, in the words of the scheduler or the kubelet. */
export interface Pending extends Failure {
  /** Nothing changes until a person does something. */
  stalled: boolean;
  sinceMs: number;
}

/** The most telling reason among the pods that do not run; undefined when all run or are just starting. */
export function whyPending(pods: readonly Stored<WorkerPod>[], lostNodes: ReadonlySet<string>, now: number): Pending | undefined {
  let unschedulable: Pending | undefined;
  for (const pod of pods) {
    if (podState(pod, lostNodes) !== 'pending') continue;
    const sinceMs = now - Date.parse(pod.metadata.creationTimestamp ?? '');
    const waiting = workerContainer(pod)?.state?.waiting;
    if (waiting?.reason !== undefined && IMAGE_REASONS.has(waiting.reason)) {
      return { reason: 'ImagePullFailed', message: `worker ${pod.metadata.name}: ${waiting.message ?? waiting.reason}`, stalled: true, sinceMs };
    }
    if (waiting?.reason === 'CreateContainerConfigError' || waiting?.reason === 'CreateContainerError') {
      return { reason: 'WorkerNotStarted', message: `worker ${pod.metadata.name}: ${waiting.message ?? waiting.reason}`, stalled: true, sinceMs };
    }
    const scheduled = pod.status?.conditions?.find(({ type }) => type === 'PodScheduled');
    if (scheduled?.status === 'False' && scheduled.reason === 'Unschedulable') {
      unschedulable ??= { reason: 'Unschedulable', message: `worker ${pod.metadata.name}: ${scheduled.message ?? 'no node fits'}`, stalled: false, sinceMs };
    }
  }
  return unschedulable;
}

/** The failure of a job whose image could not be pulled for `deadlineSeconds`. */
export function imagePullFailure(pending: Pending | undefined, deadlineSeconds: number): Failure | undefined {
  if (pending?.reason !== 'ImagePullFailed' || pending.sinceMs < deadlineSeconds * 1000) return undefined;
  return { reason: 'ImagePullFailed', message: `gave up after ${deadlineSeconds}s: ${pending.message}` };
}
