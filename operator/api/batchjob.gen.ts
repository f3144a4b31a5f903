// From crds/batchjob.yaml, made by `npm run generate`; change that one instead.
// Fields with a default are required here: the API server and parse.ts fill them in.
import type { ObjectMeta } from '../kube/object.ts';
import type { Condition } from './conditions.ts';

/**
 * A BatchJob runs one model over one input and writes one output. The operator splits the input into shards, runs them on worker pods in the job's namespace, and reports progress, rate and time left in the status. Results are written exactly once and in input order, whatever is lost on the way.
 */
export interface BatchJob {
  /**
   * API group and version: millrace.dev/v1alpha1.
   */
  apiVersion: 'millrace.dev/v1alpha1';
  /**
   * Kind of this resource: BatchJob.
   */
  kind: 'BatchJob';
  metadata: ObjectMeta;
  spec: BatchJobSpec;
  status?: BatchJobStatus;
}
/**
 * What to run. Model, input, output and sharding are fixed once the job exists; the size of the worker pool, suspension and limits may change at any time.
 */
export interface BatchJobSpec {
  model: BatchJobModel;
  input: BatchJobInput;
  output: BatchJobOutput;
  workers: BatchJobWorkers;
  sharding: BatchJobSharding;
  batching: BatchJobBatching;
  retry: BatchJobRetry;
  /**
   * Jobs of higher priority get workers first. A job that waits rises with time, so that none starves. At most the tenant's spec.maxPriority; may be changed at any time.
   */
  priority: number;
  /**
   * When the results are wanted, such as 2026-12-01T06:00:00Z. A job that would miss it at its measured rate goes before others, the earliest deadline first. The job goes on after it; spec.activeDeadlineSeconds ends one.
   */
  deadline?: string;
  /**
   * Names of BatchJobs in the namespace that must be complete before this one starts. It does not start when one of them has failed.
   *
   * Items: Name of a BatchJob in the job's namespace.
   */
  dependsOn: string[];
  /**
   * Who runs the job, as domain/name (as in batch/v1, KEP-4368). Left out or millrace.dev/operator, this operator; it does nothing with a job of anybody else. Cannot be changed.
   */
  managedBy?: string;
  /**
   * A name for this piece of work, visible ASCII characters, so that submitting it twice runs it once. Within 24 hours of the creation of the first job that has the key, another job of the namespace with the key does not run: if all that cannot be changed about a job is the same (model, input, output, sharding, batching, workers.accelerator, workers.resources), it waits for the first one and is Complete with its results, or Failed with its failure; if not, it fails with reason IdempotencyKeyReused. A job that is made after the first one failed, or was deleted, runs. Cannot be changed.
   */
  idempotencyKey?: string;
  /**
   * A LocalQueue of Kueue in the job's namespace, to which the admission of the worker pods is left: each waits behind Kueue's scheduling gate until Kueue admits it, and the job runs with those that are admitted. The operator's own scheduler then neither counts nor preempts them; workers.min, priority and deadline have no effect. Cannot be changed.
   */
  queueName?: string;
  /**
   * Stop the workers and keep what is finished; set it back to false to go on from there.
   */
  suspend: boolean;
  /**
   * The job fails when it has not finished this long after its start. Time spent suspended does not count.
   */
  activeDeadlineSeconds?: number;
  /**
   * Delete the BatchJob and its pods this long after it finished. Results stay. Without it the job is kept.
   */
  ttlSecondsAfterFinished?: number;
}
/**
 * The model to run, from an OCI image or from a volume of the job's namespace.
 */
export interface BatchJobModel {
  /**
   * OCI image that holds the model file, e.g. registry.example/digits:v3. It is mounted read-only as an image volume and never run; the kubelet caches it.
   */
  image?: string;
  /**
   * Names of Secrets of type kubernetes.io/dockerconfigjson in the job's namespace, used in addition to the tenant's to pull the image.
   *
   * Items: Name of a Secret in the job's namespace.
   */
  imagePullSecrets?: string[];
  volume?: BatchJobModelVolume;
  /**
   * Path of the ONNX file inside the image or volume, without a leading slash.
   */
  path: string;
  /**
   * How items are fed to the model. tensors: each item carries its inputs by name, {"id": …, "inputs": {name: nested numbers}}. text-embedding: each item is a text, {"id": …, "text": …}, and its result an embedding; for encoders of the BERT family (input_ids, attention_mask, perhaps token_type_ids) with their tokenizer.json beside the model file, or in the folder above when the model lies in a folder named onnx.
   */
  task: 'tensors' | 'text-embedding';
  embedding?: BatchJobModelEmbedding;
}
/**
 * A volume that holds the model file.
 */
export interface BatchJobModelVolume {
  /**
   * Name of a PersistentVolumeClaim in the job's namespace.
   */
  claimName: string;
}
/**
 * How texts become embeddings, with task text-embedding. What is left out is taken from the files that sentence-transformers keeps beside a model.
 */
export interface BatchJobModelEmbedding {
  /**
   * How the vectors of a text's tokens become one, for models that give a vector for each token. mean - the mean of all; cls - the first. Left out, what 1_Pooling/config.json says.
   */
  pooling?: 'mean' | 'cls';
  /**
   * Scale embeddings to length 1. Left out, true where modules.json lists Normalize or where there is no modules.json.
   */
  normalize?: boolean;
  /**
   * Cut texts that have too many tokens. Without it they fail with code TextTooLong.
   */
  truncate: boolean;
  /**
   * Most tokens of a text, special ones included. Left out, max_seq_length of sentence_bert_config.json, or model_max_length of tokenizer_config.json.
   */
  maxSequenceLength?: number;
  /**
   * Text that is put before each text, such as "query: ". Left out, the default prompt of config_sentence_transformers.json, if it names one.
   */
  prompt?: string;
}
/**
 * Where the items come from. Exactly one of volume, s3, configMap and inline.
 */
export interface BatchJobInput {
  /**
   * Format of the input, UTF-8 in all cases, as it is or packed with gzip. jsonl: one JSON object per line. openai-batch: lines of the OpenAI Batch API for /v1/embeddings, with model.task text-embedding; results and errors are in its shape too. csv (RFC 4180): the first record of each file is a header; the column "id" is the item's id, and each input of the model is a column of its name (a number, text, or a whole tensor as JSON) or columns name[0], name[1] and so on; where the model has one input, a vector, all other columns in their order; with model.task text-embedding it is the column "text".
   */
  format: 'jsonl' | 'csv' | 'openai-batch';
  volume?: BatchJobInputVolume;
  s3?: BatchJobInputS3;
  configMap?: BatchJobInputConfigMap;
  /**
   * The items themselves, for small jobs.
   */
  inline?: string;
}
/**
 * Input files on a volume.
 */
export interface BatchJobInputVolume {
  /**
   * Name of a PersistentVolumeClaim in the job's namespace.
   */
  claimName: string;
  /**
   * A file, a folder (all files below it) or a glob such as in/*.jsonl, without a leading slash. Files are taken in ascending order of their path.
   */
  path: string;
  /**
   * Further files, folders and globs, read behind path in the order given. A file that is found again is not read again.
   *
   * Items: A file, a folder or a glob, as path.
   */
  additionalPaths?: string[];
}
/**
 * Input objects in a bucket of AWS S3, or of any server that speaks its protocol.
 */
export interface BatchJobInputS3 {
  /**
   * Name of the bucket.
   */
  bucket: string;
  /**
   * Key of an object, of a folder (all objects whose key begins with it and a slash) or a glob such as in/*.jsonl. Objects are taken in ascending byte order of their keys.
   */
  key: string;
  /**
   * Further objects, folders and globs, read behind key in the order given. An object that is found again is not read again.
   *
   * Items: An object, a folder or a glob, as key.
   */
  additionalKeys?: string[];
  /**
   * Base URL of the S3 server, such as http://s3.storage.svc:9000. AWS when absent. The Tenant's spec.network.egress must allow it.
   */
  endpoint?: string;
  /**
   * Region of the bucket; many servers other than AWS take any.
   */
  region: string;
  /**
   * Name the bucket in the path of requests rather than in the host name. True when absent and there is an endpoint, else false.
   */
  pathStyle?: boolean;
  /**
   * Name of a Secret in the job's namespace with the keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary ones, AWS_SESSION_TOKEN. Only the worker pods get them; they wait until the Secret is there.
   */
  credentialsSecret: string;
}
/**
 * Input in a ConfigMap. It is copied when the job starts, so later changes of the ConfigMap do not matter.
 */
export interface BatchJobInputConfigMap {
  /**
   * Name of a ConfigMap in the job's namespace.
   */
  name: string;
  /**
   * Key of the ConfigMap's data that holds the items.
   */
  key: string;
}
/**
 * Where results.jsonl, errors.jsonl and manifest.json are written. They appear when the job is complete, never half-written. Exactly one of volume and s3.
 */
export interface BatchJobOutput {
  volume?: BatchJobOutputVolume;
  s3?: BatchJobOutputS3;
  /**
   * Replace the results of another job that are in the folder or below the prefix. Without it the job fails with reason OutputExists.
   */
  overwrite: boolean;
}
/**
 * A folder on a volume. ReadWriteMany claims let workers run on any node, ReadWriteOnce keeps them on one node, ReadWriteOncePod means one worker.
 */
export interface BatchJobOutputVolume {
  /**
   * Name of a PersistentVolumeClaim in the job's namespace.
   */
  claimName: string;
  /**
   * Folder on the volume, made when absent, without a leading slash.
   */
  path: string;
}
/**
 * Objects in a bucket of AWS S3, or of a server that speaks its protocol and honours If-None-Match on writes (a job finds out at its start, and fails where it does not).
 */
export interface BatchJobOutputS3 {
  /**
   * Name of the bucket.
   */
  bucket: string;
  /**
   * What the keys of the objects begin with, such as results/digits; "/" is added where it does not end with one.
   */
  prefix: string;
  /**
   * Base URL of the S3 server, such as http://s3.storage.svc:9000. AWS when absent. The Tenant's spec.network.egress must allow it.
   */
  endpoint?: string;
  /**
   * Region of the bucket; many servers other than AWS take any.
   */
  region: string;
  /**
   * Name the bucket in the path of requests rather than in the host name. True when absent and there is an endpoint, else false.
   */
  pathStyle?: boolean;
  /**
   * Name of a Secret in the job's namespace with the keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary ones, AWS_SESSION_TOKEN. Only the worker pods get them; they wait until the Secret is there.
   */
  credentialsSecret: string;
}
/**
 * The pool of worker pods.
 */
export interface BatchJobWorkers {
  /**
   * The job starts when this many workers have room, and is suspended rather than run with fewer while other jobs go before it. What goes beyond follows the room that there is.
   */
  min: number;
  /**
   * Most worker pods at a time. May be changed while the job runs, also by kubectl scale.
   */
  max: number;
  /**
   * cuda: one GPU (nvidia.com/gpu) per worker, the job fails when CUDA cannot be used. cpu: never a GPU. auto: CUDA when the worker's resources name nvidia.com/gpu, with a fallback to CPU that is told in an event; else CPU.
   */
  accelerator: 'auto' | 'cuda' | 'cpu';
  resources?: BatchJobWorkersResources;
  /**
   * Labels that a worker's node must have, in addition to those of the Tenant; a label that the Tenant sets cannot get another value.
   */
  nodeSelector?: {
    /**
     * Value of the node label.
     */
    [k: string]: string;
  };
  /**
   * Taints that workers tolerate. Each must be listed in the Tenant's spec.scheduling.tolerations.
   */
  tolerations?: BatchJobWorkersToleration[];
}
/**
 * Resources of one worker. What is not set comes from the operator's defaults (500m CPU, 512Mi memory unless changed); limits equal requests unless both are given.
 */
export interface BatchJobWorkersResources {
  /**
   * Resources that the scheduler reserves for a worker.
   */
  requests?: {
    /**
     * A quantity such as 500m or 2Gi.
     */
    [k: string]: number | string;
  };
  /**
   * Most that a worker may use. The CPU limit also sets the number of inference threads.
   */
  limits?: {
    /**
     * A quantity such as 500m or 2Gi.
     */
    [k: string]: number | string;
  };
}
/**
 * A toleration as in a pod.
 */
export interface BatchJobWorkersToleration {
  /**
   * Taint key; empty with operator Exists means every key.
   */
  key?: string;
  /**
   * Exists or Equal (the default).
   */
  operator?: 'Exists' | 'Equal';
  /**
   * Taint value, with operator Equal.
   */
  value?: string;
  /**
   * Taint effect; empty means all.
   */
  effect?: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute';
  /**
   * How long to stay on a node that got the taint, with effect NoExecute.
   */
  tolerationSeconds?: number;
}
/**
 * How the input is split.
 */
export interface BatchJobSharding {
  /**
   * Most bytes of one shard. Shards are smaller when the input is small, so that each worker gets several, and larger when there would be more than 10,000.
   */
  targetBytes: number | string;
}
/**
 * How items are put together for the model.
 */
export interface BatchJobBatching {
  /**
   * Most items of one model run. How many it really is, the same for the whole job, is found at its start with the first items of the input, as the smallest number that is within 5 % of the fastest; a job too short for that takes 32. Models with a leading axis of 1, and models whose results depend on what is beside an item in a batch (dynamic quantisation), run items one by one.
   */
  maxSize: number;
  /**
   * For models with free dimensions besides the batch, most elements along them of one model run, over all its items; for token ids of shape [N, L] this is the number of tokens. Only items of equal shape share a run, and nothing is padded; an item that is larger runs alone. No limit when absent. With model.task text-embedding texts of like length share a run, those that fill up the shorter ones count, and the limit is 16384 when absent.
   */
  maxTokens?: number;
  /**
   * A model run that takes longer is given up. It cannot be cancelled, so the worker process restarts, which counts as a crash on the shard; then the items of that run are tried one by one, and one that again takes longer fails with code TimedOut.
   */
  timeoutSeconds: number;
}
/**
 * How much may go wrong.
 */
export interface BatchJobRetry {
  /**
   * How often a worker may crash on one shard before the job fails. Evictions, deletions and lost nodes do not count.
   */
  perShard: number;
  /**
   * The job fails when more items than this fail, as a number or a percentage of all items. Failed items are listed in errors.jsonl either way; the default only catches inputs that do not fit the model at all.
   */
  maxFailedItems: number | string;
}
/**
 * What the operator observed.
 */
export interface BatchJobStatus {
  /**
   * The generation of the spec that this status is about.
   */
  observedGeneration?: number;
  /**
   * Where the job is, in one word.
   */
  state?: 'Pending' | 'Planning' | 'Running' | 'Finishing' | 'Suspended' | 'Complete' | 'Failed';
  /**
   * Place among the jobs of the cluster that wait for room, while the job is one of them.
   */
  queuePosition?: number;
  /**
   * When the job is likely to start, while it waits and what runs before it told its rate.
   */
  startEstimate?: string;
  /**
   * One sentence about the present state.
   */
  message?: string;
  duplicateOf?: BatchJobStatusDuplicateOf;
  /**
   * Name of the Tenant whose namespace the job is in.
   */
  tenant?: string;
  /**
   * Where the model comes from.
   */
  model?: string;
  /**
   * Items with a durable result or error, e.g. 61% (1097/1797).
   */
  progress?: string;
  /**
   * Items per second over all workers, e.g. 412/s.
   */
  rate?: string;
  /**
   * Time left at the present rate, e.g. 1m20s.
   */
  eta?: string;
  /**
   * Worker pods that exist.
   */
  replicas?: number;
  /**
   * Label selector of the worker pods.
   */
  selector?: string;
  /**
   * Workers that hold work and workers wanted, e.g. 2/2.
   */
  readyWorkers?: string;
  items?: BatchJobStatusItems;
  shards?: BatchJobStatusShards;
  /**
   * One entry per worker slot.
   */
  workers?: BatchJobStatusWorker[];
  /**
   * The results: claim and path, or an s3:// URL.
   */
  output?: string;
  /**
   * The failed items: claim and path, or an s3:// URL.
   */
  errors?: string;
  /**
   * When the first worker pod was made; set anew on resume.
   */
  startTime?: string;
  /**
   * When the job was complete.
   */
  completionTime?: string;
  /**
   * When results were last made durable.
   */
  lastCheckpointTime?: string;
  /**
   * Complete, Failed, Suspended as in batch/v1 Job; SuccessCriteriaMet and FailureTarget tell the decision before the pods are gone; Reconciling and Stalled as in kstatus; Duplicate, of a job with an idempotencyKey: False for the one that runs, True for one that shares its end.
   */
  conditions?: Condition[];
}
/**
 * The job that has this one's spec.idempotencyKey, whose end this one shares without running.
 */
export interface BatchJobStatusDuplicateOf {
  /**
   * Name of the BatchJob in this namespace.
   */
  name: string;
  /**
   * UID of the BatchJob.
   */
  uid: string;
}
/**
 * Items, counted along the durable results.
 */
export interface BatchJobStatusItems {
  /**
   * Items in the input.
   */
  total?: number;
  /**
   * True while the total is an estimate, for inputs over 1 GiB.
   */
  estimated?: boolean;
  /**
   * Items with a result.
   */
  succeeded?: number;
  /**
   * Items with an error.
   */
  failed?: number;
  /**
   * The first failed item, in short; all are in errors.jsonl.
   */
  firstError?: string;
}
/**
 * Shards as ranges; together with committed this is what a new leader goes on from.
 */
export interface BatchJobStatusShards {
  /**
   * Number of shards.
   */
  total?: number;
  /**
   * Completed shards, e.g. 0-11,13.
   */
  completed?: string;
  /**
   * Shards that workers hold now.
   */
  leased?: number;
  /**
   * How often a shard was given out again because a worker crashed, fell silent or was lost, since the present leader took over.
   */
  retried?: number;
  /**
   * Bytes of the input.
   */
  bytes?: number;
  /**
   * Files of the input.
   */
  files?: number;
  committed?: BatchJobStatusShardsCommitted;
}
/**
 * Totals over the completed shards.
 */
export interface BatchJobStatusShardsCommitted {
  /**
   * Items with a result.
   */
  succeeded?: number;
  /**
   * Items with an error.
   */
  failed?: number;
  /**
   * Bytes of input.
   */
  bytes?: number;
}
/**
 * One worker slot.
 */
export interface BatchJobStatusWorker {
  /**
   * Slot of the worker.
   */
  slot: number;
  /**
   * Attempt of the slot; the pod is named <job>-w<slot>-<attempt>.
   */
  attempt?: number;
  /**
   * What the worker is working on.
   */
  shard?: string;
  /**
   * Items per second of this worker.
   */
  rate?: string;
  /**
   * When the worker was last heard of.
   */
  heartbeatTime?: string;
  engine?: BatchJobStatusWorkerEngine;
  /**
   * State of the pod or worker: Pending, Starting, Working, Idle, Draining, Lost.
   */
  state?: string;
}
/**
 * What runs the model, once the worker has loaded it.
 */
export interface BatchJobStatusWorkerEngine {
  /**
   * Execution provider of ONNX Runtime: cpu or cuda.
   */
  provider?: string;
  /**
   * Model of the CPU or GPU.
   */
  device?: string;
  /**
   * Library and version, e.g. onnxruntime 1.30.0.
   */
  runtime?: string;
}
