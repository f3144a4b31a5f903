import { defaultPolicy, type Policy } from '../../operator/scheduler/policy.ts';
import type { Decision, Schedule } from '../../operator/scheduler/result.ts';
import { schedule } from '../../operator/scheduler/schedule.ts';
import type { JobState, NodeState, Snapshot, TenantState, WorkerState } from '../../operator/scheduler/snapshot.ts';

/** Snapshots for the scheduler. Nodes have GPUs only, so that numbers are easy to follow. */
export const NOW = Date.UTC(2026, 0, 1, 12);
export const MINUTE = 60_000;
export const GPU = 'nvidia.com/gpu';

export const aTenant = (name = 'acme', more: Partial<TenantState> = {}): TenantState =>
  ({ name, weight: 1, maxPriority: 1_000, cordoned: false, quota: {}, usedByOthers: {}, ...more });

export const aNode = (name: string, gpus: number, more: Partial<NodeState> = {}): NodeState =>
  ({ name, labels: {}, taints: [], allocatable: { [GPU]: gpus, pods: 110 }, ...more });

/** A job of tenant acme that waits since a minute ago for 1 worker with 1 GPU. */
export function aJob(name: string, more: Partial<JobState> = {}): JobState {
  const tenant = more.tenant ?? 'acme';
  return {
    uid: `uid-${name}`, key: `${tenant}/${name}`, tenant, priority: 100, createdAt: NOW - MINUTE, queuedAt: NOW - MINUTE,
    suspended: false, dependsOn: [], min: 1, max: 1,
    perWorker: { [GPU]: 1, pods: 1 }, quotaPerWorker: { [`requests.${GPU}`]: 1, pods: 1 },
    nodeSelector: {}, tolerations: [], oneNode: false, workers: [], externallyAdmitted: false, ...more,
  };
}

/** The same, with workers on these nodes, started that long ago without having waited. */
export function running(name: string, nodes: readonly string[], agoMs: number, more: Partial<JobState> = {}): JobState {
  const startedAt = NOW - agoMs;
  return aJob(name, {
    max: nodes.length, workers: nodes.map((node) => ({ node, startedAt })), createdAt: startedAt, queuedAt: startedAt,
    held: { workers: nodes.length, planned: [], waitingSince: startedAt, startedAt, grewAt: startedAt, hurried: false, forced: false },
    ...more,
  });
}

/** A job of tenant acme and of no priority that came just now; each of its workers takes a GPU. */
export const newJob = (name: string, more: Partial<JobState> = {}): JobState =>
  aJob(name, { uid: name, priority: 0, createdAt: NOW, queuedAt: NOW, max: Math.max(1, more.min ?? 1), ...more });

/** The same, on the node for so long, seen for the first time: it has no credit left from its wait. */
export function runningFor(name: string, node: string, count: number, seconds: number, more: Partial<JobState> = {}): JobState {
  const startedAt = NOW - seconds * 1_000;
  return newJob(name, { max: count, createdAt: startedAt, queuedAt: startedAt, workers: Array.from({ length: count }, () => ({ node, startedAt })), ...more });
}

export function aSnapshot(jobs: readonly JobState[], nodes: readonly NodeState[] = [aNode('n1', 4)], tenants: readonly TenantState[] = [aTenant()]): Snapshot {
  return { jobs, nodes, tenants, finished: new Map() };
}

export interface Outcome extends Schedule {
  of: (name: string) => Decision;
  /** Workers by job, those without any left out. */
  workers: Record<string, number>;
  /** Names of waiting jobs by position. */
  queue: string[];
}

export function run(snapshot: Snapshot, now = NOW, policy: Partial<Policy> = {}): Outcome {
  const result = schedule(snapshot, now, { ...defaultPolicy, pendingPerJob: 0, ...policy });
  const nameOf = (key: string): string => key.slice(key.indexOf('/') + 1);
  return {
    ...result,
    of(name) {
      const found = result.decisions.find(({ key }) => nameOf(key) === name);
      if (!found) throw new Error(`no decision for ${name}`);
      return found;
    },
    workers: Object.fromEntries(result.decisions.filter(({ workers }) => workers > 0).map(({ key, workers }) => [nameOf(key), workers])),
    queue: result.decisions.filter(({ position }) => position !== undefined).sort((a, b) => (a.position ?? 0) - (b.position ?? 0)).map(({ key }) => nameOf(key)),
  };
}

/** The snapshot in which the schedule has been carried out: pods deleted, unless they are stuck, pods made, and bound as planned. */
export function carriedOut(snapshot: Snapshot, { decisions }: Schedule, at: number): Snapshot {
  return {
    ...snapshot,
    jobs: snapshot.jobs.map((job, index) => {
      const decision = decisions[index] as Decision;
      const stuck = ({ endingAt }: WorkerState): boolean => endingAt !== undefined && at - endingAt >= defaultPolicy.endingGraceMs;
      const kept = job.workers.filter((worker, i) => worker.node !== undefined && (worker.endingAt === undefined || stuck(worker)) && !decision.remove.includes(i));
      const bound: WorkerState[] = decision.planned.map((node) => ({ node, startedAt: at }));
      const pending: WorkerState[] = Array.from({ length: decision.beyondCapacity }, () => ({}));
      return { ...job, workers: job.externallyAdmitted ? job.workers : [...kept, ...bound, ...pending], held: decision.held };
    }),
  };
}

/** The snapshot a moment later: pods to delete are known as ending, nothing else has been carried out. */
export const remembered = (snapshot: Snapshot, { decisions }: Schedule, at: number): Snapshot => ({
  ...snapshot,
  jobs: snapshot.jobs.map((job, index) => {
    const { held, remove } = decisions[index] as Decision;
    return { ...job, held, workers: job.workers.map((worker, i) => (remove.includes(i) ? { ...worker, endingAt: at } : worker)) };
  }),
});
