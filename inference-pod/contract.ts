/**
 * The contract between the operator and the worker program: the only file of inference-pod/ that the operator imports.
 *
 * Worker and operator speak one idempotent call, `sync` (POST, JSON). The worker states what it holds and how far it
 * is; the answer states the complete set of leases that it should hold from now on. Both sides are level-triggered: a
 * lost request or answer is repaired by the next one. One sync is always open; the operator answers when it has news
 * or after `timing.holdMs`.
 */

export const PROTOCOL = 1;
export const SYNC_PATH = '/v1/sync';
/** Audience of the projected ServiceAccount token that a worker presents. */
export const SYNC_AUDIENCE = 'millrace.dev/sync';

export const timing = {
  /** The operator answers an open sync at the latest after this long. */
  holdMs: 5_000,
  /** A lease that was not renewed for this long goes to another worker. */
  leaseMs: 15_000,
  /** A worker closes a segment about this often while it has results. */
  checkpointMs: 1_000,
} as const;

/** Names of the environment variables that configure a worker process. */
export const env = {
  /** JSON of `WorkerSpec`. */
  spec: 'MILLRACE_SPEC',
  slot: 'MILLRACE_SLOT',
  attempt: 'MILLRACE_ATTEMPT',
  /** Base URL of the sync server, e.g. https://millrace-sync.millrace-system.svc:9443 */
  syncUrl: 'MILLRACE_SYNC_URL',
  /** PEM of the CA that signed the sync server's certificate; absent for plain http. */
  syncCa: 'MILLRACE_SYNC_CA',
  /** File with the bearer token, read anew for every call; absent when the server asks for none. */
  tokenFile: 'MILLRACE_TOKEN_FILE',
  /** CPU limit of the container in milli-CPU (downward API, divisor 1m). */
  cpuMillis: 'MILLRACE_CPU_MILLIS',
  /** Port of the Open Inference Protocol, in serve mode. */
  servePort: 'MILLRACE_SERVE_PORT',
  /** Port of /healthz, /readyz and /metrics; 0 or absent for none. */
  healthPort: 'MILLRACE_HEALTH_PORT',
  /** A file that gets `Fatal` as JSON before the process exits with a permanent code. */
  terminationLog: 'MILLRACE_TERMINATION_LOG',
  logLevel: 'MILLRACE_LOG_LEVEL',
} as const;

/** Variables with the keys of an S3 store; the worker takes them out of its environment when it starts. */
export const s3Env = {
  input: { accessKeyId: 'MILLRACE_INPUT_ACCESS_KEY_ID', secretAccessKey: 'MILLRACE_INPUT_SECRET_ACCESS_KEY', sessionToken: 'MILLRACE_INPUT_SESSION_TOKEN' },
  output: { accessKeyId: 'MILLRACE_OUTPUT_ACCESS_KEY_ID', secretAccessKey: 'MILLRACE_OUTPUT_SECRET_ACCESS_KEY', sessionToken: 'MILLRACE_OUTPUT_SESSION_TOKEN' },
} as const;

/** A bucket and how to get at it. Keys to it are in the environment: see `s3Env`. */
export interface S3Place {
  bucket: string;
  region: string;
  /** Base URL of the server; absent: AWS. */
  endpoint?: string;
  /** The bucket is named in the path of requests, not in the host name. */
  pathStyle: boolean;
}

/** What a worker process does, the same for every worker of a job. Paths in `root` are absolute; `path` is relative to it. */
export interface WorkerSpec {
  job: { uid: string; namespace: string; name: string };
  model: { root: string; path: string; task: 'tensors' | 'text-embedding'; accelerator: 'auto' | 'cuda' | 'cpu'; embedding?: EmbeddingSpec };
  /** `openai-batch` goes with the task text-embedding. */
  input: { format: 'jsonl' | 'csv' | 'openai-batch' } & (VolumeInputPlace | S3InputPlace);
  output: { overwrite: boolean } & (VolumeOutputPlace | S3OutputPlace);
  sharding: { targetBytes: number; maxWorkers: number };
  /** `maxTokens`: elements along free dimensions, over all items of a run. `timeoutSeconds`: a model run that takes longer costs the process. */
  batching: { maxSize: number; timeoutSeconds: number; maxTokens?: number };
}

/** How texts become embeddings, where the files beside the model are not to decide; see docs/formats.md. */
export interface EmbeddingSpec {
  pooling?: 'mean' | 'cls';
  normalize?: boolean;
  /** Texts that are too long are cut, not refused. */
  truncate: boolean;
  /** Most tokens of a text, special ones included. */
  maxSequenceLength?: number;
  /** Put before each text. */
  prompt?: string;
}

/**
 * `path` and then each of `additionalPaths` names a file, a folder (all files below it) or a glob, whose files are
 * taken in ascending byte order of their path; a file that is named again is not read again. Files may be gzip.
 */
export interface VolumeInputPlace {
  root: string;
  path: string;
  additionalPaths: readonly string[];
}

/** The same with keys: of an object, of a folder (all objects whose key begins with it and "/") or a glob. */
export interface S3InputPlace extends S3Place {
  key: string;
  additionalKeys: readonly string[];
}

/** `path` names a folder, made when absent. */
export interface VolumeOutputPlace {
  root: string;
  path: string;
}

/** `prefix` is '' or ends with "/". */
export interface S3OutputPlace extends S3Place {
  prefix: string;
}

/** One run of one worker. `incarnation` is random per process, so that a restart in place is seen as such. */
export interface WorkerId {
  job: string;
  slot: number;
  attempt: number;
  incarnation: string;
}

/** A piece of work that one worker holds. Leases are compared by `leaseKey`. */
export type Lease =
  | { kind: 'plan' }
  | { kind: 'shard'; shard: number; generation: number }
  | { kind: 'finish'; generations: GenerationRange[] };

/** Shards `shards` ("0-11,13") were accepted in `generation`. */
export interface GenerationRange {
  shards: string;
  generation: number;
}

export function leaseKey(lease: Lease): string {
  return lease.kind === 'shard' ? `shard/${lease.shard}/${lease.generation}` : lease.kind;
}

export interface ItemCounts {
  succeeded: number;
  failed: number;
}

/** What the plan lease found: numbers only; the shards themselves are in `shards.json` beside the segments. */
export interface PlanResult {
  shards: number;
  /** Items in the input; an estimate unless `exact`. */
  items: number;
  exact: boolean;
  bytes: number;
  files: number;
}

export interface FinishResult {
  items: ItemCounts;
  /** Paths relative to the output volume's root, or s3:// URLs. */
  results: string;
  errors: string;
  manifest: string;
  resultsBytes: number;
  errorsBytes: number;
}

/** How far a worker is with one lease. `done` and `released` are repeated until an answer no longer lists the lease. */
export interface LeaseReport {
  lease: Lease;
  state: 'running' | 'done' | 'released';
  /** Durable items of this shard, counted along the stored chain of segments, whoever wrote them. */
  items: ItemCounts;
  /** Durable input bytes of this shard, and its size. */
  bytes: { done: number; total: number };
  /** With a shard that has failed items: the first error, for the job's message. At most 300 characters. */
  firstError?: string;
  plan?: PlanResult;
  finish?: FinishResult;
}

/** A reason that no retry can mend. The job fails with `code` as its condition's reason. */
export interface Fatal {
  code: FatalCode;
  /** One sentence: which field, what came, what was expected, what to do. At most 1,000 characters. */
  message: string;
}

/** Permanent failures and the exit code that goes with each (sysexits.h where it has one). */
export const fatalExitCodes = {
  SpecInvalid: 64,
  InputInvalid: 65,
  InputNotFound: 66,
  ModelNotFound: 67,
  ModelInvalid: 68,
  AcceleratorUnavailable: 69,
  OutputExists: 73,
  OutputUnusable: 74,
  AccessDenied: 77,
} as const;
export type FatalCode = keyof typeof fatalExitCodes;

export const exitCodes = {
  /** Told by the operator that the job is done, or to leave. */
  done: 0,
  /** Unexpected error: restarted in place by the kubelet. */
  crashed: 1,
  /** Told that another attempt has this slot, or that the job is gone. */
  retired: 75,
  /** SIGTERM: the open segment was closed and every lease given back. */
  drained: 143,
} as const;

/** What runs the model. */
export interface WorkerEngine {
  provider: 'cpu' | 'cuda';
  /** Model of the CPU or GPU. */
  device: string;
  /** Library and version. */
  runtime: string;
  node: string;
  sessions: number;
  /** Threads of each session. */
  threads: number;
}

/** Milliseconds of the model runs of the last minute: half of them, 90 % and 99 % took no longer. */
export interface WorkerRuns {
  count: number;
  p50: number;
  p90: number;
  p99: number;
}

/** What the operator can judge a worker by. */
export interface WorkerLoad {
  /** Items made durable per second since the process started work, smoothed. */
  itemsPerSecond: number;
  cpuSeconds: number;
  rssBytes: number;
  /** CPUs in use on the mean since the report before; absent in the first. */
  cpus?: number;
  /** Absent when there were no runs in the last minute. */
  runs?: WorkerRuns;
  /** Chunks of input that wait for a session. */
  queueDepth?: number;
  /** Items in a row that the model refused, up to now. */
  failuresInARow?: number;
  /** Present once the model is loaded. */
  engine?: WorkerEngine;
  /** Something the user should know and that is not fatal, e.g. a fallback to CPU. At most 300 characters. */
  warning?: string;
}

export interface SyncRequest {
  protocol: number;
  worker: WorkerId;
  /** Counts up in one incarnation; an older request that arrives late is ignored. */
  seq: number;
  /** The highest term seen so far; 0 at first. */
  term: number;
  /** SIGTERM came: take nothing new. */
  draining: boolean;
  /** How many leases the worker wants to hold at once. */
  capacity: number;
  leases: LeaseReport[];
  fatal?: Fatal;
  load: WorkerLoad;
}

export interface SyncResponse {
  /** Grows with every change of the leader. A worker ignores answers with a lower term than it has seen. */
  term: number;
  /** All leases that the worker holds from now on; running ones that are not listed are stopped without a further segment. */
  leases: Lease[];
  /** Keep the leases but start no new batch. */
  pause: boolean;
  /**
   * `work`: go on; `leave`: no longer wanted, so close the open segments, give everything back and exit 0; `done`: exit 0;
   * `retired`: exit with `exitCodes.retired`.
   */
  verdict: 'work' | 'leave' | 'done' | 'retired';
  /** A newer sync of this worker came in while this one was open: its answer counts, not this one. */
  superseded?: boolean;
}

/**
 * Where a job's files are, relative to the output folder: `<output.root>/<output.path>`, or the prefix in S3.
 * - `.millrace/<job UID>/shards.json` plan, exclusive create
 * - `.millrace/<job UID>/<shard>/<generation>/<start offset>` segments, exclusive create
 * - `results.jsonl`, `errors.jsonl`, `manifest.json`: visible only when complete; the manifest is the commit
 */
export const files = {
  state: (jobUid: string): string => `.millrace/${jobUid}`,
  results: 'results.jsonl',
  errors: 'errors.jsonl',
  manifest: 'manifest.json',
} as const;
