import { exitCodes } from '../../inference-pod/contract.ts';
import type { Stored } from '../kube/object.ts';
import type { WorkerPod } from './observe.ts';
import { attemptOf, isLive, lastTermination, podState, slotOf, workerContainer } from './pod-state.ts';

/** Pods made for one job in one reconcile; the next one makes more. */
const MAX_CREATES = 50;
/** As many entries as the status holds. */
const MAX_SLOTS = 1_000;
/** A worker that was told to leave and has not is deleted after this. */
const LEAVE_MS = 10_000;
/** Terminal pods kept per slot for their logs. */
const KEPT_ENDED = 5;
/** A pod that lived shorter than this died young: its slot waits before the next attempt. */
const YOUNG_MS = 60_000;
/** A worker that crashed after working at least this long is replaced when the kubelet delays its restart. */
const WORKED_MS = 10_000;

export interface WorkerPool {
  create: SlotAttempt[];
  remove: Stored<WorkerPod>[];
  /** When a slot that waits may be filled, in milliseconds from now. */
  retryAfterMs?: number;
}

export interface SlotAttempt {
  slot: number;
  attempt: number;
}

export interface PoolSituation {
  pods: readonly Stored<WorkerPod>[];
  /** How many live pods there are to be, those that are dismissed not counted. */
  wanted: number;
  /** Names of pods that are to go, and since when (ms): their workers were told, and exit by themselves. */
  dismissed: ReadonlyMap<string, number>;
  /** Highest attempt made so far per slot, kept in status for pods that are gone. */
  lastAttempts: ReadonlyMap<number, number>;
  lostNodes: ReadonlySet<string>;
}

/**
 * Which worker pods to make and to delete, so that each slot has one live pod. An attempt number is never used twice, so
 * that a pod that is still ending somewhere can be told from its replacement.
 */
export function planWorkers({ pods, wanted, dismissed, lastAttempts, lostNodes }: PoolSituation, now: number): WorkerPool {
  const slots = Map.groupBy(pods.filter((pod) => Number.isInteger(slotOf(pod))), slotOf);
  const live = (pod: Stored<WorkerPod>): boolean => isLive(podState(pod, lostNodes));
  const pool: WorkerPool = { create: [], remove: [] };
  const later = (afterMs: number): void => {
    pool.retryAfterMs = Math.min(pool.retryAfterMs ?? afterMs, afterMs);
  };

  let staying = 0;
  for (const members of slots.values()) {
    const useless = members.filter((pod) => {
      if (!live(pod)) return false;
      const since = dismissed.get(pod.metadata.name);
      if (since === undefined) return isHeldBack(pod) || isRetired(pod);
      // One that never ran has nobody to tell.
      const left = podState(pod, lostNodes) === 'pending' ? 0 : since + LEAVE_MS - now;
      if (left > 0) later(left);
      return left <= 0;
    });
    const ended = members.filter((pod) => isTerminal(pod, lostNodes)).sort((a, b) => attemptOf(b) - attemptOf(a));
    pool.remove.push(...[...useless, ...ended.slice(KEPT_ENDED)].filter(({ metadata }) => metadata.deletionTimestamp === undefined));
    if (members.some((pod) => live(pod) && !dismissed.has(pod.metadata.name))) staying++;
  }

  let room = Math.min(MAX_CREATES, wanted - staying);
  for (let slot = 0; slot < MAX_SLOTS && room > 0; slot++) {
    const members = slots.get(slot) ?? [];
    if (members.some(live)) continue;
    const delay = backoffMs(members, lostNodes, now);
    // A slot that waits is one of those that are wanted, or the next one would be tried in its place at once.
    room--;
    if (delay > 0) {
      later(delay);
      continue;
    }
    const last = Math.max(lastAttempts.get(slot) ?? -1, ...members.map(attemptOf));
    pool.create.push({ slot, attempt: last + 1 });
  }
  return pool;
}

function isTerminal(pod: WorkerPod, lostNodes: ReadonlySet<string>): boolean {
  const state = podState(pod, lostNodes);
  return state === 'failed' || state === 'succeeded';
}

/** A worker that did real work, crashed again and is now held back by the kubelet: a new pod starts at once. */
function isHeldBack(pod: WorkerPod): boolean {
  if (workerContainer(pod)?.state?.waiting?.reason !== 'CrashLoopBackOff') return false;
  const ended = lastTermination(pod);
  return Date.parse(ended?.finishedAt ?? '') - Date.parse(ended?.startedAt ?? '') >= WORKED_MS;
}

/** A worker that was told that its slot is another's: it would be told the same after every restart. */
function isRetired(pod: WorkerPod): boolean {
  return lastTermination(pod)?.exitCode === exitCodes.retired;
}

/** Milliseconds until a slot whose pods keep dying young may have its next attempt: 1, 2, 4, 8, 16 s after the last death. */
function backoffMs(members: readonly WorkerPod[], lostNodes: ReadonlySet<string>, now: number): number {
  // One that was deleted did not die by itself; a finalizer may still show it.
  const ended = members.filter((pod) => isTerminal(pod, lostNodes) && pod.metadata.deletionTimestamp === undefined).sort((a, b) => attemptOf(b) - attemptOf(a));
  const old = ended.findIndex((pod) => !(diedAt(pod) - bornAt(pod) < YOUNG_MS));
  const deaths = Math.min(old === -1 ? ended.length : old, KEPT_ENDED);
  const newest = ended[0];
  if (!newest || deaths === 0) return 0;
  return Math.max(0, diedAt(newest) + 1000 * 2 ** (deaths - 1) - now);
}

const bornAt = (pod: WorkerPod): number => Date.parse(pod.metadata.creationTimestamp ?? '');

/** A pod that no container of which ever ran (a node that refused it) died at birth. */
function diedAt(pod: WorkerPod): number {
  const finished = Date.parse(lastTermination(pod)?.finishedAt ?? '');
  return Number.isNaN(finished) ? bornAt(pod) : finished;
}
