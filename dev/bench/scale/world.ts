import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeClient } from '../../../operator/kube/client.ts';
import { isAlreadyExists, isConflict, KubeError } from '../../../operator/kube/errors.ts';
import { kinds } from '../../../operator/kube/kinds.ts';
import type { KubeObject } from '../../../operator/kube/object.ts';
import { duration, step } from '../../step.ts';
import type { ControlPlane } from './control-plane.ts';
import { job, type Job, node, tenant, volume } from './objects.ts';

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

const createAll = (plane: ControlPlane, items: readonly object[]): Promise<string> => plane.ask(['create', '--validate=ignore', '--filename=-'], { apiVersion: 'v1', kind: 'List', items });

export async function makeNodes(plane: ControlPlane, count: number, signal: AbortSignal): Promise<void> {
  await step(`make ${count} nodes`, async () => {
    await createAll(plane, Array.from({ length: count }, (_, n) => node(n)));
    await waitFor('all nodes are Ready', signal, async () => {
      const text = await plane.ask(['get', 'nodes', '--output=jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}']);
      return text.split('\n').filter((status) => status === 'True').length === count;
    });
  });
}

export async function makeTenants(plane: ControlPlane, count: number, signal: AbortSignal): Promise<void> {
  await step(`make ${count} tenants, each with a volume`, async () => {
    const all = Array.from({ length: count }, (_, n) => n);
    await createAll(plane, all.map(tenant));
    await waitFor('all Tenants are Ready', signal, async () => {
      const text = await plane.ask(['get', 'tenants', '--output=jsonpath={range .items[*]}{.status.state}{"\\n"}{end}']);
      return text.split('\n').filter((state) => state === 'Ready').length === count;
    });
    await createAll(plane, all.flatMap(volume));
  });
}

/** Round robin over these tenants. */
export const jobsOf = (tenants: readonly number[], prefix: string, count: number, workers: Parameters<typeof job>[3] = {}): Job[] =>
  Array.from({ length: count }, (_, n) => job(tenants[n % tenants.length] as number, prefix, n, workers));

/** A busy API server does not always get through with counting the quota: it says 409 or 500. */
async function insisting<T>(send: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await send();
    } catch (error) {
      if (tries === 20 || !(isConflict(error) || (error instanceof KubeError && error.code >= 500))) throw error;
      await sleep(100 * tries);
    }
  }
}

export const createJob = (client: KubeClient, made: Job): Promise<unknown> =>
  insisting(() => client.create(kinds.BatchJob, made as KubeObject).catch((error: unknown) => {
    if (!isAlreadyExists(error)) throw error;
  }));

/** As `kubectl apply --server-side`; returns the job's UID. */
export const applyJob = async (client: KubeClient, made: Job): Promise<string> =>
  (await insisting(() => client.apply(kinds.BatchJob, made as KubeObject, { fieldManager: 'bench' }))).object.metadata.uid;
