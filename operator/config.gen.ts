// From config/operator.schema.json, made by `npm run generate`; change that one instead.
// Fields with a default are required here: config.ts fills them in.

/**
 * Settings of the operator, as in config/operator.yaml. The chart writes them from its values.
 */
export interface OperatorFile {
  /**
   * Image of the worker pods.
   */
  workerImage: string;
  /**
   * When nodes pull the worker image.
   */
  workerImagePullPolicy: 'IfNotPresent' | 'Always' | 'Never';
  /**
   * A worker whose image cannot be pulled for this long fails its job.
   */
  imagePullDeadlineSeconds: number;
  /**
   * Beginnings of the image references that models may have, for all tenants. Empty means any; spec.allowedModelImages of a Tenant narrows it down.
   *
   * @maxItems 64
   */
  allowedModelImages: string[];
  /**
   * A job that was started is not suspended for another one before this; a worker beyond its job's minimum stays for a quarter of it.
   */
  minRuntimeSeconds: number;
  /**
   * Worker pods that a job may have beyond what the nodes hold, for a cluster autoscaler to see. They wait for a node, and take the next room that comes.
   */
  pendingWorkers: number;
  workerDefaults: WorkerDefaults;
  /**
   * Service without selector by which workers reach the leader, in the operator's namespace.
   */
  syncServiceName: string;
  /**
   * Port of the sync server and of its Service.
   */
  syncPort: number;
  /**
   * Port of /healthz and /readyz.
   */
  healthPort: number;
  /**
   * Port of /metrics.
   */
  metricsPort: number;
  /**
   * Lease by which the replicas elect their leader.
   */
  leaseName: string;
  caSecret: CaSecret;
  /**
   * Labels of the operator's pods; network policies let workers out to them only.
   */
  operatorLabels: {
    [k: string]: string;
  };
  /**
   * Least severe log lines, of operator and workers.
   */
  logLevel: 'debug' | 'info' | 'warn' | 'error';
}
/**
 * What a worker gets when its BatchJob does not say.
 */
export interface WorkerDefaults {
  resources: WorkerResources;
}
/**
 * Requests and limits of a worker.
 */
export interface WorkerResources {
  /**
   * CPU, such as 500m or 2.
   */
  cpu: string;
  /**
   * Memory, such as 512Mi.
   */
  memory: string;
}
/**
 * Secret of type kubernetes.io/tls with the authority that signs the sync server's certificate.
 */
export interface CaSecret {
  /**
   * Name, in the operator's namespace.
   */
  name: string;
  /**
   * Whether the leader makes it when it is missing. False for one that somebody else keeps.
   */
  create: boolean;
}
