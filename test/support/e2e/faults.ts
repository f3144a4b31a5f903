import { sh } from '../../../dev/step.ts';
import { releaseNamespace } from '../../../dev/install.ts';
import type { Bench } from './bench.ts';
import type { PodObject } from './jobs.ts';
import { until } from './until.ts';

const inNode = async (node: string, ...command: string[]): Promise<string> => (await sh('docker', ['exec', '--privileged', node, ...command], { timeout: 20_000 })).stdout;

/** A container's process as its node sees it. */
export interface Process {
  node: string;
  pid: string;
}

/** The main process of a pod's only container. */
export async function processOf(pod: PodObject): Promise<Process> {
  const id = pod.status.containerStatuses?.[0]?.containerID?.replace('containerd://', '');
  const node = pod.spec.nodeName;
  if (id === undefined || node === undefined) throw new Error(`pod ${pod.metadata.name} does not run`);
  const tasks = await inNode(node, 'ctr', '--namespace', 'k8s.io', 'tasks', 'ls');
  const pid = tasks.split('\n').map((line) => line.trim().split(/\s+/)).find(([task]) => task === id)?.[1];
  if (pid === undefined) throw new Error(`node ${node} does not run the container ${id} of pod ${pod.metadata.name}`);
  return { node, pid };
}

export async function signal({ node, pid }: Process, name: 'KILL' | 'STOP' | 'CONT'): Promise<void> {
  await inNode(node, 'kill', `-${name}`, pid);
}

/** Drops every packet from and to the pod of this process, as a dead link does; the result takes the cut back. */
export async function cutNetwork({ node, pid }: Process): Promise<() => Promise<void>> {
  const rules = [['INPUT', '-i'], ['OUTPUT', '-o']] as const;
  const change = async (how: '-I' | '-D'): Promise<void> => {
    for (const [chain, side] of rules) await inNode(node, 'nsenter', '--target', pid, '--net', 'iptables', how, chain, side, 'eth0', '-j', 'DROP');
  };
  await change('-I');
  return () => change('-D');
}

/** The operator's pod that leads now, by its Lease. */
export async function leader(bench: Bench): Promise<PodObject> {
  return until('an operator pod leads', 40_000, async () => {
    const leases = await bench.api.list<{ metadata: { name: string }; spec: { holderIdentity?: string } }>(`/apis/coordination.k8s.io/v1/namespaces/${releaseNamespace}/leases`);
    const pods = await bench.api.list<PodObject>(`/api/v1/namespaces/${releaseNamespace}/pods?labelSelector=app.kubernetes.io/component=operator`);
    return pods.find((pod) => pod.status.phase === 'Running' && leases.some(({ spec }) => spec.holderIdentity?.startsWith(pod.metadata.name)));
  });
}
