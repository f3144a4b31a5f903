import type { WorkerEngine } from '../../inference-pod/contract.ts';
import type { BatchJobStatus } from '../api/batchjob.gen.ts';
import { rateText } from '../dispatch/progress-text.ts';
import type { Observed, StoredBatchJob } from './observe.ts';
import { attemptOf, podState, slotOf } from './pod-state.ts';
import type { SlotAttempt } from './workers.ts';
import { timestamp } from './text.ts';

/** The heartbeat of a quiet worker is written this often; otherwise along with progress. */
const HEARTBEAT_STEP_MS = 10_000;

/** A running pod that has not synced yet is starting. */
const POD_STATES = { pending: 'Pending', running: 'Starting', ending: 'Ending', lost: 'Lost', succeeded: 'Succeeded', failed: 'Failed' } as const;

type Entry = NonNullable<BatchJobStatus['workers']>[number];

/** One entry per slot that ever had a pod: the attempt number must outlive the pod. */
export function workerEntries(job: StoredBatchJob, observed: Observed, made: readonly SlotAttempt[], now: number): Entry[] {
  const entries = new Map<number, Entry>();
  const before = new Map((job.status?.workers ?? []).map((entry) => [entry.slot, entry]));
  for (const { slot, attempt } of before.values()) entries.set(slot, { slot, ...(attempt === undefined ? {} : { attempt }), state: 'Gone' });
  for (const pod of observed.pods) {
    const [slot, attempt] = [slotOf(pod), attemptOf(pod)];
    if (!Number.isInteger(slot) || (entries.get(slot)?.attempt ?? -1) > attempt) continue;
    entries.set(slot, { slot, attempt, state: POD_STATES[podState(pod, observed.lostNodes)] });
  }
  for (const worker of observed.ledger?.progress.workers ?? []) {
    const entry = entries.get(worker.slot);
    if (entry?.attempt !== worker.attempt || entry.state !== POD_STATES.running) continue;
    const old = before.get(worker.slot);
    const sameAttempt = old?.attempt === worker.attempt ? old : undefined;
    // A new leader hears of the engine with the worker's next sync only.
    const engine = worker.load.engine ? engineEntry(worker.load.engine) : sameAttempt?.engine;
    entries.set(worker.slot, {
      ...entry,
      state: worker.state,
      ...(worker.shard === undefined ? {} : { shard: `${worker.shard}` }),
      ...(worker.state === 'Working' ? { rate: rateText({ phase: 'Running', rate: worker.rate }) } : {}),
      heartbeatTime: heartbeat(now - worker.heartbeatAgeMs, sameAttempt?.heartbeatTime),
      ...(engine === undefined ? {} : { engine }),
    });
  }
  for (const { slot, attempt } of made) entries.set(slot, { slot, attempt, state: POD_STATES.pending });
  return [...entries.values()].sort((a, b) => a.slot - b.slot);
}

function engineEntry({ provider, device, runtime }: WorkerEngine): NonNullable<Entry['engine']> {
  return { provider, device, runtime };
}

function heartbeat(heard: number, written: string | undefined): string {
  if (written !== undefined && Math.abs(heard - Date.parse(written)) < HEARTBEAT_STEP_MS) return written;
  return timestamp(heard);
}
