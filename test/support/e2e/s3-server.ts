import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { buildModelImage, ensureVersitygw, loadImages, sharedMount } from '../../../dev/cluster/index.ts';
import { type ApiObject, paths } from './api.ts';
import type { Bench } from './bench.ts';
import { folderPrefix, testLabel } from './global-setup.ts';
import { openFolder } from './tenant.ts';
import { until } from './until.ts';

const image = 'millrace.local/versitygw:v1.8.0';
const port = 7070;
export const s3Keys = { AWS_ACCESS_KEY_ID: 'millrace-e2e', AWS_SECRET_ACCESS_KEY: 'canary-of-the-secret-key' };

export interface ClusterS3 {
  endpoint: string;
  bucket: string;
  /** Folder of the bucket on this machine: objects are files. */
  folder: string;
  /** A rule of a Tenant's spec.network.egress that lets its workers reach the server. */
  egress: object;
}

/** versitygw as a Deployment of its own namespace, over a folder of the shared volume. */
export async function deployS3(bench: Bench): Promise<ClusterS3> {
  await buildModelImage(image, { versitygw: { from: await ensureVersitygw() } });
  await loadImages(bench.cluster, [image]);
  const namespace = `e2e-storage-${bench.runId}`;
  const name = `${folderPrefix}s3-${bench.runId}`;
  const root = join(bench.cluster.sharedDir, name);
  openFolder(root);
  mkdirSync(join(root, 'data'), { recursive: true });
  bench.watched.add(namespace);
  const selector = { app: 's3' };
  await bench.kubectl(['apply', '-f', '-'], {
    apiVersion: 'v1',
    kind: 'List',
    items: [
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels: { [testLabel]: bench.runId } } },
      {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 's3', namespace },
        spec: {
          selector: { matchLabels: selector },
          template: {
            metadata: { labels: selector },
            spec: {
              automountServiceAccountToken: false,
              containers: [{
                name: 's3',
                image,
                command: ['/versitygw', '--port', `:${port}`, '--quiet', 'posix', '/data'],
                env: [{ name: 'ROOT_ACCESS_KEY_ID', value: s3Keys.AWS_ACCESS_KEY_ID }, { name: 'ROOT_SECRET_ACCESS_KEY', value: s3Keys.AWS_SECRET_ACCESS_KEY }],
                readinessProbe: { tcpSocket: { port }, periodSeconds: 1 },
                volumeMounts: [{ name: 'data', mountPath: '/data' }],
              }],
              volumes: [{ name: 'data', hostPath: { path: `${sharedMount}/${name}`, type: 'Directory' } }],
            },
          },
        },
      },
      { apiVersion: 'v1', kind: 'Service', metadata: { name: 's3', namespace }, spec: { selector, ports: [{ port }] } },
    ],
  });
  await until('the S3 server is ready', 60_000, async () => {
    const deployment = await bench.api.get<ApiObject & { status?: { readyReplicas?: number } }>(paths.group('apps', namespace, 'deployments', 's3'));
    return (deployment?.status?.readyReplicas ?? 0) > 0;
  });
  return {
    endpoint: `http://s3.${namespace}.svc:${port}`,
    bucket: 'data',
    folder: join(root, 'data'),
    egress: { to: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } }, podSelector: { matchLabels: selector } }], ports: [{ port }] },
  };
}
