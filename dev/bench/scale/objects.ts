const NODE_TAINT = 'kwok.x-k8s.io/node';
/** Every tenth tenant is empty at first: its jobs start at once. */
const isRoomy = (tenant: number): boolean => tenant % 10 === 9;
export const roomyTenants = (tenants: number): number[] => Array.from({ length: tenants }, (_, n) => n).filter(isRoomy);
export const busyTenants = (tenants: number): number[] => Array.from({ length: tenants }, (_, n) => n).filter((n) => !isRoomy(n));

export const tenantName = (n: number): string => `scale-${String(n).padStart(3, '0')}`;
const jobName = (prefix: string, n: number): string => `${prefix}-${String(n).padStart(5, '0')}`;

/** A machine with 8 GPUs that nobody has. */
export function node(n: number): object {
  const name = `scale-node-${String(n).padStart(4, '0')}`;
  const size = { cpu: '64', memory: '512Gi', pods: '110', 'nvidia.com/gpu': '8' };
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      annotations: { 'kwok.x-k8s.io/node': 'fake' },
      labels: { type: 'kwok', pool: n % 50 === 0 ? 'rare' : 'common', 'kubernetes.io/hostname': name },
    },
    spec: { taints: [{ key: NODE_TAINT, value: 'fake', effect: 'NoSchedule' }] },
    status: { allocatable: size, capacity: size },
  };
}

export function tenant(n: number): object {
  return {
    apiVersion: 'millrace.dev/v1alpha1',
    kind: 'Tenant',
    metadata: { name: tenantName(n) },
    spec: {
      namespace: tenantName(n),
      quota: { 'requests.nvidia.com/gpu': isRoomy(n) ? '200' : '4', pods: isRoomy(n) ? '210' : '20', 'count/batchjobs.millrace.dev': '5000' },
      weight: 1 + (n % 3),
      maxPriority: 1000,
      scheduling: { nodeSelector: { type: 'kwok' }, tolerations: [{ key: NODE_TAINT, operator: 'Exists', effect: 'NoSchedule' }] },
      deletionPolicy: 'Delete',
    },
  };
}

/** A volume for each tenant that nobody ever mounts. */
export function volume(n: number): object[] {
  const namespace = tenantName(n);
  return [
    {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: namespace },
      spec: {
        capacity: { storage: '1Gi' }, accessModes: ['ReadWriteMany'], storageClassName: 'millrace-bench', persistentVolumeReclaimPolicy: 'Retain',
        claimRef: { namespace, name: 'data' }, hostPath: { path: '/nowhere' },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'data', namespace },
      spec: { accessModes: ['ReadWriteMany'], storageClassName: 'millrace-bench', volumeName: namespace, resources: { requests: { storage: '1Gi' } } },
    },
  ];
}

export interface Job {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace: string };
  spec: object;
}

/** Of one to four workers with a GPU each. One in ten asks for nodes that are rare. */
export function job(tenantNumber: number, prefix: string, n: number, workers: { min?: number; max?: number; priority?: number } = {}): Job {
  const { min = 1 + (n % 2), max = 1 + (n % 4), priority = 100 * (n % 4) } = workers;
  const name = jobName(prefix, n);
  return {
    apiVersion: 'millrace.dev/v1alpha1',
    kind: 'BatchJob',
    metadata: { name, namespace: tenantName(tenantNumber) },
    spec: {
      model: { image: 'millrace.local/models/none:v1', path: 'model.onnx' },
      input: { volume: { claimName: 'data', path: 'in.jsonl' } },
      output: { volume: { claimName: 'data', path: `out/${name}` } },
      priority,
      workers: {
        min: Math.min(min, max), max, accelerator: 'cuda',
        resources: { limits: { cpu: '1', memory: '1Gi' } },
        tolerations: [{ key: NODE_TAINT, operator: 'Exists', effect: 'NoSchedule' }],
        ...(prefix === 'job' && n % 10 === 0 ? { nodeSelector: { pool: 'rare' } } : {}),
      },
    },
  };
}
