import { keyOf, type KubeObject, type Stored } from '../kube/object.ts';
import type { Outcome } from '../runtime/outcome.ts';
import { soonest } from '../runtime/outcome.ts';
import type { ChangeSet, Plan, Removal } from '../runtime/plan.ts';
import { firstObstacle, type Obstacle } from './admission.ts';
import { type Decision, decide } from './decision.ts';
import { inputCopy } from './input-copy.ts';
import type { Observed, StoredBatchJob, WorkerPod } from './observe.ts';
import { inputCopyName, workerPod } from './pod.ts';
import { isLive, podState } from './pod-state.ts';
import { deadline } from './policy/deadline.ts';
import { whyPending } from './policy/pending.ts';
import { readRefusal } from './policy/quota.ts';
import { expiresInMs } from './policy/ttl.ts';
import { type Situation, stateOf } from './state.ts';
import { eventsOf, statusOf } from './status.ts';
import { spreadOf } from './volumes.ts';
import { planWorkers, type WorkerPool } from './workers.ts';

/** Workers started before anyone knows how many shards there are. */
const WORKERS_BEFORE_PLAN = 4;
/** A worker exits by itself once it is told that all is done; one that does not is deleted after this. */
const FAREWELL_MS = 15_000;
/** How soon a refused pod is tried again; a change of the quota's usage brings the job back sooner. */
const REFUSED_RETRY_MS = 5_000;
const OBSTACLE_RETRY_MS = 10_000;

/** What one BatchJob needs done now. Pure: everything that it depends on is in its arguments. */
export function planBatchJob(job: StoredBatchJob, observed: Observed, now: number): Plan {
  const idle: Plan = { apply: [], create: [], remove: [], report: () => ({ events: [], outcome: { kind: 'settled' } }) };
  // The garbage collector deletes the pods along with their owner; finished segments stay on the volume.
  if (job.metadata.deletionTimestamp !== undefined) return idle;

  const expires = expiresInMs(job, now);
  if (expires === 0) return { ...idle, remove: [removal(job)] };

  const pending = whyPending(observed.pods, observed.lostNodes, now);
  const decision = decide(job, observed, pending, now);
  const obstacle = decision.kind === 'open' ? firstObstacle(job, observed) : undefined;
  const pool = decision.kind === 'open' ? openPool(job, observed, obstacle, now) : closingPool(job, observed, decision, now);
  const spread = spreadOf([...observed.claims.values()].map(({ accessModes }) => accessModes));
  const tenant = observed.tenant;

  const create: KubeObject[] = [];
  if (pool.create.length > 0 && observed.inputCopy.kind === 'ready') create.push(inputCopy(job, observed.inputCopy.base64));
  if (tenant) for (const { slot, attempt } of pool.create) create.push(workerPod(job, tenant, observed.settings, spread, slot, attempt));

  return {
    apply: [],
    create,
    remove: pool.remove.map(removal),
    report(changes: ChangeSet) {
      const situation: Situation = { decision, obstacle: obstacle ?? refusedNow(job, observed, changes), pending, pool, spread, created: madePods(changes) };
      const state = stateOf(job, observed, situation);
      const status = statusOf(job, observed, situation, state, now);
      return { status, events: eventsOf(job, observed, situation, status), outcome: outcomeOf(job, situation, expires, now) };
    },
  };
}

/** The pool of a job that goes on: none while it is suspended or its tenant is going, else the slots that it may fill. */
function openPool(job: StoredBatchJob, observed: Observed, obstacle: Obstacle | undefined, now: number): WorkerPool {
  if (job.spec.suspend || obstacle?.reason === 'TenantTerminating' || obstacle?.reason === 'NotATenantNamespace') {
    return { create: [], remove: removable(observed.pods, observed.lostNodes) };
  }
  const plan = observed.ledger?.progress.plan;
  const outstanding = plan ? Math.max(1, plan.shards - (observed.ledger?.progress.shards.completedCount ?? 0)) : WORKERS_BEFORE_PLAN;
  const oneWorker = spreadOf([...observed.claims.values()].map(({ accessModes }) => accessModes)) === 'one-worker';
  const pool = planWorkers(observed.pods, oneWorker ? 1 : job.spec.workers.max, outstanding, lastAttempts(job), observed.lostNodes, now);
  if (obstacle || !observed.ledger) return { ...pool, create: [] };
  // While pods are refused, one try is enough to see whether that has changed.
  return observed.refusal ? { ...pool, create: pool.create.slice(0, 1) } : pool;
}

/** The pool of a job whose end is decided: after success workers are let go by themselves, after failure they are stopped. */
function closingPool(job: StoredBatchJob, observed: Observed, decision: Decision, now: number): WorkerPool {
  const met = job.status?.conditions?.find(({ type, status }) => type === 'SuccessCriteriaMet' && status === 'True');
  const farewellOver = met !== undefined && now - Date.parse(met.lastTransitionTime) >= FAREWELL_MS;
  const stopAll = decision.kind === 'failure' || farewellOver;
  const remove = removable(observed.pods, observed.lostNodes).filter((pod) => stopAll || podState(pod, observed.lostNodes) === 'pending');
  return { create: [], remove };
}

function removable(pods: Stored<WorkerPod>[], lostNodes: ReadonlySet<string>): Stored<WorkerPod>[] {
  return pods.filter((pod) => pod.metadata.deletionTimestamp === undefined && isLive(podState(pod, lostNodes)));
}

function removal(object: Stored): Removal {
  const { apiVersion, kind, metadata } = object;
  return { apiVersion, kind, name: metadata.name, uid: metadata.uid, ...(metadata.namespace === undefined ? {} : { namespace: metadata.namespace }) };
}

function lastAttempts(job: StoredBatchJob): Map<number, number> {
  return new Map((job.status?.workers ?? []).map(({ slot, attempt }) => [slot, attempt ?? -1]));
}

function madePods(changes: ChangeSet): number {
  return changes.created.filter((name) => name.startsWith('Pod ')).length;
}

/** A pod or the input's copy that the API server refused in this very reconcile, or the last time if none was tried. */
function refusedNow(job: StoredBatchJob, observed: Observed, changes: ChangeSet): Obstacle | undefined {
  const refusal = changes.refused[0] ?? (madePods(changes) === 0 ? observed.refusal : undefined);
  if (!refusal) return undefined;
  if (refusal.kind === 'ConfigMap' || refusal.reason === 'AlreadyExists') {
    return {
      reason: 'NameConflict',
      message: `${refusal.kind} "${refusal.name}" exists in namespace "${job.metadata.namespace}" and is not this job's (needed for ${inputCopyName(job.metadata.name)} or a worker); delete it or rename the job`,
      stalled: true,
    };
  }
  return readRefusal(refusal, observed.tenant?.name ?? '');
}

function outcomeOf(job: StoredBatchJob, { decision, obstacle, pool }: Situation, expires: number | undefined, now: number): Outcome {
  const outcomes: Outcome[] = [];
  if (expires !== undefined) outcomes.push({ kind: 'requeue', afterMs: expires });
  if (decision.kind === 'success') outcomes.push({ kind: 'requeue', afterMs: FAREWELL_MS });
  if (decision.kind === 'open') {
    const { inMs } = deadline(job, now);
    if (inMs !== undefined) outcomes.push({ kind: 'requeue', afterMs: inMs });
    if (pool.retryAfterMs !== undefined) outcomes.push({ kind: 'requeue', afterMs: pool.retryAfterMs });
    if (obstacle) outcomes.push({ kind: 'waiting', reason: obstacle.reason, afterMs: isRefusal(obstacle) ? REFUSED_RETRY_MS : OBSTACLE_RETRY_MS });
  }
  return soonest(...outcomes);
}

const isRefusal = ({ reason }: Obstacle): boolean => reason === 'WaitingForQuota' || reason === 'ExceedsQuota' || reason === 'PodRefused';

export const jobKey = (job: StoredBatchJob): string => keyOf(job.metadata);
