import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CommandError, sh, StepError, step } from '../step.ts';
import { cacheDir } from './cache.ts';
import { docker, ensureDocker } from './docker.ts';
import { withLock } from './lock.ts';
import { ensureNodeImage } from './node-image.ts';
import { ensureClients } from './tools.ts';

/** A running cluster. All paths are absolute. */
export type Cluster = {
  name: string;
  kubeconfig: string;
  /** A host folder that every node sees at `sharedMount`: for a volume that all nodes can write. */
  sharedDir: string;
  /** Names of the node containers, which are the node names too; the control plane first. */
  nodes: string[];
  kubectl: string;
  helm: string;
  kind: string;
};

export const sharedMount = '/var/millrace/shared';
export const clusterName = (): string => process.env.MILLRACE_CLUSTER || 'millrace';
const workers = 2;

const clusterDir = (name: string): string => join(cacheDir(), 'clusters', name);
const nodeNames = (name: string): string[] =>
  [`${name}-control-plane`, ...Array.from({ length: workers }, (_, i) => `${name}-worker${i === 0 ? '' : i + 1}`)];

async function describe(name: string): Promise<Cluster> {
  const dir = clusterDir(name);
  return { name, kubeconfig: join(dir, 'kubeconfig'), sharedDir: join(dir, 'shared'), nodes: nodeNames(name), ...(await ensureClients()) };
}

type Container = { state: string; started: Date };

/** The node containers that exist, with their state as Docker names it: running, exited, … */
async function containers(cluster: Cluster): Promise<Map<string, Container>> {
  const format = '{{.Name}} {{.State.Status}} {{.State.StartedAt}}';
  const { stdout } = await sh('docker', ['container', 'inspect', '--format', format, ...cluster.nodes], { okCodes: [0, 1], timeout: 20_000 });
  return new Map(stdout.split('\n').filter((line) => line.startsWith('/')).map((line) => {
    const [name = '', state = '', started = ''] = line.slice(1).split(' ');
    return [name, { state, started: new Date(started) }];
  }));
}

/** Runs kubectl against the cluster; returns its standard output. */
export const kubectl = async (cluster: Cluster, args: readonly string[], options: { input?: string; timeout?: number } = {}): Promise<string> =>
  (await sh(cluster.kubectl, ['--kubeconfig', cluster.kubeconfig, ...args], { quiet: true, ...options })).stdout;

type Condition = { type: string; status: string };
type NodeList = { items: { metadata: { name: string }; status: { conditions?: Condition[] } }[] };
type WorkloadList = { items: { kind: string; metadata: { name: string }; status: { availableReplicas?: number; numberReady?: number; desiredNumberScheduled?: number } }[] };

type LeaseList = { items: { metadata: { name: string }; spec: { renewTime?: string } }[] };

/** Why the cluster can't be used yet, or undefined when all nodes are ready and the network and DNS work on them. */
async function unready(cluster: Cluster): Promise<string | undefined> {
  const found = await containers(cluster);
  const stopped = cluster.nodes.filter((node) => found.get(node)?.state !== 'running');
  if (stopped.length > 0) return `nodes not running: ${stopped.join(', ')}`;
  const get = async <T>(...args: string[]): Promise<T> =>
    JSON.parse(await kubectl(cluster, ['get', ...args, '--output=json', '--request-timeout=5s'], { timeout: 10_000 })) as T;
  try {
    const [nodes, leases, system] = await Promise.all([get<NodeList>('nodes'), get<LeaseList>('leases', '--namespace=kube-node-lease'),
      get<WorkloadList>('daemonsets,deployments', '--namespace=kube-system')]);
    const ready = nodes.items
      .filter((node) => node.status.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True'))
      .map((node) => node.metadata.name);
    const waiting = cluster.nodes.filter((node) => !ready.includes(node));
    if (waiting.length > 0) return `nodes not ready: ${waiting.join(', ')}`;
    // A node that was stopped and started again still has the conditions of before.
    const renewed = new Map(leases.items.map(({ metadata, spec }) => [metadata.name, new Date(spec.renewTime ?? 0)]));
    const silent = cluster.nodes.filter((node) => (renewed.get(node) ?? 0) < (found.get(node)?.started ?? 0));
    if (silent.length > 0) return `nodes silent since they were started: ${silent.join(', ')}`;
    const starting = system.items
      .filter(({ kind, status }) => (kind === 'DaemonSet' ? (status.numberReady ?? 0) < (status.desiredNumberScheduled ?? 1) : (status.availableReplicas ?? 0) < 1))
      .map((workload) => workload.metadata.name);
    return starting.length > 0 || system.items.length === 0 ? `not ready in kube-system: ${starting.join(', ') || 'everything'}` : undefined;
  } catch (cause) {
    if (cause instanceof CommandError) return `the API server does not answer: ${cause.output.split('\n').at(-1) ?? cause.message}`;
    throw cause;
  }
}

async function becomesReady(cluster: Cluster, limit: number): Promise<string | undefined> {
  for (const deadline = Date.now() + limit; ; await sleep(500)) {
    const why = await unready(cluster);
    if (why === undefined || Date.now() > deadline) return why;
  }
}

/**
 * A kind cluster with one control-plane node and two workers, made when there is none and used again while it is healthy.
 * Its kubeconfig is a file of its own; the user's is not touched.
 * @throws StepError
 */
export async function ensureCluster(): Promise<Cluster> {
  await ensureDocker();
  const cluster = await describe(clusterName());
  return withLock(`cluster-${cluster.name}`, async () => {
    if (!(await revived(cluster))) await create(cluster);
    return cluster;
  });
}

/** Whether the existing cluster works, its nodes started again when they were stopped. */
async function revived(cluster: Cluster): Promise<boolean> {
  const states = await containers(cluster);
  if (states.size === 0 || !cluster.nodes.every((node) => states.has(node)) || !existsSync(cluster.sharedDir)) return false;
  if (!existsSync(cluster.kubeconfig)) await sh(cluster.kind, ['export', 'kubeconfig', '--name', cluster.name, '--kubeconfig', cluster.kubeconfig]);
  if ((await unready(cluster)) === undefined) return true;
  try {
    await step(`bring cluster ${cluster.name} back`, async () => {
      for (const node of cluster.nodes.filter((name) => states.get(name)?.state === 'paused')) await docker(['unpause', node]);
      await docker(['start', ...cluster.nodes], { timeout: 60_000 });
      const why = await becomesReady(cluster, 90_000);
      if (why !== undefined) throw new StepError(`cluster ${cluster.name}`, why, 'it will be made anew');
    });
    return true;
  } catch (cause) {
    if (cause instanceof StepError || cause instanceof CommandError) return false;
    throw cause;
  }
}

const inotify = '/proc/sys/fs/inotify/max_user_instances';
const inotifyNeeded = 512; // as kind advises; each node takes about 20

/** All nodes share the host's inotify instances; when they run out, a kubelet does not start ("too many open files"). */
function raiseInotifyLimit(): void {
  if (!existsSync(inotify) || Number(readFileSync(inotify, 'utf8')) >= inotifyNeeded) return;
  try {
    writeFileSync(inotify, String(inotifyNeeded));
    process.stderr.write(`raised fs.inotify.max_user_instances to ${inotifyNeeded} until the next boot: several nodes need it\n`);
  } catch {
    process.stderr.write(`fs.inotify.max_user_instances is low; if nodes do not become ready: sudo sysctl fs.inotify.max_user_instances=${inotifyNeeded}\n`);
  }
}

async function create(cluster: Cluster): Promise<void> {
  raiseInotifyLimit();
  const image = await ensureNodeImage();
  await mkdir(cluster.sharedDir, { recursive: true });
  await chmod(cluster.sharedDir, 0o777);
  const extraMounts = [{ hostPath: cluster.sharedDir, containerPath: sharedMount }];
  const config = {
    kind: 'Cluster',
    apiVersion: 'kind.x-k8s.io/v1alpha4',
    // Kubernetes refuses cgroup v1 unless told otherwise; no effect on v2.
    kubeadmConfigPatches: ['kind: KubeletConfiguration\nfailCgroupV1: false\n'],
    nodes: ['control-plane', ...Array.from({ length: workers }, () => 'worker')].map((role) => ({ role, extraMounts })),
  };
  await step(`create cluster ${cluster.name} (${cluster.nodes.length} nodes)`, async () => {
    await sh(cluster.kind, ['delete', 'cluster', '--name', cluster.name, '--kubeconfig', cluster.kubeconfig], { timeout: 120_000 });
    await sh(cluster.kind, ['create', 'cluster', '--name', cluster.name, '--image', image, '--kubeconfig', cluster.kubeconfig, '--config', '-'],
      { input: JSON.stringify(config), timeout: 600_000 });
  }, `check that Docker has memory and disk to spare, then run the command again (dev/run cluster down removes what is left)`);
  await step('wait for nodes and DNS', async () => {
    const why = await becomesReady(cluster, 480_000);
    if (why !== undefined) throw new StepError(`cluster ${cluster.name}`, why, `kubectl --kubeconfig ${cluster.kubeconfig} get pods -A`);
  });
}

/** Removes the cluster and all its data. Built images and tools stay. */
export async function deleteCluster(): Promise<void> {
  await ensureDocker();
  const cluster = await describe(clusterName());
  await withLock(`cluster-${cluster.name}`, () => step(`delete cluster ${cluster.name}`, async () => {
    await sh(cluster.kind, ['delete', 'cluster', '--name', cluster.name, '--kubeconfig', cluster.kubeconfig], { timeout: 120_000 });
    await rm(clusterDir(cluster.name), { recursive: true, force: true });
  }));
}

/** One line on each part of the cluster, for people. */
export async function clusterStatus(): Promise<string> {
  await ensureDocker();
  const cluster = await describe(clusterName());
  const states = await containers(cluster);
  if (states.size === 0) return `cluster ${cluster.name}: does not exist (dev/run cluster up makes it)`;
  const why = existsSync(cluster.kubeconfig) ? await unready(cluster) : 'its kubeconfig is missing';
  return [`cluster ${cluster.name}: ${why ?? 'ready'}`, ...cluster.nodes.map((node) => `  ${node}: ${states.get(node)?.state ?? 'missing'}`),
    `  export KUBECONFIG=${cluster.kubeconfig}`, `  kubectl: ${cluster.kubectl}`].join('\n');
}
