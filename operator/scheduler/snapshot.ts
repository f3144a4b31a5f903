/** What the scheduler sees: plain data, frozen for one round. Times are milliseconds since the epoch. */
export interface Snapshot {
  tenants: readonly TenantState[];
  /** Jobs that are not finished, in any order. */
  jobs: readonly JobState[];
  /** Ready nodes that take new pods. A worker on a node that is not listed keeps running there. */
  nodes: readonly NodeState[];
  /** How the finished jobs ended that a `dependsOn` may name, by key. */
  finished: ReadonlyMap<string, 'Complete' | 'Failed'>;
  /** Keys of jobs that a `dependsOn` names and that exist, but ask for nothing now: suspended ones, duplicates. */
  idle?: ReadonlySet<string>;
}

/** By resource: names that end in "cpu" in thousandths of a core, memory and storage in bytes, anything else in whole units. */
export type Amounts = Readonly<Record<string, number>>;

export interface TenantState {
  name: string;
  /** Share of the cluster when demand exceeds it, relative to the other tenants'. More than 0. */
  weight: number;
  maxPriority: number;
  /** Nothing new starts or grows; what runs goes on. */
  cordoned: boolean;
  /** Hard limits by the quota's own names (requests.cpu, limits.memory, pods); of several quotas, the least of each. */
  quota: Amounts;
  /** What all but the workers of the listed jobs takes of it, by the same names. */
  usedByOthers: Amounts;
  /** Jobs that may run at a time; no limit when absent. */
  maxRunningJobs?: number | undefined;
}

export interface NodeState {
  name: string;
  labels: Readonly<Record<string, string>>;
  taints: readonly Taint[];
  /** Allocatable less what all but the workers of the listed jobs requested. Has "pods" among it. */
  allocatable: Amounts;
}

export interface Taint {
  key: string;
  value?: string | undefined;
  /** PreferNoSchedule keeps nobody away. */
  effect: string;
}

export interface Toleration {
  key?: string | undefined;
  operator?: string | undefined;
  value?: string | undefined;
  effect?: string | undefined;
}

export interface JobState {
  uid: string;
  /** namespace/name */
  key: string;
  /** A job of a tenant that is not listed waits. */
  tenant: string;
  priority: number;
  createdAt: number;
  /** Since when it could run as far as its user is concerned: its creation, or when it was last resumed. */
  queuedAt: number;
  deadlineAt?: number | undefined;
  /** By its user. */
  suspended: boolean;
  /** Keys of jobs that must be complete before it starts. */
  dependsOn: readonly string[];
  /** Workers without which it does not run. 1 or more. */
  min: number;
  /** Most workers that have something to do: spec.workers.max, bounded by shards that are left and by volumes. `min` is cut to it. */
  max: number;
  /** What one worker takes of a node; "pods" is 1. */
  perWorker: Amounts;
  /** What one worker takes of the tenant's quota, by the quota's names. */
  quotaPerWorker: Amounts;
  nodeSelector: Readonly<Record<string, string>>;
  tolerations: readonly Toleration[];
  /** All workers must share a node, for a ReadWriteOnce volume. */
  oneNode: boolean;
  /** Its worker pods that have not ended, in any order. */
  workers: readonly WorkerState[];
  /** Items per second of one worker, measured; of an earlier run of the same model if need be. */
  ratePerWorker?: number | undefined;
  itemsLeft?: number | undefined;
  lastCheckpointAt?: number | undefined;
  /** Kueue admits its workers: they are neither counted nor taken here, and their requests count as those of others. */
  externallyAdmitted: boolean;
  /** What the last schedule said of it; absent for a job that no schedule of this operator has seen. */
  held?: Held | undefined;
}

export interface WorkerState {
  /** Absent while the pod has no node. */
  node?: string | undefined;
  /** When it began to work. */
  startedAt?: number | undefined;
  /** It holds no work, so it is let go before others. */
  idle?: boolean | undefined;
  /** Since when it is being deleted, or is to be by the last schedule. */
  endingAt?: number | undefined;
}

/** What the scheduler must be told again in the next round. Nothing is lost without it but the patience of those who wait. */
export interface Held {
  /** Workers granted. */
  workers: number;
  /** Nodes on which the granted workers are counted that have no node yet. */
  planned: readonly string[];
  /** Since when it waits, or had waited when it started. */
  waitingSince: number;
  /** Absent while it waits. */
  startedAt?: number | undefined;
  /** When it last got more workers. */
  grewAt?: number | undefined;
  /** When it last lost workers to another job, and to which one. */
  cutAt?: number | undefined;
  cutFor?: string | undefined;
  /** Its deadline hurries it. */
  hurried: boolean;
  /** It was started because it had waited longest, whoever else was in the way. */
  forced: boolean;
}
