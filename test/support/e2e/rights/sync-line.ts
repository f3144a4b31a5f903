import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Agent, request } from 'undici';
import { releaseNamespace } from '../../../../dev/install.ts';
import { PROTOCOL, SYNC_PATH } from '../../../../inference-pod/contract.ts';
import type { Bench } from '../bench.ts';
import { leader } from '../faults.ts';

/** Speaks to the leader's sync server from outside of the cluster, as anybody whom the network lets through to it. */
export interface SyncLine {
  /** One sync for a slot of a job, holding nothing. */
  sync(worker: { job: string; slot: number; attempt: number }, token?: string): Promise<{ status: number; message: string }>;
  close(): Promise<void>;
}

export async function openSyncLine(bench: Bench, syncPort: number): Promise<SyncLine> {
  const { metadata } = await leader(bench);
  const args = ['--kubeconfig', bench.cluster.kubeconfig, 'port-forward', '--namespace', releaseNamespace, `pod/${metadata.name}`, `:${syncPort}`];
  const forward = spawn(bench.cluster.kubectl, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await Promise.race([
    once(createInterface(forward.stdout), 'line'),
    once(forward, 'exit').then(() => Promise.reject(new Error(`kubectl ${args.join(' ')} ended`))),
  ])) as [string];
  const port = /^Forwarding from 127\.0\.0\.1:(\d+)/.exec(line)?.[1];
  if (port === undefined) throw new Error(`kubectl port-forward said: ${line}`);
  // Whose certificate it is, is not the question here.
  const agent = new Agent({ connect: { rejectUnauthorized: false }, headersTimeout: 10_000 });
  return {
    async sync({ job, slot, attempt }, token) {
      const body = {
        protocol: PROTOCOL,
        worker: { job, slot, attempt, incarnation: 'intruder' },
        seq: 1,
        term: 0,
        draining: false,
        capacity: 0,
        leases: [],
        load: { itemsPerSecond: 0, cpuSeconds: 0, rssBytes: 0 },
      };
      const answer = await request(`https://127.0.0.1:${port}${SYNC_PATH}`, {
        method: 'POST',
        dispatcher: agent,
        headers: { 'content-type': 'application/json', ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
        body: JSON.stringify(body),
      });
      const { message } = (await answer.body.json()) as { message?: string };
      return { status: answer.statusCode, message: message ?? '' };
    },
    async close() {
      const ended = once(forward, 'exit');
      forward.kill();
      await Promise.all([ended, agent.destroy()]);
    },
  };
}
