import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../kit/clock.ts';
import { labels, MANAGED_BY } from '../../../operator/api/names.ts';
import { parseTenant } from '../../../operator/api/parse.ts';
import type { KubeClient } from '../../../operator/kube/client.ts';
import { Informer, type InformerOptions } from '../../../operator/kube/informer.ts';
import { type Kind, kinds } from '../../../operator/kube/kinds.ts';
import type { KubeObject } from '../../../operator/kube/object.ts';
import { Controller } from '../../../operator/runtime/controller.ts';
import { AppliedObjects } from '../../../operator/runtime/applied.ts';
import { execute } from '../../../operator/runtime/execute.ts';
import { cachedChild, reconcileTenant, type TenantCaches, watchForTenants } from '../../../operator/tenant/controller.ts';
import { namespaceOf, type NamespaceObject, type ResourceQuotaObject, type StoredTenant } from '../../../operator/tenant/observe.ts';
import { FakeApiServer, type FakeObject } from '../../support/fake-api-server.ts';
import { bareRegistry, clientOf, quickTimings, silentLog, until } from '../../support/kube.ts';

const TENANTS = '/apis/millrace.dev/v1alpha1/tenants';
const POLICIES = '/apis/networking.k8s.io/v1/namespaces/acme/networkpolicies';
const ACME = '/api/v1/namespaces/acme';
/** For a loaded machine; each takes milliseconds. */
const LIMIT_MS = 20_000;

let server: FakeApiServer;
let client: KubeClient;
let stop: AbortController;
let running: Promise<unknown>[];
let events: string[];

beforeEach(async () => {
  server = await FakeApiServer.start();
  client = clientOf(server);
  stop = new AbortController();
  running = [];
  events = [];
});
afterEach(async () => {
  stop.abort();
  await Promise.all(running);
  await client.close();
  await server.close();
});

function put(name: string, spec: object = {}): void {
  const parsed = parseTenant({ apiVersion: 'millrace.dev/v1alpha1', kind: 'Tenant', metadata: { name }, spec: { namespace: 'acme', ...spec } });
  if (!parsed.ok) throw new Error(parsed.problems.join('; '));
  server.put(`${TENANTS}/${name}`, { kind: 'Tenant', metadata: { name }, spec: parsed.value.spec });
}

const statusOf = (name: string): { state?: string; message?: string } => (server.read(`${TENANTS}/${name}`)?.['status'] ?? {}) as { state?: string; message?: string };
const becomes = (name: string, state: string): Promise<void> => until(() => statusOf(name).state === state, `Tenant ${name} is ${state}, not ${JSON.stringify(statusOf(name))}`, LIMIT_MS);

/** The tenant controller with everything that it needs, on the server as it is. */
async function start(): Promise<void> {
  const selection = { labelSelector: `${labels.managedBy}=${MANAGED_BY}` };
  const indexes = { namespace: ({ metadata }: KubeObject) => [metadata.namespace ?? ''] };
  const registry = bareRegistry();
  const informer = <T extends KubeObject>(kind: Kind, options: Partial<InformerOptions<T>> = {}): Informer<T> =>
    new Informer<T>({ client, kind, clock: systemClock, log: silentLog, registry, timings: quickTimings, ...options });
  const informers = {
    tenants: informer<StoredTenant>(kinds.Tenant, { indexes: { claim: (tenant) => [namespaceOf(tenant)] } }),
    namespaces: informer<NamespaceObject>(kinds.Namespace),
    quotas: informer<ResourceQuotaObject>(kinds.ResourceQuota, { selection, indexes }),
    limitRanges: informer(kinds.LimitRange, { selection, indexes }),
    networkPolicies: informer(kinds.NetworkPolicy, { selection, indexes }),
    serviceAccounts: informer(kinds.ServiceAccount, { selection, indexes }),
    roles: informer(kinds.Role, { selection, indexes }),
    roleBindings: informer(kinds.RoleBinding, { selection, indexes }),
    jobs: informer(kinds.BatchJob, { indexes }),
    pods: informer(kinds.Pod, { selection, indexes }),
  };
  const caches = Object.fromEntries(Object.entries(informers).map(([name, { store }]) => [name, store])) as unknown as TenantCaches;
  const context = {
    client,
    recorder: { record: (about: KubeObject, { reason }: { reason: string }) => events.push(`${about.metadata.name} ${reason}`) },
    fieldManager: 'millrace-operator',
    applied: new AppliedObjects(),
    observed: cachedChild(caches),
  };
  const deps = {
    caches,
    client,
    clock: systemClock,
    settings: { operatorNamespace: 'millrace-system', syncPort: 9443, operatorLabels: { app: 'millrace' } },
    execute: (...args: [StoredTenant, Parameters<typeof execute>[2], AbortSignal]) => execute(context, ...args),
    contests: new Map(),
  };
  const controller = new Controller({ name: 'tenant', clock: systemClock, log: silentLog, registry, reconcile: (key, { signal }) => reconcileTenant(key, deps, signal) });
  watchForTenants(informers, (key) => controller.enqueue(key));
  for (const one of Object.values(informers)) running.push(one.run(stop.signal));
  await Promise.all(Object.values(informers).map(({ synced }) => synced));
  running.push(controller.start(stop.signal));
}

const writesTo = (name: string): number => server.count(({ method, path }) => method !== 'GET' && path.split('/').includes(name));

/** Another Tenant goes through the queue: by then all that was enqueued before has been looked at. */
async function passThrough(name: string): Promise<void> {
  put(name, { namespace: name });
  await becomes(name, 'Ready');
}

describe('the tenant controller', { timeout: 60_000 }, () => {
  it('makes the namespace and its fence, says Ready, and then writes nothing more', async () => {
    put('acme', { owners: [{ kind: 'User', name: 'ann' }], limits: { max: { cpu: '4' } } });
    await start();
    await becomes('acme', 'Ready');
    expect(server.read(ACME)?.metadata.labels).toMatchObject({ 'millrace.dev/tenant': 'acme', 'pod-security.kubernetes.io/enforce': 'restricted' });
    expect(server.all(POLICIES).map(({ metadata }) => metadata.name).sort()).toEqual(['millrace-allow-dns', 'millrace-allow-operator', 'millrace-default-deny']);
    expect(server.read(`${ACME}/limitranges/millrace-limits`)).toBeDefined();
    // Caches that lag behind may cost a repeated apply at first; it ends.
    for (let round = 1, before = -1; before !== writesTo('acme'); round += 1) {
      expect(round).toBeLessThan(6);
      before = writesTo('acme');
      server.put(ACME, { kind: 'Namespace', metadata: { ...server.read(ACME)?.metadata, name: 'acme', annotations: { round } } });
      await passThrough(`other-${round}`);
    }
  });

  it('puts back what is deleted, and removes what the spec drops', async () => {
    put('acme', { limits: { max: { cpu: '4' } } });
    await start();
    await becomes('acme', 'Ready');
    server.drop(`${POLICIES}/millrace-default-deny`);
    await until(() => server.read(`${POLICIES}/millrace-default-deny`) !== undefined, 'the policy comes back', LIMIT_MS);
    await until(() => events.includes('acme Restored'), 'an event tells of it', LIMIT_MS);
    put('acme');
    await until(() => server.read(`${ACME}/limitranges/millrace-limits`) === undefined, 'the limit range goes', LIMIT_MS);
  });

  it("leaves somebody else's namespace alone until an administrator hands it over", async () => {
    server.put(ACME, { kind: 'Namespace', metadata: { name: 'acme' } });
    put('acme');
    await start();
    await becomes('acme', 'Failed');
    expect(server.read(ACME)?.metadata.labels).toBeUndefined();
    expect(server.all(POLICIES)).toEqual([]);
    server.put(ACME, { kind: 'Namespace', metadata: { name: 'acme', annotations: { 'millrace.dev/adopt-by': 'acme' } } });
    await becomes('acme', 'Ready');
  });

  it('gives a namespace to one of two Tenants, and with Delete to the other once the first is gone', async () => {
    put('acme', { deletionPolicy: 'Delete' });
    await start();
    await becomes('acme', 'Ready');
    put('globex');
    await becomes('globex', 'Failed');
    expect(statusOf('globex').message).toContain('belongs to the Tenant acme');
    await client.remove(kinds.Tenant, { name: 'acme' });
    await until(() => server.read(`${TENANTS}/acme`) === undefined, 'the Tenant is gone', LIMIT_MS);
    await becomes('globex', 'Ready');
    expect((server.read(ACME) as FakeObject).metadata.labels?.['millrace.dev/tenant']).toBe('globex');
  });

  it('with Retain lets the Tenant go and keeps the namespace with its fence from a Tenant of the same name', async () => {
    put('acme');
    await start();
    await becomes('acme', 'Ready');
    const uid = server.read(ACME)?.metadata.uid;
    await client.remove(kinds.Tenant, { name: 'acme' });
    await until(() => server.read(`${TENANTS}/acme`) === undefined, 'the Tenant is gone', LIMIT_MS);
    expect(server.read(ACME)?.metadata.uid).toBe(uid);
    expect(server.all(POLICIES)).toHaveLength(3);
    put('acme');
    await becomes('acme', 'Failed');
    expect(statusOf('acme').message).toContain('millrace.dev/adopt-by=acme');
  });
});
