import type { Stored } from '../kube/object.ts';
import type { WorkerPod } from './observe.ts';
import { attemptOf, lastTermination, occupies, podState, slotOf, workerContainer } from './pod-state.ts';

/** Pods made for one job in one reconcile; the next one makes more. */
const MAX_CREATES = 50;
/** Failed pods kept per slot for their logs. */
const KEPT_FAILED = 5;
/** A pod that lived shorter than this died young: its slot waits before the next attempt. */
const YOUNG_MS = 60_000;
/** The kubelet delays restarts of a pod whose process worked at least this long; a fresh pod starts at once. */
const WORKED_MS = 10_000;

export interface WorkerPool {
  create: { slot: number; attempt: number }[];
  remove: Stored<WorkerPod>[];
  /** When a slot that waits may be filled, in milliseconds from now. */
  retryAfterMs?: number;
}

/**
 * Which worker pods to make and to delete, so that slots 0 … wanted-1 have one live pod each. An attempt number is never
 * used twice, so a pod that is still ending somewhere can be told from its replacement.
 *
 * - `wanted`: slots to fill; pods in higher slots are deleted.
 * - `outstanding`: shards nobody has completed; no pod is made beyond that, but none is deleted for it either.
 * - `lastAttempts`: highest attempt made so far per slot, kept in status for pods that are gone.
 */
export function planWorkers(
  pods: Stored<WorkerPod>[],
  wanted: number,
  outstanding: number,
  lastAttempts: ReadonlyMap<number, number>,
  lostNodes: ReadonlySet<string>,
  now: number,
): WorkerPool {
  const slots = Map.groupBy(pods.filter((pod) => Number.isInteger(slotOf(pod))), slotOf);
  const live = (pod: Stored<WorkerPod>): boolean => occupies(podState(pod, lostNodes));
  const pool: WorkerPool = { create: [], remove: [] };
  let room = Math.min(MAX_CREATES, Math.max(0, Math.min(wanted, outstanding) - pods.filter((pod) => live(pod) && slotOf(pod) < wanted).length));

  for (const [slot, members] of slots) {
    for (const pod of members) {
      const deletable = pod.metadata.deletionTimestamp === undefined;
      if (slot >= wanted && deletable && live(pod)) pool.remove.push(pod);
      else if (deletable && isHeldBack(pod)) pool.remove.push(pod);
    }
    const failed = members.filter((pod) => podState(pod, lostNodes) === 'failed').sort((a, b) => attemptOf(b) - attemptOf(a));
    pool.remove.push(...failed.slice(KEPT_FAILED).filter((pod) => pod.metadata.deletionTimestamp === undefined));
  }

  for (let slot = 0; slot < wanted && room > 0; slot++) {
    const members = slots.get(slot) ?? [];
    if (members.some(live)) continue;
    const delay = backoffMs(members, lostNodes, now);
    if (delay > 0) {
      pool.retryAfterMs = Math.min(pool.retryAfterMs ?? Number.POSITIVE_INFINITY, delay);
      continue;
    }
    const last = Math.max(lastAttempts.get(slot) ?? -1, ...members.map(attemptOf));
    pool.create.push({ slot, attempt: last + 1 });
    room--;
  }
  return pool;
}

/** A worker that did real work, crashed again and is now held back by the kubelet: a new pod starts at once. */
function isHeldBack(pod: WorkerPod): boolean {
  if (workerContainer(pod)?.state?.waiting?.reason !== 'CrashLoopBackOff') return false;
  const ended = lastTermination(pod);
  return Date.parse(ended?.finishedAt ?? '') - Date.parse(ended?.startedAt ?? '') >= WORKED_MS;
}

/** Milliseconds until a slot whose pods keep failing young may have its next attempt: 1, 2, 4, 8, 16 s. */
function backoffMs(members: Stored<WorkerPod>[], lostNodes: ReadonlySet<string>, now: number): number {
  const failed = members.filter((pod) => podState(pod, lostNodes) === 'failed');
  if (failed.length === 0) return 0;
  const newest = failed.reduce((a, b) => (attemptOf(a) > attemptOf(b) ? a : b));
  const born = Date.parse(newest.metadata.creationTimestamp ?? '');
  const died = Date.parse(lastTermination(newest)?.finishedAt ?? newest.metadata.creationTimestamp ?? '');
  if (!(died - born < YOUNG_MS)) return 0;
  return Math.max(0, died + 1000 * 2 ** (Math.min(failed.length, KEPT_FAILED) - 1) - now);
}
