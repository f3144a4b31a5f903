import { rm } from 'node:fs/promises';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { buildModelImage, type Cluster, ensureCluster, ensureImages, kubectl, loadImages } from '../../../dev/cluster/index.ts';
import { repoDir } from '../../../dev/cluster/cache.ts';
import { takeLock } from '../../../dev/cluster/lock.ts';
import { installChart } from '../../../dev/install.ts';
import { step } from '../../../dev/step.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    cluster: Cluster;
    /** Part of all names, so that nothing of an earlier run is taken for this one's. */
    runId: string;
  }
}

/** All models of test/support/models, in one image. */
export const modelImage = 'millrace.local/models/e2e:v1';
/** Tenants, volumes and folders of the tests carry this, for cleaning up. */
export const testLabel = 'millrace.dev/e2e';
export const folderPrefix = 'e2e-';
const models = join(repoDir, 'test/support/models');

interface Run {
  ready?: Promise<{ cluster: Cluster; runId: string; release: () => void }>;
  /** Projects that are not through yet. */
  users: number;
}
/** Each project loads this module anew, in the same process. */
const key = Symbol.for('millrace.e2e');
const shared = globalThis as { [key]?: Run };
shared[key] ??= { users: 0 };
const run = shared[key];

/** Once for all projects of a run: the cluster with today's images and chart. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  run.ready ??= prepare();
  run.users += 1;
  const { cluster, runId, release } = await run.ready;
  project.provide('cluster', cluster);
  project.provide('runId', runId);
  return async () => {
    run.users -= 1;
    if (run.users === 0) await cleanUp(cluster, false).finally(release);
  };
}

async function prepare(): Promise<{ cluster: Cluster; runId: string; release: () => void }> {
  const cluster = await ensureCluster();
  // A run installs its own operator and clears away what earlier ones left, so only one may use the cluster.
  const release = await takeLock(`use-${cluster.name}`);
  await cleanUp(cluster, true);
  const images = await ensureImages(cluster);
  await buildModelImage(modelImage, {
    'digits.onnx': { from: join(models, 'digits/model.onnx') },
    ...Object.fromEntries(readdirSync(models).filter((name) => name.endsWith('.onnx')).map((name) => [name, { from: join(models, name) }])),
    ...Object.fromEntries(['model.onnx', 'tokenizer.json', 'sentence_bert_config.json', 'modules.json', '1_Pooling/config.json'].map((name) => [`encoder/${name}`, { from: join(models, 'encoder', name) }])),
  });
  await loadImages(cluster, [modelImage]);
  await installChart(cluster, images, { worker: { imagePullDeadlineSeconds: 20 }, scheduling: { minRuntimeSeconds: 4 } });
  return { cluster, runId: Date.now().toString(36).slice(-5), release };
}

/** Removes the tests' tenants with their namespaces, volumes and folders; `MILLRACE_KEEP=1` leaves them after a run. */
async function cleanUp(cluster: Cluster, before: boolean): Promise<void> {
  if (!before && process.env['MILLRACE_KEEP'] === '1') return;
  const crds = await kubectl(cluster, ['get', 'crd', 'tenants.millrace.dev', '--ignore-not-found', '--output=name']);
  if (crds.trim() === '') return;
  await step('remove what the tests left', async () => {
    const selector = `--selector=${testLabel}`;
    for (const node of cluster.nodes) await kubectl(cluster, ['uncordon', node]);
    await kubectl(cluster, ['delete', 'tenants.millrace.dev', selector, '--ignore-not-found', '--timeout=120s'], { timeout: 130_000 });
    await kubectl(cluster, ['delete', 'namespaces,persistentvolumes', selector, '--ignore-not-found', '--timeout=120s'], { timeout: 130_000 });
    for (const name of readdirSync(cluster.sharedDir)) if (name.startsWith(folderPrefix)) await rm(join(cluster.sharedDir, name), { recursive: true, force: true });
  });
}
