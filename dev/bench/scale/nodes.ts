import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { type Cluster, ensureKwok } from '../../cluster/index.ts';
import { cacheDir } from '../../cluster/cache.ts';
import { modulePart } from '../../cluster/tools.ts';

const STAGES = ['node/fast/node-initialize.yaml', 'node/heartbeat-with-lease/node-heartbeat-with-lease.yaml', 'pod/fast/pod-ready.yaml', 'pod/fast/pod-delete.yaml'];

/** Runs kwok, which plays the kubelets of the nodes that carry its annotation. Ends with `stop`, or with this process. */
export async function startKwok(cluster: Cluster): Promise<{ stop(): void }> {
  const [kwok, stages] = [await ensureKwok(), await modulePart('sigs.k8s.io/kwok', 'kustomize/stage', 'kwok-stages')];
  const log = openSync(join(cacheDir(), 'log', 'kwok.log'), 'w');
  const child: ChildProcess = spawn(kwok, [
    '--kubeconfig', cluster.kubeconfig, '--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake',
    // Renewed every 30 s: a thousand leases are a load of their own.
    '--node-lease-duration-seconds=120',
    ...STAGES.flatMap((stage) => ['--config', join(stages, stage)]),
  ], { stdio: ['ignore', log, log] });
  closeSync(log);
  const stop = (): void => void child.kill('SIGTERM');
  process.once('exit', stop);
  let ended: string | undefined;
  child.once('error', (cause) => (ended = cause.message));
  child.once('exit', (code) => (ended ??= `kwok exited with code ${code}`));
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  if (ended !== undefined) throw new Error(`${ended}; see ${join(cacheDir(), 'log', 'kwok.log')}`);
  return { stop };
}
