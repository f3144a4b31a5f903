import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../cluster/index.ts';

export interface Condition {
  type: string;
  status: string;
  reason: string;
  message: string;
}

/** What the demo reads of a BatchJob. */
export interface Job {
  metadata: { name: string; namespace: string; creationTimestamp: string };
  status?: {
    state?: string;
    message?: string;
    progress?: string;
    rate?: string;
    eta?: string;
    readyWorkers?: string;
    items?: { total?: number; succeeded?: number; failed?: number };
    startTime?: string;
    completionTime?: string;
    output?: string;
    conditions?: Condition[];
  };
}

/**
 * Each version of one BatchJob as `kubectl get --watch` tells it, the present one first. A watch that breaks off is taken
 * up again, which repeats the present version.
 */
export async function* watchJob(cluster: Cluster, namespace: string, name: string, signal: AbortSignal): AsyncGenerator<Job> {
  while (!signal.aborted) {
    const child = spawn(cluster.kubectl, ['--kubeconfig', cluster.kubeconfig, '--namespace', namespace, 'get', 'batchjobs.millrace.dev', name, '--watch', '--output', 'json'],
      { stdio: ['ignore', 'pipe', 'pipe'] });
    const stop = (): void => void child.kill();
    signal.addEventListener('abort', stop, { once: true });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr = (stderr + chunk).slice(-2000);
    });
    const ended = new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', () => resolve());
    });
    ended.catch(() => {}); // awaited below, after what it wrote
    try {
      // Documents are indented: the closing brace of one stands alone.
      let document = '';
      for await (const line of createInterface({ input: child.stdout })) {
        document += `${line}\n`;
        if (line !== '}') continue;
        yield JSON.parse(document) as Job;
        document = '';
      }
      await ended;
      if (/NotFound|not found/.test(stderr)) throw new Error(`BatchJob ${name} in namespace ${namespace} is gone: ${stderr.trim()}`);
    } finally {
      signal.removeEventListener('abort', stop);
      child.kill();
    }
    if (!signal.aborted) await sleep(1000, undefined, { signal }).catch(() => {});
  }
}
