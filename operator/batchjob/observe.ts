import type { BatchJob } from '../api/batchjob.gen.ts';
import type { LedgerProgress } from '../dispatch/progress.ts';
import type { SavedProgress } from '../dispatch/state.ts';
import type { Reason } from '../scheduler/result.ts';
import type { ObjectMeta, Stored } from '../kube/object.ts';
import type { KeyRole } from './idempotency-key.ts';

/** What the scheduler decided for one job. */
export interface Grant {
  workers: number;
  /** Names of worker pods that are to go, and since when (ms). */
  dismissed: ReadonlyMap<string, number>;
  reason: Reason;
  message: string;
  /** Of a running job: what keeps it from more workers. */
  limitedBy?: string;
  position?: number;
  startEstimate?: number;
}

/** All that the plan of a BatchJob depends on, as plain data read from caches. */
export interface Observed {
  /** The tenant that owns the job's namespace; absent when the namespace is nobody's. */
  tenant?: TenantView;
  /** The pods that the job owns. One that was made and is not in the cache yet has an empty UID. */
  pods: Stored<WorkerPod>[];
  /** Names of nodes that are not ready or gone: a pod being deleted there will not come back to say so. */
  lostNodes: ReadonlySet<string>;
  /** The claims that the job names, by name; a missing one is absent. */
  claims: ReadonlyMap<string, ClaimView>;
  inputCopy: InputCopy;
  /** The ledger's view while this operator leads and the job is admitted. */
  ledger?: { progress: LedgerProgress; saved: SavedProgress };
  /** What the job's idempotency key makes of it; absent without a key. */
  keyRole?: KeyRole;
  /** What the scheduler says; absent before its first word on this job, until which nothing starts and nothing is stopped. */
  grant?: Grant;
  /** Warnings of workers that an event has told already. */
  toldWarnings: ReadonlySet<string>;
  /** What the API server refused in the last reconcile. */
  refusal?: { kind: string; name: string; reason: string; message: string };
  settings: WorkerSettings;
}

export interface TenantView {
  name: string;
  ready: boolean;
  /** Why the tenant is not ready, for the job's message. */
  message: string;
  terminating: boolean;
  cordoned: boolean;
  imagePullSecrets: string[];
  /** Beginnings of the image references that models may have; none: any. */
  allowedModelImages: string[];
  nodeSelector: Record<string, string>;
  tolerations: Toleration[];
}

export interface ClaimView {
  accessModes: string[];
  phase: string;
  terminating: boolean;
}

/**
 * Inline and ConfigMap input is copied into an immutable ConfigMap of the job.
 * - none: the input is on a volume
 * - stored: the copy exists
 * - ready: these bytes are to be copied
 * - missing: the source cannot be copied, and why
 */
export type InputCopy = { kind: 'none' } | { kind: 'stored' } | { kind: 'ready'; base64: string } | { kind: 'missing'; reason: 'ConfigMapNotFound' | 'ConfigMapKeyNotFound'; message: string };

/** What the platform team sets for all workers (the chart's values). */
export interface WorkerSettings {
  image: string;
  imagePullPolicy: string;
  syncUrl: string;
  syncCa: string;
  defaultResources: { cpu: string; memory: string };
  logLevel: string;
  /** A worker whose image cannot be pulled for this long fails the job. */
  imagePullDeadlineSeconds: number;
  /** Like `TenantView.allowedModelImages`, for all tenants. */
  allowedModelImages: readonly string[];
}

export interface Toleration {
  key?: string;
  operator?: string;
  value?: string;
  effect?: string;
  tolerationSeconds?: number;
}

export type StoredBatchJob = Stored<BatchJob & { metadata: ObjectMeta }>;

/** The parts of a Pod that are read. */
export interface WorkerPod {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  spec?: { nodeName?: string; schedulingGates?: { name: string }[] };
  status?: {
    phase?: string;
    reason?: string;
    message?: string;
    conditions?: { type: string; status: string; reason?: string; message?: string; lastTransitionTime?: string }[];
    containerStatuses?: ContainerStatus[];
  };
}

export interface ContainerStatus {
  name: string;
  ready?: boolean;
  restartCount?: number;
  state?: ContainerState;
  lastState?: ContainerState;
}

export interface ContainerState {
  waiting?: { reason?: string; message?: string };
  running?: { startedAt?: string };
  terminated?: { exitCode: number; reason?: string; message?: string; startedAt?: string; finishedAt?: string };
}
