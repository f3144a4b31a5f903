import type { BatchJobStatus } from '../api/batchjob.gen.ts';
import { labels } from '../api/names.ts';
import { etaText, progressText, rateText } from '../dispatch/progress-text.ts';
import type { PlannedEvent } from '../runtime/plan.ts';
import { conditionsOf } from './conditions.ts';
import type { Observed, StoredBatchJob } from './observe.ts';
import { attemptOf, isLive, podState, slotOf } from './pod-state.ts';
import type { Situation, State } from './state.ts';

/** The heartbeat of a quiet worker is written this often; otherwise along with progress. */
const HEARTBEAT_STEP_MS = 10_000;

/** The whole status, from what was observed. What the ledger does not know (any more) is kept as it stands. */
export function statusOf(job: StoredBatchJob, observed: Observed, situation: Situation, state: State, now: number): BatchJobStatus {
  const before = job.status ?? {};
  const live = observed.pods.filter((pod) => isLive(podState(pod, observed.lostNodes)));
  const finished = state === 'Complete' || state === 'Failed';
  const completionTime = state === 'Complete' ? (before.completionTime ?? timestamp(now)) : undefined;
  const startTime = startTimeOf(job, state, live.length + situation.created > 0, now);
  const message = messageOf(job, observed, situation, state, startTime, completionTime);
  const out: BatchJobStatus = {
    ...(job.metadata.generation === undefined ? {} : { observedGeneration: job.metadata.generation }),
    state,
    message: message.slice(0, 2048),
    ...(observed.tenant ? { tenant: observed.tenant.name } : before.tenant === undefined ? {} : { tenant: before.tenant }),
    model: job.spec.model.image ?? `${job.spec.model.volume?.claimName}/${job.spec.model.path}`,
    ...progressFields(job, observed, state, startTime, completionTime, now),
    replicas: live.length + situation.created,
    selector: `${labels.jobUid}=${job.metadata.uid}`,
    readyWorkers: `${atWork(observed)}/${finished ? 0 : wanted(job, situation)}`,
    ...(finished ? {} : { workers: workersOf(job, observed, situation, now) }),
    output: `${job.spec.output.volume.claimName}/${resultsFolder(job)}results.jsonl`,
    errors: `${job.spec.output.volume.claimName}/${resultsFolder(job)}errors.jsonl`,
    ...(startTime === undefined ? {} : { startTime }),
    ...(completionTime === undefined ? {} : { completionTime }),
    conditions: conditionsOf(job, situation, state, message, now),
  };
  return out;
}

/** Transitions worth an event; repeats of the same state make none. */
export function eventsOf(job: StoredBatchJob, observed: Observed, situation: Situation, status: BatchJobStatus): PlannedEvent[] {
  const events: PlannedEvent[] = [];
  const before = job.status;
  const message = (status.message ?? '').slice(0, 1000);
  const trouble = (list: BatchJobStatus | undefined): string | undefined =>
    list?.conditions?.find(({ type, status: on }) => (type === 'Stalled' || type === 'Reconciling') && on === 'True' && list.state !== 'Failed')?.reason;
  if (situation.created > 0) {
    const replaced = situation.pool.create.filter(({ attempt }) => attempt > 0).map(({ slot, attempt }) => `w${slot}-${attempt}`);
    events.push({ type: 'Normal', reason: 'WorkersCreated', action: 'Scale', note: `Created ${situation.created} worker pod(s)${replaced.length > 0 ? `, in place of lost ones: ${replaced.slice(0, 10).join(', ')}` : ''}` });
  }
  const obstacle = situation.obstacle ?? situation.pending;
  if (obstacle && status.state !== 'Suspended' && trouble(before) !== trouble(status)) {
    events.push({ type: 'Warning', reason: obstacle.reason, action: 'Admit', note: message });
  }
  if (before?.state !== status.state) {
    if (status.state === 'Running') events.push({ type: 'Normal', reason: 'Planned', action: 'Plan', note: plannedNote(status) });
    if (status.state === 'Suspended') events.push({ type: 'Normal', reason: 'Suspended', action: 'Suspend', note: 'Stopping the workers; finished work is kept' });
    if (before?.state === 'Suspended' && status.state !== 'Suspended') events.push({ type: 'Normal', reason: 'Resumed', action: 'Resume', note: 'Going on from the finished work' });
    if (status.state === 'Complete') events.push({ type: 'Normal', reason: 'Completed', action: 'Finish', note: message });
    if (status.state === 'Failed') events.push({ type: 'Warning', reason: reasonOf(status), action: 'Finish', note: message });
  }
  for (const warning of observed.ledger?.progress.warnings ?? []) {
    if (!observed.toldWarnings.has(warning)) events.push({ type: 'Warning', reason: 'WorkerWarning', action: 'Run', note: warning });
  }
  return events;
}

const reasonOf = (status: BatchJobStatus): string => status.conditions?.find(({ type }) => type === 'Failed')?.reason ?? 'Failed';

function plannedNote({ items, shards }: BatchJobStatus): string {
  return `Found ${items?.estimated ? 'about ' : ''}${items?.total ?? 0} items in ${shards?.files ?? 0} file(s), split into ${shards?.total ?? 0} shard(s)`;
}

const timestamp = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');

function startTimeOf(job: StoredBatchJob, state: State, hasPods: boolean, now: number): string | undefined {
  if (state === 'Suspended') return undefined;
  return job.status?.startTime ?? (hasPods ? timestamp(now) : undefined);
}

function resultsFolder(job: StoredBatchJob): string {
  const path = job.spec.output.volume.path.replace(/^(\.\/)+|^\.$/g, '').replace(/\/+$/, '');
  return path === '' ? '' : `${path}/`;
}

function wanted(job: StoredBatchJob, { spread }: Situation): number {
  if (job.spec.suspend) return 0;
  return spread === 'one-worker' ? 1 : job.spec.workers.max;
}

function atWork(observed: Observed): number {
  return observed.ledger?.progress.workers.filter(({ state }) => state === 'Working').length ?? 0;
}

type ProgressFields = Pick<BatchJobStatus, 'progress' | 'rate' | 'eta' | 'items' | 'shards' | 'lastCheckpointTime'>;

function progressFields(job: StoredBatchJob, observed: Observed, state: State, startTime: string | undefined, completionTime: string | undefined, now: number): ProgressFields {
  const before = job.status ?? {};
  const kept: ProgressFields = {};
  for (const field of ['progress', 'items', 'shards', 'lastCheckpointTime'] as const) {
    if (before[field] !== undefined) Object.assign(kept, { [field]: before[field] });
  }
  const { progress, saved } = observed.ledger ?? {};
  if (!progress?.plan || !saved) return { progress: '0%', ...kept, ...overallRate(state, before.items, startTime, completionTime) };

  const { succeeded, failed, total, exact } = progress.items;
  const items = { total, succeeded, failed, ...(exact ? {} : { estimated: true }), ...(saved.firstError === undefined ? {} : { firstError: saved.firstError.slice(0, 512) }) };
  const moved = before.items?.succeeded !== succeeded || before.items?.failed !== failed;
  const running = state === 'Running';
  return {
    ...kept,
    progress: progressText(progress),
    ...(running ? { rate: rateText(progress) } : overallRate(state, items, startTime, completionTime)),
    ...(running && progress.etaSeconds !== undefined ? { eta: etaText(progress) } : {}),
    items,
    shards: {
      total: progress.shards.total,
      completed: progress.shards.completed,
      leased: progress.shards.leased,
      retried: progress.shards.retried,
      bytes: progress.bytes.total,
      files: progress.plan.files,
      committed: { ...saved.items, bytes: saved.bytes },
    },
    ...(moved && progress.checkpointAgeMs !== undefined ? { lastCheckpointTime: timestamp(now - progress.checkpointAgeMs) } : {}),
  };
}

/** Items per second from start to end, for a job that is complete. */
function overallRate(state: State, items: BatchJobStatus['items'], startTime: string | undefined, completionTime: string | undefined): { rate?: string } {
  if (state !== 'Complete' || !items) return {};
  const seconds = Math.max(1, (Date.parse(completionTime ?? '') - Date.parse(startTime ?? '')) / 1000);
  return Number.isFinite(seconds) ? { rate: rateText({ phase: 'Running', rate: ((items.succeeded ?? 0) + (items.failed ?? 0)) / seconds }) } : {};
}

/** One entry per slot that ever had a pod: the attempt number must outlive the pod. */
function workersOf(job: StoredBatchJob, observed: Observed, situation: Situation, now: number): NonNullable<BatchJobStatus['workers']> {
  type Entry = NonNullable<BatchJobStatus['workers']>[number];
  const entries = new Map<number, Entry>();
  for (const { slot, attempt } of job.status?.workers ?? []) entries.set(slot, { slot, ...(attempt === undefined ? {} : { attempt }), state: 'Gone' });
  for (const pod of observed.pods) {
    const [slot, attempt] = [slotOf(pod), attemptOf(pod)];
    if (!Number.isInteger(slot) || (entries.get(slot)?.attempt ?? -1) > attempt) continue;
    entries.set(slot, { slot, attempt, state: POD_STATES[podState(pod, observed.lostNodes)] });
  }
  for (const worker of observed.ledger?.progress.workers ?? []) {
    const entry = entries.get(worker.slot);
    if (!entry || entry.attempt !== worker.attempt || entry.state !== 'Starting') continue;
    const old = job.status?.workers?.find(({ slot, attempt }) => slot === worker.slot && attempt === worker.attempt);
    const heard = now - worker.heartbeatAgeMs;
    const fresh = !(Math.abs(heard - Date.parse(old?.heartbeatTime ?? '')) < HEARTBEAT_STEP_MS);
    entries.set(worker.slot, {
      ...entry,
      state: worker.state,
      ...(worker.shard === undefined ? {} : { shard: `${worker.shard}` }),
      ...(worker.state === 'Working' ? { rate: rateText({ phase: 'Running', rate: worker.rate }) } : {}),
      heartbeatTime: fresh || old?.heartbeatTime === undefined ? timestamp(heard) : old.heartbeatTime,
    });
  }
  if (situation.created > 0) for (const { slot, attempt } of situation.pool.create.slice(0, situation.created)) entries.set(slot, { slot, attempt, state: 'Pending' });
  return [...entries.values()].sort((a, b) => a.slot - b.slot);
}

/** A running pod that has not synced yet is starting. */
const POD_STATES = { pending: 'Pending', running: 'Starting', ending: 'Ending', lost: 'Lost', succeeded: 'Succeeded', failed: 'Failed' } as const;

function messageOf(job: StoredBatchJob, observed: Observed, situation: Situation, state: State, startTime: string | undefined, completionTime: string | undefined): string {
  const { decision, obstacle, pending, spread } = situation;
  if (decision.kind === 'failure') return decision.failure.message;
  const items = observed.ledger?.progress.items ?? job.status?.items;
  const failed = items?.failed ?? 0;
  const firstError = observed.ledger?.saved.firstError ?? job.status?.items?.firstError;
  const failures = failed > 0 ? `; ${failed} item(s) failed, see errors.jsonl${firstError === undefined ? '' : `, e.g. ${firstError}`}` : '';
  if (state === 'Complete') {
    const seconds = Math.round((Date.parse(completionTime ?? '') - Date.parse(startTime ?? '')) / 1000);
    return `${items?.succeeded ?? 0} result(s)${Number.isFinite(seconds) ? ` in ${seconds === 0 ? 'under a second' : etaText({ etaSeconds: seconds })}` : ''}${failures}`;
  }
  if (decision.kind === 'success') return 'results are written, waiting for the workers to exit';
  if (state === 'Suspended') {
    return observed.pods.some((pod) => isLive(podState(pod, observed.lostNodes))) ? 'suspended (spec.suspend); the workers are closing their segments' : 'suspended (spec.suspend); finished work is kept';
  }
  const trouble = obstacle ?? pending;
  const working = atWork(observed);
  if (trouble && working === 0) return trouble.message;
  const where = spread === 'one-node' ? '; all workers run on one node, because a volume claim is ReadWriteOnce' : spread === 'one-worker' ? '; one worker only, because a volume claim is ReadWriteOncePod' : '';
  const texts: Record<State, string> = {
    Pending: 'waiting for a worker to start',
    Planning: 'finding the items of the input',
    Running: `${working} of ${wanted(job, situation)} worker(s) at work${where}${failures}`,
    Finishing: 'joining the results',
    Suspended: '',
    Complete: '',
    Failed: '',
  };
  return trouble ? `${texts[state]}; ${trouble.message}` : texts[state];
}
