import { type FatalCode, fatalExitCodes } from '../../../inference-pod/contract.ts';
import type { Stored } from '../../kube/object.ts';
import type { WorkerPod } from '../observe.ts';
import { lastTermination } from '../pod-state.ts';

export interface Failure {
  /** A `FailureReason`, or what an earlier version wrote. */
  reason: string;
  message: string;
}

const FATAL_CODES = new Map<number, FatalCode>(Object.entries(fatalExitCodes).map(([code, exit]) => [exit, code as FatalCode]));

/** The permanent failure that a worker's exit code tells, with the sentence from its termination message. */
export function permanentFailure(pods: readonly Stored<WorkerPod>[]): Failure | undefined {
  for (const pod of pods) {
    const ended = lastTermination(pod);
    const code = ended && FATAL_CODES.get(ended.exitCode);
    if (ended && code) return { reason: code, message: sentenceOf(ended.message) ?? `worker ${pod.metadata.name} ended with exit code ${ended.exitCode} (${code})` };
  }
  return undefined;
}

/** A worker writes `{"code", "message"}`; anything else in the log (a native crash) is not for users. */
function sentenceOf(terminationMessage: string | undefined): string | undefined {
  try {
    const parsed: unknown = JSON.parse(terminationMessage ?? '');
    if (typeof parsed === 'object' && parsed !== null && 'message' in parsed && typeof parsed.message === 'string') return parsed.message;
  } catch {
    return undefined;
  }
  return undefined;
}

/** The name of a worker that was killed at its memory limit, if one was. */
export function outOfMemory(pods: readonly Stored<WorkerPod>[]): string | undefined {
  return pods.find((pod) => lastTermination(pod)?.reason === 'OOMKilled')?.metadata.name;
}
