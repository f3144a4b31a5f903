import type { Held, JobState } from '../../operator/scheduler/snapshot.ts';
import { quotaOf, type TraceJob } from './trace.ts';

/** A worker plans the shards before anyone works. */
const PLAN_MS = 2_000;
/** A rate is told once the workers have been measured for so long. */
const MEASURE_MS = 5_000;
/** Workers before the shards are known, as the operator asks for them. */
const WORKERS_BEFORE_PLAN = 4;
/** More than there are shards left: takes over from one that is slow or lost. */
const SPARE = 1;
/** Work of each worker that is told to go and that no checkpoint holds. */
const LOST_MS = 500;

export interface Pod {
  run: JobRun;
  /** Where it is, or where it is to go. */
  node: string | undefined;
  /** Since when it has its node. */
  boundAt: number | undefined;
  worksAt: number | undefined;
  endingAt: number | undefined;
}

/** A job of the trace under way. */
export interface JobRun {
  job: TraceJob;
  uid: string;
  quotaPerWorker: JobState['quotaPerWorker'];
  pods: Pod[];
  /** Items that are not done, as of `updatedAt`. */
  left: number;
  updatedAt: number;
  plannedAt: number | undefined;
  held: Held | undefined;
  /** Raised with each change of its pace, so that what was foreseen before is void. */
  version: number;
  /** Since when it could run and has no worker on a node. */
  waitingFrom: number | undefined;
  waitedMs: number;
  /** How long it waited for its first worker, and the longest that it waited at a time. */
  firstWaitMs: number | undefined;
  longestWaitMs: number;
  suspensions: number;
  /** Items done again because their worker was told to go. */
  lost: number;
  doneAt: number | undefined;
}

export function newRun(job: TraceJob, index: number): JobRun {
  return {
    job, uid: `j${String(index).padStart(6, '0')}`, quotaPerWorker: quotaOf(job.perWorker), pods: [], left: job.items, updatedAt: job.arrivesAt, plannedAt: undefined, held: undefined,
    version: 0, waitingFrom: undefined, waitedMs: 0, firstWaitMs: undefined, longestWaitMs: 0, suspensions: 0, lost: 0, doneAt: undefined,
  };
}

const isAtWork = ({ worksAt, endingAt }: Pod, now: number): boolean => endingAt === undefined && worksAt !== undefined && worksAt <= now;
const atWork = ({ pods }: JobRun, now: number): number => pods.reduce((count, pod) => count + Number(isAtWork(pod, now)), 0);

/** Shards that are not done. Those under way near the end are half done on average. */
const outstanding = ({ job, left }: JobRun): number => (left === 0 ? 0 : Math.min(job.shards, Math.max(1, Math.ceil((left / job.items) * job.shards * 2 - 1e-9))));

const mostWorkers = (run: JobRun): number => Math.min(run.job.max, outstanding(run) + SPARE);

/** It has more workers than it can use: some are released near the end. */
export const hasSpare = (run: JobRun): boolean => run.pods.length > mostWorkers(run);

/** Workers with something to do. */
export function busy(run: JobRun, now: number): number {
  return run.plannedAt === undefined || run.plannedAt > now ? 0 : Math.min(atWork(run, now), outstanding(run));
}

/** Brings `left` to `now`; the pace has been the same since the last time. Gives the items that were done. */
export function advance(run: JobRun, now: number): number {
  const from = run.updatedAt;
  const pace = busy(run, from) * run.job.rate;
  run.updatedAt = now;
  const done = Math.min(run.left, (pace * (now - from)) / 1_000);
  run.left -= done;
  if (run.left < 1e-6) run.left = 0;
  return done;
}

/** A worker has come to work; the first one plans. Call `advance` first. */
export function beginWork(run: JobRun, now: number): void {
  run.plannedAt ??= now + PLAN_MS;
}

/** A worker has come to its node. */
export function endWait(run: JobRun, now: number): void {
  if (run.waitingFrom === undefined) return;
  const wait = now - run.waitingFrom;
  run.waitingFrom = undefined;
  run.waitedMs += wait;
  run.firstWaitMs ??= wait;
  run.longestWaitMs = Math.max(run.longestWaitMs, wait);
}

/** A worker is told to go. Call `advance` first. */
export function dismiss(run: JobRun, pod: Pod, now: number): void {
  const lost = busy(run, now) > 0 && isAtWork(pod, now) ? Math.min((run.job.rate * LOST_MS) / 1_000, run.job.items - run.left) : 0;
  run.left += lost;
  run.lost += lost;
  pod.endingAt = now;
}

/** When its pace changes next, or it ends, if nothing comes between. */
export function nextChange(run: JobRun, now: number): number | undefined {
  if (run.plannedAt !== undefined && run.plannedAt > now) return run.plannedAt;
  const workers = busy(run, now);
  if (workers === 0) return undefined;
  const until = Math.max(0, ((workers - 1) * run.job.items) / (run.job.shards * 2));
  return now + Math.max(1, Math.ceil(((run.left - until) / (workers * run.job.rate)) * 1_000));
}

/** What the operator would tell the scheduler of it. */
export function stateOf(run: JobRun, now: number): JobState {
  const { job, uid, pods, held, plannedAt, quotaPerWorker } = run;
  const isPlanned = plannedAt !== undefined && plannedAt <= now;
  const workers = atWork(run, now);
  let idle = isPlanned ? workers - busy(run, now) : 0;
  return {
    uid, key: job.key, tenant: job.tenant, priority: job.priority, createdAt: job.arrivesAt, queuedAt: job.arrivesAt, deadlineAt: job.deadlineAt,
    suspended: false, dependsOn: job.dependsOn, min: job.min,
    max: isPlanned ? mostWorkers(run) : Math.min(job.max, Math.max(WORKERS_BEFORE_PLAN, job.min)),
    perWorker: job.perWorker, quotaPerWorker, nodeSelector: job.nodeSelector, tolerations: job.tolerations, oneNode: false, externallyAdmitted: false, held,
    workers: pods.map((pod) => ({
      ...(pod.boundAt === undefined ? {} : { node: pod.node }),
      ...(pod.worksAt !== undefined && pod.worksAt <= now ? { startedAt: pod.worksAt } : {}),
      ...(pod.endingAt === undefined ? {} : { endingAt: pod.endingAt }),
      ...(idle > 0 && isAtWork(pod, now) && idle-- > 0 ? { idle: true } : {}),
    })),
    ratePerWorker: isPlanned && workers > 0 && now - plannedAt >= MEASURE_MS ? job.rate * noise(uid, now) : undefined,
    itemsLeft: isPlanned ? Math.ceil(run.left) : undefined,
    lastCheckpointAt: isPlanned && workers > 0 ? now - (now % 1_000) : undefined,
  };
}

/** Measured rates are off by up to a tenth, another way every ten seconds. */
function noise(uid: string, now: number): number {
  let hash = Math.floor(now / 10_000) | 0;
  for (let i = 0; i < uid.length; i++) hash = Math.imul(hash ^ uid.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return 0.9 + ((hash >>> 8) / 2 ** 24) * 0.2;
}
