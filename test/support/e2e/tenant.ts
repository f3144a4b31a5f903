import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { sharedMount } from '../../../dev/cluster/index.ts';
import { type ApiObject, paths } from './api.ts';
import type { Bench } from './bench.ts';
import { folderPrefix, testLabel } from './global-setup.ts';
import { until } from './until.ts';

export interface Condition {
  type: string;
  status: string;
  reason: string;
  message: string;
  lastTransitionTime: string;
}

export interface TenantObject extends ApiObject {
  status?: { state?: string; namespace?: string; message?: string; usage?: Record<string, { used: string; hard: string }>; conditions?: Condition[] };
}

export interface TestTenant {
  name: string;
  namespace: string;
  /** The folder of the claim `data` (ReadWriteMany) on this machine. */
  folder: string;
}

export const tenantManifest = (bench: Bench, area: string, spec: object = {}): { apiVersion: string; kind: string; metadata: { name: string; labels: object }; spec: object } => ({
  apiVersion: 'millrace.dev/v1alpha1',
  kind: 'Tenant',
  metadata: { name: `${area}-${bench.runId}`, labels: { [testLabel]: bench.runId } },
  spec: {
    namespace: `e2e-${area}-${bench.runId}`,
    quota: { 'requests.cpu': '8', 'requests.memory': '16Gi', 'limits.cpu': '40', 'limits.memory': '40Gi', pods: '60' },
    deletionPolicy: 'Delete',
    ...spec,
  },
});

export const tenantReady = (bench: Bench, name: string): Promise<TenantObject> =>
  until(`Tenant ${name} is Ready`, 90_000, async () => {
    const tenant = await bench.api.get<TenantObject>(paths.tenant(name));
    return tenant?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ? tenant : undefined;
  });

/** A Tenant with a volume that all nodes see, named after what it is for. */
export async function makeTenant(bench: Bench, area: string, spec: object = {}): Promise<TestTenant> {
  const manifest = tenantManifest(bench, area, spec);
  const { name } = manifest.metadata;
  const namespace = `e2e-${area}-${bench.runId}`;
  bench.watched.add(namespace);
  const folder = join(bench.cluster.sharedDir, `${folderPrefix}${area}-${bench.runId}`);
  openFolder(folder);
  await bench.kubectl(['apply', '-f', '-'], manifest);
  await tenantReady(bench, name);
  await bench.kubectl(['apply', '-f', '-'], {
    apiVersion: 'v1',
    kind: 'List',
    items: [
      {
        apiVersion: 'v1',
        kind: 'PersistentVolume',
        metadata: { name: namespace, labels: { [testLabel]: bench.runId } },
        spec: {
          capacity: { storage: '1Gi' },
          accessModes: ['ReadWriteMany'],
          storageClassName: namespace,
          persistentVolumeReclaimPolicy: 'Retain',
          claimRef: { namespace, name: 'data' },
          hostPath: { path: `${sharedMount}/${folderPrefix}${area}-${bench.runId}`, type: 'Directory' },
        },
      },
      {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: 'data', namespace },
        spec: { accessModes: ['ReadWriteMany'], storageClassName: namespace, resources: { requests: { storage: '1Gi' } } },
      },
    ],
  });
  return { name, namespace, folder };
}

/** A folder on the shared volume that workers, who are not root, may write. */
export function openFolder(path: string): void {
  mkdirSync(path, { recursive: true });
  chmodSync(path, 0o777);
}
