import type { BatchJobSpec, BatchJobStatus } from '../api/batchjob.gen.ts';
import { labels } from '../api/names.ts';
import { etaText, progressText, rateText } from '../dispatch/progress-text.ts';
import { conditionsOf } from './conditions.ts';
import { atWork, messageOf, wantedWorkers } from './message.ts';
import { duplicateOf, resultOfOriginal } from './duplicate.ts';
import type { Observed, StoredBatchJob } from './observe.ts';
import { isGated, isLive, podState } from './pod-state.ts';
import type { Situation, State } from './state.ts';
import { shorten, timestamp } from './text.ts';
import { workerEntries } from './worker-entries.ts';

/** The whole status, from what was observed. What the ledger does not know (any more) is kept as it stands. */
export function statusOf(job: StoredBatchJob, observed: Observed, situation: Situation, state: State, now: number): BatchJobStatus {
  const { metadata, spec, status: before = {} } = job;
  const { made, spread } = situation;
  const workers = observed.pods.filter((pod) => isLive(podState(pod, observed.lostNodes))).length + made.length;
  // A worker that waits for Kueue has not started anything.
  const started = (made.length > 0 && spec.queueName === undefined) || observed.pods.some((pod) => isLive(podState(pod, observed.lostNodes)) && !isGated(pod));
  const finished = state === 'Complete' || state === 'Failed';
  const completionTime = state === 'Complete' ? (before.completionTime ?? timestamp(now)) : undefined;
  // Set anew on resume, as in batch/v1, so that a deadline does not count the time in between.
  const startTime = state === 'Suspended' ? undefined : (before.startTime ?? (started ? timestamp(now) : undefined));
  const seconds = secondsBetween(startTime, completionTime);
  const message = messageOf(job, observed, situation, state, seconds);
  const tenant = observed.tenant?.name ?? before.tenant;
  const original = duplicateOf(job, observed);
  const folder = outputFolder(spec.output);
  return {
    ...(metadata.generation === undefined ? {} : { observedGeneration: metadata.generation }),
    state,
    message: shorten(message, 2048),
    ...queueFields(observed, state),
    ...(original === undefined ? {} : { duplicateOf: original }),
    ...(tenant === undefined ? {} : { tenant }),
    model: spec.model.image ?? `${spec.model.volume?.claimName}/${spec.model.path}`,
    ...progressFields(job, observed, state, seconds, now),
    replicas: workers,
    selector: `${labels.jobUid}=${metadata.uid}`,
    readyWorkers: `${atWork(observed)}/${finished || original !== undefined ? 0 : wantedWorkers(job, spread)}`,
    ...(finished ? {} : { workers: workerEntries(job, observed, made, now) }),
    output: shorten(`${folder}results.jsonl`, 2048),
    errors: shorten(`${folder}errors.jsonl`, 2048),
    ...(startTime === undefined ? {} : { startTime }),
    ...(completionTime === undefined ? {} : { completionTime }),
    conditions: conditionsOf(job, observed, situation, state, message, now),
  };
}

function queueFields({ grant }: Observed, state: State): Pick<BatchJobStatus, 'queuePosition' | 'startEstimate'> {
  if (state !== 'Pending' || !grant) return {};
  return {
    ...(grant.position === undefined ? {} : { queuePosition: grant.position }),
    ...(grant.startEstimate === undefined ? {} : { startEstimate: timestamp(grant.startEstimate) }),
  };
}

function secondsBetween(start: string | undefined, end: string | undefined): number | undefined {
  const seconds = Math.round((Date.parse(end ?? '') - Date.parse(start ?? '')) / 1000);
  return Number.isNaN(seconds) ? undefined : Math.max(0, seconds);
}

/** `data/out/` for claim "data" and path "out" or "./out/"; `s3://bucket/out/` for prefix "out". */
function outputFolder({ volume, s3 }: BatchJobSpec['output']): string {
  const place = s3 ? `${s3.bucket}/${s3.prefix}` : `${volume?.claimName}/${volume?.path}`;
  const parts = place.split('/').filter((part) => part !== '' && (s3 !== undefined || part !== '.'));
  return `${s3 ? 's3://' : ''}${parts.map((part) => `${part}/`).join('')}`;
}

type ProgressFields = Pick<BatchJobStatus, 'progress' | 'rate' | 'eta' | 'items' | 'shards' | 'lastCheckpointTime'>;

function progressFields(job: StoredBatchJob, observed: Observed, state: State, seconds: number | undefined, now: number): ProgressFields {
  const before = job.status ?? {};
  const { progress = '0%', items: oldItems, shards, lastCheckpointTime } = before;
  const kept: ProgressFields = {
    progress,
    ...(oldItems === undefined ? {} : { items: oldItems }),
    ...(shards === undefined ? {} : { shards }),
    ...(lastCheckpointTime === undefined ? {} : { lastCheckpointTime }),
  };
  const shared = resultOfOriginal(observed);
  if (shared) return shared;
  if (!observed.ledger?.progress.plan) return { ...kept, ...overallRate(state, oldItems, seconds) };

  const { progress: current, saved } = observed.ledger;
  const { succeeded, failed, total, exact } = current.items;
  // A new leader knows only the completed shards until the workers report: what was durable once stays told.
  const behind = current.phase !== 'Finished' && succeeded + failed < (oldItems?.succeeded ?? 0) + (oldItems?.failed ?? 0);
  const items = behind && oldItems ? oldItems : {
    total,
    succeeded,
    failed,
    ...(exact ? {} : { estimated: true }),
    ...(saved.firstError === undefined ? {} : { firstError: shorten(saved.firstError, 512) }),
  };
  const moved = oldItems?.succeeded !== items.succeeded || oldItems?.failed !== items.failed;
  const running = state === 'Running' && current.phase === 'Running';
  return {
    ...kept,
    progress: behind ? progress : progressText(current),
    ...(running ? { rate: rateText(current) } : overallRate(state, items, seconds)),
    ...(running && current.etaSeconds !== undefined ? { eta: etaText(current) } : {}),
    items,
    shards: {
      total: current.shards.total,
      completed: current.shards.completed,
      leased: current.shards.leased,
      retried: current.shards.retried,
      bytes: current.bytes.total,
      files: observed.ledger.progress.plan.files,
      committed: { ...saved.items, bytes: saved.bytes },
    },
    ...(moved && current.checkpointAgeMs !== undefined ? { lastCheckpointTime: timestamp(now - current.checkpointAgeMs) } : {}),
  };
}

/** Items per second from start to end, for a job that is complete. */
function overallRate(state: State, items: BatchJobStatus['items'], seconds: number | undefined): { rate?: string } {
  if (state !== 'Complete' || !items || seconds === undefined) return {};
  const rate = ((items.succeeded ?? 0) + (items.failed ?? 0)) / Math.max(1, seconds);
  return { rate: rateText({ phase: 'Running', rate }) };
}
