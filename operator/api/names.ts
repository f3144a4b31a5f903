/** Names that are API: group, labels, annotations, finalizers, field managers. */
export const GROUP = 'millrace.dev';
export const API_VERSION = `${GROUP}/v1alpha1`;

export const labels = {
  managedBy: 'app.kubernetes.io/managed-by',
  name: 'app.kubernetes.io/name',
  component: 'app.kubernetes.io/component',
  /** Name of the Tenant, on its namespace and everything the operator makes in it. */
  tenant: `${GROUP}/tenant`,
  /** UID of the Tenant, on its namespace: a recreated Tenant of the same name is another tenant. */
  tenantUid: `${GROUP}/tenant-uid`,
  /** The Tenant's spec.maxPriority, on its namespace. */
  maxPriority: `${GROUP}/max-priority`,
  jobName: `${GROUP}/job-name`,
  jobUid: `${GROUP}/job-uid`,
  slot: `${GROUP}/slot`,
  attempt: `${GROUP}/attempt`,
} as const;

export const annotations = {
  /** Set by an admin on a retained namespace to the name of the Tenant that may take it up. */
  adopt: `${GROUP}/adopt-by`,
  safeToEvict: 'cluster-autoscaler.kubernetes.io/safe-to-evict',
} as const;

/** Kueue's plain-pod integration: what puts a pod into a queue, what holds it there, and what Kueue marks it with as its own. */
export const kueue = { queueLabel: 'kueue.x-k8s.io/queue-name', gate: 'kueue.x-k8s.io/admission', managedLabel: 'kueue.x-k8s.io/managed' } as const;

export const MANAGED_BY = 'millrace';
/** In spec.managedBy of a BatchJob: this operator. */
export const JOB_CONTROLLER = `${GROUP}/operator`;
export const FIELD_MANAGER = 'millrace-operator';
export const TENANT_FINALIZER = `${GROUP}/tenant`;
/** ServiceAccount of the worker pods in each tenant's namespace. */
export const WORKER_SERVICE_ACCOUNT = 'millrace-worker';
/** Container of a worker pod, the one that `kubectl logs` shows. */
export const WORKER_CONTAINER = 'worker';

/** Namespace of a tenant whose spec names none. */
export const defaultNamespace = (tenant: string): string => `tenant-${tenant}`;
