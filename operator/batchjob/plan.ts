import type { KubeObject, Stored } from '../kube/object.ts';
import { type Outcome, soonest } from '../runtime/outcome.ts';
import type { ChangeSet, Plan, Refusal, Removal } from '../runtime/plan.ts';
import { firstObstacle, type Obstacle } from './admission.ts';
import { type Decision, decide } from './decision.ts';
import { type Demand, demandOf } from './demand.ts';
import { eventsOf } from './events.ts';
import { inputCopy } from './input-copy.ts';
import { atWork } from './message.ts';
import type { Grant, Observed, StoredBatchJob, WorkerPod } from './observe.ts';
import { workerPod } from './pod.ts';
import { isGated, isLive, podName, podState } from './pod-state.ts';
import { deadline } from './policy/deadline.ts';
import { type Pending, pendingCheckMs, whyPending } from './policy/pending.ts';
import { readRefusal } from './policy/quota.ts';
import { expiresInMs } from './policy/ttl.ts';
import { isPressing } from './pressing.ts';
import { type Situation, type State, stateOf, type Trouble } from './state.ts';
import { statusOf } from './status.ts';
import { claimMounts, spreadOf } from './volumes.ts';
import { planWorkers, type WorkerPool } from './workers.ts';

/** A worker exits by itself once it is told that all is done; one that does not is deleted after this. */
const FAREWELL_MS = 15_000;
/** How soon a refused pod is tried again; a change of the quota's usage brings the job back sooner. */
const REFUSED_RETRY_MS = 5_000;
/** What an obstacle depends on is watched and brings the job back by itself, but for ConfigMaps. */
const OBSTACLE_RETRY_MS = 300_000;
const UNWATCHED_RETRY_MS = 10_000;
/** How soon a name that is still taken, or a copy that was just made, is looked at again. */
const SHORTLY_MS = 500;
/** A pod that was made and is still not seen may have come and gone. */
const UNSEEN_MS = 30_000;

/** What is to be done, and what the scheduler is asked for. */
export interface JobPlan extends Plan {
  demand?: Demand;
}

/** What one BatchJob needs done now. Pure: everything that it depends on is in its arguments. */
export function planBatchJob(job: StoredBatchJob, observed: Observed, now: number): JobPlan {
  const idle: Plan = { apply: [], create: [], remove: [], report: () => ({ events: [], outcome: { kind: 'settled' } }) };
  // The garbage collector deletes the pods along with their owner; finished segments stay on the volume.
  if (job.metadata.deletionTimestamp !== undefined) return idle;
  const expires = expiresInMs(job, now);
  // Duplicates that wait for its end come first; the last of them brings it back.
  const awaited = observed.keyRole?.kind === 'first' && observed.keyRole.awaited;
  if (expires === 0 && !awaited) return { ...idle, remove: [removal(job)] };

  const pending = whyPending(observed.pods, observed.lostNodes, now);
  const decision = decide(job, observed, pending, now);
  const obstacle = decision.kind === 'open' && !job.spec.suspend ? firstObstacle(job, observed) : undefined;
  const spread = spreadOf(claimMounts(job.spec), observed.claims);
  const pool = decision.kind === 'open' ? openPool(job, observed, obstacle, now) : closingPool(job, observed, decision, now);
  // Pods only when the copy is known to be the job's own: something else of that name must not become its input.
  const copying = pool.create.length > 0 && observed.inputCopy.kind === 'ready' ? [inputCopy(job, observed.inputCopy.base64)] : [];
  const { tenant } = observed;
  const planned = tenant && copying.length === 0 ? pool.create : [];
  const create: KubeObject[] = [...copying, ...planned.map((worker) => workerPod(job, tenant as NonNullable<typeof tenant>, observed.settings, spread, worker))];

  const demand = demandOf(job, observed, decision, obstacle, spread, now);

  return {
    ...(demand === undefined ? {} : { demand }),
    apply: [],
    create,
    remove: pool.remove.filter(({ metadata }) => metadata.uid !== '').map(removal),
    report(changes: ChangeSet) {
      const exists = new Set([...changes.created, ...changes.unchanged]);
      const made = planned.filter(({ slot, attempt }) => exists.has(`Pod/${podName(job.metadata.name, slot, attempt)}`));
      const refusal = changes.refused.find(({ kind, name }) => create.some((object) => object.kind === kind && object.metadata.name === name));
      const tried = obstacle ?? (refusal && refused(refusal, observed));
      const found = tried ?? (decision.kind === 'open' ? whyNotMore(pending, withheld(observed.grant)) : undefined);
      // A job some of whose workers are at work goes on, whatever keeps others from joining them.
      const trouble = found && { reason: found.reason, message: found.message, stalled: found.stalled && atWork(observed) === 0 };
      const situation: Situation = { decision, trouble, spread, made };
      const state = stateOf(job, observed, situation);
      const status = statusOf(job, observed, situation, state, now);
      const retryMs = Math.min(pool.retryAfterMs ?? Number.POSITIVE_INFINITY, copying.length > 0 ? SHORTLY_MS : Number.POSITIVE_INFINITY);
      const outcome = outcomeOf(job, observed, situation, tried?.reason, state, retryMs, expires, now);
      const events = eventsOf(job, observed, situation, status);
      const unheard = !observed.grant && !tried && decision.kind === 'open' && !job.spec.suspend && observed.pods.length === 0;
      // Before the scheduler's first word there is nothing new to tell: after a restart its places in the queue still stand.
      if (unheard && job.status?.state === 'Pending') return { events, outcome };
      const first = unheard && job.status === undefined;
      return { status, pressing: events.length > 0 || (!first && isPressing(job.status, status)), events, outcome };
    },
  };
}

/** The pool of a job that goes on: none while it is suspended or its tenant is going, else as many as the scheduler grants. */
function openPool(job: StoredBatchJob, observed: Observed, obstacle: Obstacle | undefined, now: number): WorkerPool {
  const { ledger, lostNodes, pods, grant } = observed;
  if (job.spec.suspend || obstacle?.reason === 'TenantTerminating' || obstacle?.reason === 'Duplicate' || obstacle?.reason === 'NotATenantNamespace') {
    return { create: [], remove: removable(pods, lostNodes) };
  }
  const lastAttempts = new Map((job.status?.workers ?? []).map(({ slot, attempt }) => [slot, attempt ?? -1]));
  const pool = planWorkers({ pods, wanted: grant?.workers ?? 0, dismissed: grant?.dismissed ?? new Map(), lastAttempts, lostNodes }, now);
  // A claim to the key is made good by its record: only that outlives this process.
  const unrecorded = observed.keyRole?.kind === 'first' && !observed.keyRole.recorded;
  if (obstacle || !ledger || unrecorded) {
    // Whom Kueue admitted later would start something new.
    const queued = obstacle?.reason === 'TenantCordoned' ? removable(pods, lostNodes).filter(isGated) : [];
    return { ...pool, create: [], remove: [...new Set([...pool.remove, ...queued])] };
  }
  // While pods are refused, one try is enough to see whether that has changed.
  return observed.refusal ? { ...pool, create: pool.create.slice(0, 1) } : pool;
}

/** Why the scheduler gives the job nothing, if it does not. */
function withheld(grant: Grant | undefined): Trouble | undefined {
  if (!grant || grant.reason === 'Running' || grant.reason === 'LeftToKueue' || grant.reason === 'Suspended' || grant.reason === 'UnknownTenant') return undefined;
  return { reason: grant.reason, message: grant.message, stalled: NEEDS_A_CHANGE.has(grant.reason) };
}

/** A pod that waits on purpose, for a cluster autoscaler, tells in the words of the cluster's scheduler why. */
function whyNotMore(pending: Pending | undefined, held: Trouble | undefined): Trouble | undefined {
  return held && pending?.reason === 'Unschedulable' ? { ...held, message: `${held.message}; ${pending.message}` } : (pending ?? held);
}

/** What does not pass by itself. A node that fits may come: a cluster autoscaler makes one. */
const NEEDS_A_CHANGE: ReadonlySet<Grant['reason']> = new Set(['ExceedsQuota', 'DependencyFailed', 'DependencyCycle']);

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

function refused(refusal: Refusal, observed: Observed): Trouble {
  if (refusal.reason !== 'AlreadyExists') return readRefusal(refusal, observed.tenant?.name ?? '');
  // Most likely left from a deleted BatchJob of the same name, and going.
  return { reason: 'NameTaken', message: `waiting for the name of ${refusal.kind} "${refusal.name}" to be free: ${refusal.message}`, stalled: false };
}

/** `tried`: what kept pods from being made and may pass without an event. What the scheduler withholds it grants by itself. */
function outcomeOf(job: StoredBatchJob, observed: Observed, { decision }: Situation, tried: Trouble['reason'] | undefined, state: State, retryMs: number, expires: number | undefined, now: number): Outcome {
  const outcomes: Outcome[] = [];
  const again = (afterMs: number | undefined): void => {
    if (afterMs !== undefined && Number.isFinite(afterMs)) outcomes.push({ kind: 'requeue', afterMs });
  };
  if (expires !== 0) again(expires);
  if (state === 'Finishing' && decision.kind !== 'open') again(FAREWELL_MS);
  if (observed.pods.some(({ metadata }) => metadata.uid === '')) again(UNSEEN_MS);
  if (decision.kind !== 'open' || job.spec.suspend) return soonest(...outcomes);
  again(deadline(job, now).inMs);
  again(retryMs);
  again(pendingCheckMs(observed.pods, observed.lostNodes, observed.settings.imagePullDeadlineSeconds, now));
  if (tried) outcomes.push({ kind: 'waiting', reason: tried, afterMs: RETRY_MS[tried] ?? OBSTACLE_RETRY_MS });
  return soonest(...outcomes);
}

const RETRY_MS: Partial<Record<Trouble['reason'], number>> = {
  WaitingForQuota: REFUSED_RETRY_MS,
  ExceedsQuota: REFUSED_RETRY_MS,
  PodRefused: REFUSED_RETRY_MS,
  NameTaken: SHORTLY_MS,
  ConfigMapNotFound: UNWATCHED_RETRY_MS,
  ConfigMapKeyNotFound: UNWATCHED_RETRY_MS,
};
