import { kueue } from '../../api/names.ts';
import type { Stored } from '../../kube/object.ts';
import type { WorkerPod } from '../observe.ts';
import { isGated, isLive, lastTermination, podState, workerContainer } from '../pod-state.ts';
import type { Trouble } from '../state.ts';
import type { Failure } from './failure.ts';

const IMAGE_REASONS = new Set(['ErrImagePull', 'ImagePullBackOff', 'InvalidImageName', 'ErrImageNeverPull', 'RegistryUnavailable']);
/** A scheduled pod usually starts within seconds; after this it is told that it has not. */
const START_MS = 60_000;

/** Why a pod that exists does not run, in the words of the scheduler or the kubelet. `stalled`: and no other pod runs either. */
export interface Pending extends Trouble {
  /** How long its node has had it; 0 before it has a node. */
  scheduledMs: number;
}

/** The most telling reason among the pods that do not run; undefined when all run or are just starting. */
export function whyPending(pods: readonly Stored<WorkerPod>[], lostNodes: ReadonlySet<string>, now: number): Pending | undefined {
  const running = pods.some((pod) => podState(pod, lostNodes) === 'running' && !isCrashing(pod));
  const found = pods
    .map((pod) => whyNotRunning(pod, lostNodes, now))
    .concat(whyGated(pods, lostNodes))
    .filter((pending) => pending !== undefined)
    .sort((a, b) => RANK.indexOf(a.reason) - RANK.indexOf(b.reason) || b.scheduledMs - a.scheduledMs);
  return found[0] && { ...found[0], stalled: found[0].stalled && !running };
}

const RANK: Pending['reason'][] = ['ImagePullFailed', 'WorkerCrashing', 'WorkerNotStarted', 'Unschedulable', 'WaitingForKueue'];

/** What all workers behind Kueue's gate wait for together. */
function whyGated(pods: readonly Stored<WorkerPod>[], lostNodes: ReadonlySet<string>): Pending | undefined {
  const live = pods.filter((pod) => isLive(podState(pod, lostNodes)));
  const gated = live.filter(isGated);
  const [first] = gated;
  if (!first) return undefined;
  const queue = first.metadata.labels?.[kueue.queueLabel] ?? '';
  const unnoticed = gated.every(({ metadata }) => metadata.uid !== '' && metadata.labels?.[kueue.managedLabel] === undefined);
  const hint = unnoticed ? `; Kueue has not marked them as its own: is it there, with its pod integration, and does it manage namespace ${first.metadata.namespace}?` : '';
  return { reason: 'WaitingForKueue', message: `waiting for Kueue: ${live.length - gated.length} of ${live.length} worker(s) admitted by queue ${queue}${hint}`, stalled: false, scheduledMs: 0 };
}

function whyNotRunning(pod: WorkerPod, lostNodes: ReadonlySet<string>, now: number): Pending | undefined {
  const { name } = pod.metadata;
  const state = podState(pod, lostNodes);
  if (state === 'running' && isCrashing(pod)) return { reason: 'WorkerCrashing', message: crashMessage(pod), stalled: false, scheduledMs: scheduledMs(pod, now) };
  if (state !== 'pending') return undefined;
  const waiting = workerContainer(pod)?.state?.waiting;
  const common = { stalled: true, scheduledMs: scheduledMs(pod, now) };
  if (waiting?.reason !== undefined && IMAGE_REASONS.has(waiting.reason)) {
    return { reason: 'ImagePullFailed', message: `worker ${name}: ${waiting.message ?? waiting.reason}`, ...common };
  }
  if (waiting?.reason === 'CreateContainerConfigError' || waiting?.reason === 'CreateContainerError') {
    return { reason: 'WorkerNotStarted', message: `worker ${name}: ${waiting.message ?? waiting.reason}`, ...common };
  }
  const scheduled = pod.status?.conditions?.find(({ type }) => type === 'PodScheduled');
  if (scheduled?.status === 'False' && scheduled.reason === 'Unschedulable') {
    return { reason: 'Unschedulable', message: `worker ${name}: ${scheduled.message ?? 'no node fits'}`, stalled: false, scheduledMs: 0 };
  }
  if (common.scheduledMs < START_MS) return undefined;
  return {
    reason: 'WorkerNotStarted',
    message: `worker ${name} has been on node ${pod.spec?.nodeName} for over a minute and has not started; "kubectl describe pod ${name}" tells why`,
    stalled: false,
    scheduledMs: common.scheduledMs,
  };
}

const isCrashing = (pod: WorkerPod): boolean => workerContainer(pod)?.state?.waiting?.reason === 'CrashLoopBackOff';

function crashMessage(pod: WorkerPod): string {
  const { name } = pod.metadata;
  const ended = lastTermination(pod);
  const how = ended?.reason === 'OOMKilled' ? 'was killed at its memory limit' : `ended with exit code ${ended?.exitCode ?? 'unknown'}`;
  return `worker ${name} ${how} and waits to be restarted, ${workerContainer(pod)?.restartCount ?? 0} restart(s) so far; "kubectl logs ${name} --previous" tells more`;
}

function scheduledMs(pod: WorkerPod, now: number): number {
  const scheduled = pod.status?.conditions?.find(({ type, status }) => type === 'PodScheduled' && status === 'True');
  const since = Date.parse(scheduled?.lastTransitionTime ?? '');
  return Number.isNaN(since) ? 0 : Math.max(0, now - since);
}

/** When a pod that is starting, or whose image is not found, is to be looked at again though nothing may happen to it. */
export function pendingCheckMs(pods: readonly Stored<WorkerPod>[], lostNodes: ReadonlySet<string>, deadlineSeconds: number, now: number): number | undefined {
  const times = pods
    .filter((pod) => podState(pod, lostNodes) === 'pending')
    .flatMap((pod) => [START_MS - scheduledMs(pod, now), deadlineSeconds * 1000 - scheduledMs(pod, now)])
    .filter((ms) => ms > 0);
  return times.length === 0 ? undefined : Math.min(...times);
}

/** The failure of a job none of whose workers runs, because an image could not be pulled for `deadlineSeconds`. */
export function imagePullFailure(pending: Pending | undefined, deadlineSeconds: number): Failure | undefined {
  if (pending?.reason !== 'ImagePullFailed' || !pending.stalled || pending.scheduledMs < deadlineSeconds * 1000) return undefined;
  return { reason: 'ImagePullFailed', message: `gave up after ${deadlineSeconds}s: ${pending.message}` };
}
