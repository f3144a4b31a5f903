import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeClient } from '../../../operator/kube/client.ts';
import { kinds } from '../../../operator/kube/kinds.ts';
import type { KubeObject } from '../../../operator/kube/object.ts';
import { type Cluster, kubectl } from '../../cluster/index.ts';
import { duration, step } from '../../step.ts';
import { job, type Job, node, SELECTOR, tenant, tenantName, volume } from './objects.ts';

const LIMIT_MS = 900_000;

/** Runs `fn` for each item, at most `limit` at a time. */
export async function each<T>(items: readonly T[], limit: number, signal: AbortSignal, fn: (item: T) => Promise<unknown>): Promise<void> {
  const rest = items[Symbol.iterator]();
  await Promise.all(Array.from({ length: limit }, async () => {
    for (let next = rest.next(); next.done !== true; next = rest.next()) {
      signal.throwIfAborted();
      await fn(next.value);
    }
  }));
}

export async function waitFor(what: string, signal: AbortSignal, condition: () => Promise<boolean>): Promise<void> {
  const begun = performance.now();
  while (!(await condition())) {
    if (performance.now() - begun > LIMIT_MS) throw new Error(`${what}: not within ${duration(LIMIT_MS)}`);
    await sleep(1_000, undefined, { signal });
  }
}

const createAll = (cluster: Cluster, items: readonly object[]): Promise<string> =>
  kubectl(cluster, ['create', '--validate=ignore', '--filename=-'], { input: JSON.stringify({ apiVersion: 'v1', kind: 'List', items }), timeout: LIMIT_MS });

export async function makeNodes(cluster: Cluster, count: number, signal: AbortSignal): Promise<void> {
  await step(`make ${count} nodes`, async () => {
    await createAll(cluster, Array.from({ length: count }, (_, n) => node(n)));
    await waitFor('all nodes are Ready', signal, async () => {
      const text = await kubectl(cluster, ['get', 'nodes', '--selector', SELECTOR, '--output=jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}']);
      return text.split('\n').filter((status) => status === 'True').length === count;
    });
  });
}

export async function makeTenants(cluster: Cluster, count: number, signal: AbortSignal): Promise<void> {
  await step(`make ${count} tenants, each with a volume`, async () => {
    const all = Array.from({ length: count }, (_, n) => n);
    await createAll(cluster, all.map(tenant));
    await waitFor('all Tenants are Ready', signal, async () => {
      const text = await kubectl(cluster, ['get', 'tenants', '--selector', SELECTOR, '--output=jsonpath={range .items[*]}{.status.state}{"\\n"}{end}']);
      return text.split('\n').filter((state) => state === 'Ready').length === count;
    });
    await createAll(cluster, all.flatMap(volume));
  });
}

/** Round robin over these tenants. */
export const jobsOf = (tenants: readonly number[], prefix: string, count: number, workers: Parameters<typeof job>[3] = {}): Job[] =>
  Array.from({ length: count }, (_, n) => job(tenants[n % tenants.length] as number, prefix, n, workers));

export const createJob = (client: KubeClient, made: Job): Promise<unknown> => client.create(kinds.BatchJob, made as KubeObject);

/** Takes away everything that carries the bench's label, also what an earlier run left. */
export async function cleanUp(cluster: Cluster, tenants: number): Promise<void> {
  const ask = (args: readonly string[]): Promise<string> => kubectl(cluster, args, { timeout: LIMIT_MS });
  const left = async (kind: string): Promise<number> => (await ask(['get', kind, '--selector', SELECTOR, '--output=name'])).split('\n').filter(Boolean).length;
  if ((await left('tenants')) + (await left('nodes')) + (await left('persistentvolumes')) === 0) return;
  await step('take everything away again', async () => {
    const never = new AbortController().signal;
    await each(Array.from({ length: tenants }, (_, n) => tenantName(n)), 8, never, (namespace) => ask(['delete', 'batchjobs', '--all', '--namespace', namespace, '--wait=false', '--ignore-not-found']).catch(() => undefined));
    await ask(['delete', 'tenants', '--selector', SELECTOR, '--wait=false']);
    await waitFor('all Tenants are gone', never, async () => (await left('tenants')) === 0);
    await ask(['delete', 'nodes', '--selector', SELECTOR, '--wait=false']);
    await ask(['delete', 'persistentvolumes', '--selector', SELECTOR, '--wait=false']);
    await waitFor('all nodes are gone', never, async () => (await left('nodes')) + (await left('persistentvolumes')) === 0);
    await waitFor('no pod is left on them', never, async () => !(await ask(['get', 'pods', '--all-namespaces', '--output=jsonpath={range .items[*]}{.spec.nodeName}{"\\n"}{end}'])).includes('scale-node-'));
  });
}
