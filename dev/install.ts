import { join } from 'node:path';
import { type Cluster, ensureCluster, ensureImages, type Images, kubectl } from './cluster/index.ts';
import { repoDir } from './cluster/cache.ts';
import { runProgram } from './demo/program.ts';
import { CommandError, sh, type ShResult, StepError, step, tail } from './step.ts';

export const release = 'millrace';
export const releaseNamespace = 'millrace-system';
const chart = join(repoDir, 'charts/millrace');

/** `repository:tag` as two values of the chart. */
function imageValues(ref: string): { repository: string; tag: string } {
  const colon = ref.lastIndexOf(':');
  return { repository: ref.slice(0, colon), tag: ref.slice(colon + 1) };
}

const helm = (cluster: Cluster, args: readonly string[], options: { input?: string; timeout?: number } = {}): Promise<ShResult> =>
  sh(cluster.helm, [...args, '--namespace', releaseNamespace, '--kubeconfig', cluster.kubeconfig], options);

/**
 * Installs the chart with these images, or upgrades to them, and waits until the operator is ready.
 * @param values more values of the chart
 * @throws StepError that tells what the operator's pods say
 */
export async function installChart(cluster: Cluster, images: Images, values: Record<string, unknown> = {}): Promise<void> {
  const all = {
    image: { ...imageValues(images.operator), pullPolicy: 'IfNotPresent' },
    workerImage: { ...imageValues(images.worker), pullPolicy: 'IfNotPresent' },
    ...values,
  };
  await step(`install the chart (helm upgrade --install ${release})`, async () => {
    await clearInterrupted(cluster);
    try {
      await helm(cluster, ['upgrade', '--install', release, chart, '--create-namespace', '--take-ownership', '--wait', '--timeout', '3m', '--values', '-'],
        { input: JSON.stringify(all), timeout: 200_000 });
    } catch (cause) {
      if (!(cause instanceof CommandError)) throw cause;
      throw new StepError('install the chart', `${cause.message}\n${await operatorState(cluster)}`,
        `kubectl --kubeconfig ${cluster.kubeconfig} --namespace ${releaseNamespace} describe pods`);
    }
  });
}

/** An installation that was interrupted holds a lock in the release; nothing else runs helm on this cluster, so it is taken off. */
async function clearInterrupted(cluster: Cluster): Promise<void> {
  const { code, stdout } = await helm(cluster, ['status', release, '--output', 'json'], { timeout: 30_000 }).catch((cause: unknown) => {
    if (cause instanceof CommandError) return { code: 1, stdout: '' };
    throw cause;
  });
  if (code !== 0) return;
  const { info } = JSON.parse(stdout) as { info: { status: string } };
  if (info.status === 'pending-install') await helm(cluster, ['uninstall', release, '--wait'], { timeout: 120_000 });
  else if (info.status.startsWith('pending-')) await helm(cluster, ['rollback', release], { timeout: 120_000 });
}

async function operatorState(cluster: Cluster): Promise<string> {
  const ask = (...args: string[]): Promise<string> =>
    kubectl(cluster, [...args, '--namespace', releaseNamespace], { timeout: 20_000 }).catch((cause: unknown) => (cause instanceof Error ? cause.message : String(cause)));
  const pods = await ask('get', 'pods', '--output', 'wide');
  const logs = await ask('logs', `--selector=app.kubernetes.io/instance=${release}`, '--tail=5', '--prefix');
  return `${pods.trim()}\n${tail(logs)}`;
}

export async function uninstallChart(cluster: Cluster): Promise<void> {
  await step(`uninstall the chart`, () => helm(cluster, ['uninstall', release, '--ignore-not-found', '--wait', '--timeout', '2m'], { timeout: 150_000 }));
}

if (import.meta.main) {
  await runProgram(async () => {
    const cluster = await ensureCluster();
    await installChart(cluster, await ensureImages(cluster));
    console.log(`export KUBECONFIG=${cluster.kubeconfig}`);
  });
}
