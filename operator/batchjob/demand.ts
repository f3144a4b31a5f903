import type { JobState, WorkerState } from '../scheduler/snapshot.ts';
import { amounts } from '../scheduler/pod-requests.ts';
import type { KubeObject, Stored } from '../kube/object.ts';
import type { Obstacle } from './admission.ts';
import type { Decision } from './decision.ts';
import type { Observed, StoredBatchJob, WorkerPod } from './observe.ts';
import { workerResources } from './pod.ts';
import { attemptOf, isLive, podState, slotOf, workerContainer } from './pod-state.ts';
import type { Spread } from './volumes.ts';

/** Workers started before anyone knows how many shards there are. */
const WORKERS_BEFORE_PLAN = 4;
const SPARE = 1;

/** What a job asks of the scheduler. */
export interface Demand {
  state: Omit<JobState, 'held'>;
  /** Names of the pods behind `state.workers`. */
  pods: readonly string[];
}

/**
 * None from a job whose end is decided, or that has an obstacle and no workers: its pods then count as somebody else's. One
 * with an obstacle and workers keeps those that it has.
 */
export function demandOf(job: StoredBatchJob, observed: Observed, decision: Decision, obstacle: Obstacle | undefined, spread: Spread, now: number): Demand | undefined {
  const { tenant, ledger } = observed;
  if (decision.kind !== 'open' || !tenant || tenant.terminating || job.spec.suspend) return undefined;
  const pods = observed.pods.filter((pod) => Number.isInteger(slotOf(pod)) && isLive(podState(pod, observed.lostNodes)));
  if (obstacle && pods.length === 0) return undefined;
  const { metadata, spec } = job;
  const progress = ledger?.progress;
  const working = progress?.workers.filter(({ state, rate }) => state === 'Working' && rate > 0).length ?? 0;
  const { namespace = '', name, uid } = metadata;
  const createdAt = Date.parse(metadata.creationTimestamp ?? '') || now;
  const resources = workerResources(job, observed.settings);
  return {
    state: {
      uid,
      key: `${namespace}/${name}`,
      tenant: tenant.name,
      priority: spec.priority,
      createdAt,
      queuedAt: resumedAt(job) ?? createdAt,
      deadlineAt: spec.deadline === undefined ? undefined : Date.parse(spec.deadline),
      suspended: false,
      dependsOn: spec.dependsOn.map((other) => `${namespace}/${other}`),
      min: spec.workers.min,
      max: obstacle ? pods.length : most(job, observed, spread),
      perWorker: { ...amounts(resources.requests), pods: 1 },
      quotaPerWorker: quotaUse(resources),
      nodeSelector: { ...spec.workers.nodeSelector, ...tenant.nodeSelector },
      tolerations: spec.workers.tolerations ?? [],
      oneNode: spread === 'one-node',
      workers: pods.map((pod) => workerState(pod, observed)),
      ratePerWorker: working === 0 || progress === undefined ? undefined : progress.rate / working,
      itemsLeft: progress?.plan === undefined ? undefined : Math.max(0, progress.items.total - progress.items.succeeded - progress.items.failed),
      lastCheckpointAt: progress?.checkpointAgeMs === undefined ? undefined : now - progress.checkpointAgeMs,
      externallyAdmitted: spec.queueName !== undefined,
    },
    pods: pods.map((pod) => pod.metadata.name),
  };
}

/** The demand as it is once these pods are made: their use of the quota is the job's own as soon as it shows. */
export function withPods(demand: Demand, pods: readonly KubeObject[]): Demand {
  if (pods.length === 0) return demand;
  const { state } = demand;
  return { state: { ...state, workers: [...state.workers, ...pods.map(() => ({}))] }, pods: [...demand.pods, ...pods.map(({ metadata }) => metadata.name)] };
}

/**
 * As many as have something to do: one when all shards are done, to join the results, and one more at the end, which takes
 * over from a slow or lost one. Workers that are silent count for nothing, or the one that is left might be one of them.
 */
function most({ spec }: StoredBatchJob, { ledger }: Observed, spread: Spread): number {
  if (spread === 'one-worker') return 1;
  const plan = ledger?.progress.plan;
  if (!plan) return Math.min(spec.workers.max, Math.max(WORKERS_BEFORE_PLAN, spec.workers.min));
  const silent = ledger.progress.workers.filter(({ state }) => state === 'Silent').length;
  const outstanding = Math.max(1, plan.shards - ledger.progress.shards.completedCount);
  return Math.min(spec.workers.max, outstanding + SPARE + silent);
}

/** By the names that a ResourceQuota has for them. */
function quotaUse({ requests, limits }: ReturnType<typeof workerResources>): Record<string, number> {
  const asked = amounts(requests);
  const use: Record<string, number> = { pods: 1, 'count/pods': 1 };
  for (const [resource, amount] of Object.entries(asked)) {
    use[`requests.${resource}`] = amount;
    if (!resource.includes('/')) use[resource] = amount;
  }
  for (const [resource, amount] of Object.entries(amounts(limits))) if (!resource.includes('/')) use[`limits.${resource}`] = amount;
  return use;
}

function workerState(pod: Stored<WorkerPod>, { ledger, lostNodes }: Observed): WorkerState {
  const startedAt = Date.parse(workerContainer(pod)?.state?.running?.startedAt ?? '');
  const heard = ledger?.progress.workers.find(({ slot, attempt }) => slot === slotOf(pod) && attempt === attemptOf(pod));
  const endingAt = podState(pod, lostNodes) === 'ending' ? Date.parse(pod.metadata.deletionTimestamp ?? '') - (pod.metadata.deletionGracePeriodSeconds ?? 0) * 1000 : undefined;
  return {
    ...(pod.spec?.nodeName === undefined || pod.spec.nodeName === '' ? {} : { node: pod.spec.nodeName }),
    ...(Number.isNaN(startedAt) ? {} : { startedAt }),
    ...(heard?.state === 'Idle' ? { idle: true } : {}),
    ...(endingAt === undefined ? {} : { endingAt }),
  };
}

/** When spec.suspend was last taken back. */
function resumedAt({ status }: StoredBatchJob): number | undefined {
  const suspended = status?.conditions?.find(({ type }) => type === 'Suspended');
  return suspended?.status === 'False' ? Date.parse(suspended.lastTransitionTime) : undefined;
}
