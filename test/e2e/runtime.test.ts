/**
 * The runtime's parts against a real API server, whose rules the fake one only copies; in a namespace of its own that it
 * removes.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { KubeConfig } from '@kubernetes/client-node';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { systemClock } from '../../kit/clock.ts';
import { KubeClient } from '../../operator/kube/client.ts';
import { kubeConfigCredentials } from '../../operator/kube/credentials.ts';
import { isAlreadyExists, isConflict, isInvalid, isNotFound, isQuotaExceeded } from '../../operator/kube/errors.ts';
import { EventRecorder } from '../../operator/kube/events.ts';
import { Informer } from '../../operator/kube/informer.ts';
import { kinds } from '../../operator/kube/kinds.ts';
import { LeaderElector } from '../../operator/kube/lease.ts';
import type { Lease, Leadership } from '../../operator/kube/lease.ts';
import type { KubeObject, Stored } from '../../operator/kube/object.ts';
import { tokenReviewer } from '../../operator/kube/token-review.ts';
import { AppliedObjects } from '../../operator/runtime/applied.ts';
import { execute } from '../../operator/runtime/execute.ts';
import { addFinalizer, guarded, removeFinalizer } from '../../operator/runtime/finalizer.ts';
import { bareRegistry, quickTimings, silentLog, until } from '../support/kube.ts';
import { aPlan, eventSink } from '../support/plans.ts';

const { kubeconfig: file, kubectl: program } = inject('cluster');
const namespace = `runtime-test-${randomBytes(4).toString('hex')}`;
const registry = bareRegistry();
const stop = new AbortController();
let client: KubeClient;

const make = (): KubeClient =>
  new KubeClient({
    credentials: kubeConfigCredentials(() => {
      const config = new KubeConfig();
      config.loadFromFile(file);
      return config;
    }, systemClock),
    clock: systemClock,
    registry,
    userAgent: 'millrace-test',
  });

async function kubectl(...args: string[]): Promise<string> {
  return (await promisify(execFile)(program, ['--kubeconfig', file, '-n', namespace, ...args])).stdout;
}

const configMap = (name: string, data: Record<string, string>, labels: Record<string, string> = {}) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { namespace, name, labels },
  data,
});
const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );
const account = (name: string, labels: Record<string, string> = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: { namespace, name, labels },
});

describe('on a real API server', () => {
  beforeAll(async () => {
    client = make();
    await client.create(kinds.Namespace, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
  }, 30_000);
  afterAll(async () => {
    stop.abort();
    await client.remove(kinds.Namespace, { name: namespace });
    await client.close();
  }, 30_000);

  it('all verbs and their errors are as expected', async () => {
    const made = await client.create(kinds.ConfigMap, configMap('verbs', { k: '1' }));
    expect(isAlreadyExists(await rejection(client.create(kinds.ConfigMap, configMap('verbs', {}))))).toBe(true);
    await client.replace(kinds.ConfigMap, { ...made, data: { k: '2' } });
    expect(isConflict(await rejection(client.replace(kinds.ConfigMap, { ...made, data: { k: '3' } })))).toBe(true);
    const at = { namespace, name: 'verbs' };
    expect(isConflict(await rejection(client.remove(kinds.ConfigMap, at, { uid: 'other' })))).toBe(true);
    await client.remove(kinds.ConfigMap, at, { uid: made.metadata.uid });
    expect(isNotFound(await rejection(client.get(kinds.ConfigMap, at)))).toBe(true);
    expect(
      await rejection(client.create(kinds.ConfigMap, { ...configMap('x', {}), wrong: 1 } as KubeObject)),
    ).toMatchObject({ code: 400 });
    expect(isInvalid(await rejection(client.create(kinds.ConfigMap, configMap('Wrong_Name', {}))))).toBe(true);
  });

  it('apply takes back what it no longer states, makes no version without change, and has the UID as precondition', async () => {
    const options = { fieldManager: 'm' };
    const first = await client.apply(kinds.ConfigMap, configMap('applied', { a: '1', gone: '1' }), options);
    expect(first.created).toBe(true);
    const second = await client.apply(kinds.ConfigMap, configMap('applied', { a: '1' }), options);
    expect(second.object.data).toEqual({ a: '1' });
    const third = await client.apply(kinds.ConfigMap, configMap('applied', { a: '1' }), options);
    expect(third.object.metadata.resourceVersion).toBe(second.object.metadata.resourceVersion);
    const other = { ...configMap('applied', { a: '2' }), metadata: { namespace, name: 'applied', uid: 'other' } };
    expect(isConflict(await rejection(client.apply(kinds.ConfigMap, other, options)))).toBe(true);
    const status = { apiVersion: 'v1', kind: 'Pod', metadata: { namespace, name: 'none', uid: 'u' }, status: {} };
    expect(isNotFound(await rejection(client.applyStatus(kinds.Pod, status, options)))).toBe(true);
  });

  it('apply of a field that the schema lacks is a bad request', async (context) => {
    if (isNotFound(await rejection(client.list(kinds.BatchJob, { namespace }))))
      context.skip('the cluster has no CRDs of ours');
    const job = {
      apiVersion: 'millrace.dev/v1alpha1',
      kind: 'BatchJob',
      metadata: { namespace, name: 'j' },
      spec: { wrong: 1 },
    };
    expect(await rejection(client.apply(kinds.BatchJob, job, { fieldManager: 'm' }))).toMatchObject({
      code: 400,
      reason: 'BadRequest',
    });
  });

  it('finalizers come and go, and a stale look is a conflict', async () => {
    const object = await client.create(kinds.ConfigMap, configMap('finalized', {}));
    const put = (meta: Stored['metadata']) =>
      guarded(() => client.jsonPatch(kinds.ConfigMap, meta, addFinalizer(meta, 'millrace.dev/test') ?? []));
    const held = await put(object.metadata);
    expect(held.metadata.finalizers).toEqual(['millrace.dev/test']);
    expect(isConflict(await rejection(put(object.metadata)))).toBe(true);
    const freed = await guarded(() =>
      client.jsonPatch(kinds.ConfigMap, held.metadata, removeFinalizer(held.metadata, 'millrace.dev/test') ?? []),
    );
    expect(freed.metadata.finalizers).toBeUndefined();
  });

  it('an informer follows, with label selector', async () => {
    const informer = new Informer<KubeObject>({
      client,
      kind: kinds.ServiceAccount,
      selection: { namespace, labelSelector: 'seen=yes' },
      clock: systemClock,
      log: silentLog,
      registry,
      timings: { ...quickTimings, idleMs: 90_000 },
    });
    const running = informer.run(stop.signal);
    await informer.synced;
    await client.create(kinds.ServiceAccount, account('unseen'));
    await client.create(kinds.ServiceAccount, account('seen', { seen: 'yes' }));
    await until(() => informer.store.get(`${namespace}/seen`) !== undefined, 'the add came');
    expect(informer.store.size).toBe(1);
    expect(informer.store.get(`${namespace}/seen`)).toMatchObject({ apiVersion: 'v1', kind: 'ServiceAccount' });
    await client.mergePatch(
      kinds.ServiceAccount,
      { namespace, name: 'seen' },
      { metadata: { labels: { seen: 'no' } } },
    );
    await until(() => informer.store.size === 0, 'it left the selection');
    stop.abort();
    await running;
  }, 20_000);

  it('a list comes in pages', async () => {
    await Promise.all(
      Array.from({ length: 260 }, (_, index) =>
        client.create(kinds.ConfigMap, configMap(`page-${index}`, {}, { page: 'yes' })),
      ),
    );
    const sizes: number[] = [];
    for await (const page of client.listPages(kinds.ConfigMap, { namespace, labelSelector: 'page=yes' }))
      sizes.push(page.items.length);
    expect(sizes).toEqual([250, 10]);
  }, 30_000);

  it('the Lease is taken, renewed, released and taken by the next', async () => {
    const terms: Leadership[] = [];
    const elect = (identity: string) => {
      const elector = new LeaderElector({
        client,
        namespace,
        name: 'lease',
        identity,
        clock: systemClock,
        log: silentLog,
        registry,
        timings: { leaseMs: 3_000, renewDeadlineMs: 2_000, retryMs: 200 },
        onStarted: (leadership) => terms.push(leadership),
      });
      elector.start();
      return elector;
    };
    const a = elect('a');
    await until(() => terms.length === 1, 'a leads');
    const b = elect('b');
    await new Promise((resolve) => setTimeout(resolve, 3_500));
    expect(a.leading).toBe(true);
    await a.close();
    await until(() => terms.length === 2, 'b leads', 2_000);
    expect(terms[1]?.term).toBe((terms[0]?.term ?? 0) + 1);
    await b.close();
    const lease = await client.get<Lease>(kinds.Lease, { namespace, name: 'lease' });
    expect(lease.spec).toMatchObject({ holderIdentity: '', leaseTransitions: 2 });
  }, 20_000);

  it('kubectl shows events with count and source', async () => {
    const recorder = new EventRecorder({
      client,
      clock: systemClock,
      log: silentLog,
      registry,
      controller: 'millrace.dev/operator',
      instance: 'millrace-0',
      seriesMs: 100,
    });
    const about = await client.create(kinds.ConfigMap, configMap('told-of', {}));
    for (let turn = 0; turn < 3; turn += 1) {
      recorder.record(about, { type: 'Warning', reason: 'OutOfQuota', action: 'Admit', note: 'no room for 3 workers' });
      await recorder.flush(5_000);
    }
    const wide = await kubectl('get', 'events', '-o', 'wide');
    expect(wide).toMatch(
      /Warning\s+OutOfQuota\s+configmap\/told-of\s+millrace\.dev\/operator.*no room for 3 workers\s+\S+\s+3\s/,
    );
    const described = await kubectl('describe', 'configmap', 'told-of');
    expect(described).toMatch(
      /Warning\s+OutOfQuota\s+\S+ \(x3 over \S+\)\s+millrace\.dev\/operator\s+no room for 3 workers/,
    );
    const tenantLike = await client.get(kinds.Namespace, { name: namespace });
    recorder.record(tenantLike, { type: 'Normal', reason: 'Ready', action: 'Reconcile', note: 'cluster-scoped' });
    expect(await recorder.flush(5_000)).toBe(true);
    expect(await kubectl('describe', 'namespace', namespace)).toBeTruthy();
    const { items } = await client.list<KubeObject & { note?: string }>(kinds.Event, { namespace: 'default' });
    const mine = items.find((event) => JSON.stringify(event).includes(tenantLike.metadata.uid));
    expect(mine?.note).toBe('cluster-scoped');
    if (mine !== undefined) await client.remove(kinds.Event, mine.metadata);
    recorder.close();
  }, 30_000);

  it('a token is vouched for with its audience only', async () => {
    const review = tokenReviewer({ client, clock: systemClock });
    await client.create(kinds.ServiceAccount, account('worker'));
    const token = (await kubectl('create', 'token', 'worker', '--audience', 'millrace.dev/sync')).trim();
    expect(await review(token, 'millrace.dev/sync')).toMatchObject({
      username: `system:serviceaccount:${namespace}:worker`,
    });
    expect(await review(token, 'other')).toBeUndefined();
    expect(await review(`${token}x`, 'millrace.dev/sync')).toBeUndefined();
  }, 20_000);

  it('a refusal by quota is told, and nothing else is tried', async () => {
    const quota = {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { namespace, name: 'q' },
      spec: { hard: { pods: '0' } },
    };
    await client.create(kinds.ResourceQuota, quota as KubeObject);
    await until(
      async () => {
        const stored = await client.get<KubeObject & { status?: { hard?: object } }>(kinds.ResourceQuota, {
          namespace,
          name: 'q',
        });
        return stored.status?.hard !== undefined;
      },
      'the quota is in force',
      10_000,
    );
    const pod = (name: string) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { namespace, name },
      spec: { containers: [{ name: 'c', image: 'none' }] },
    });
    expect(isQuotaExceeded(await rejection(client.create(kinds.Pod, pod('p'))))).toBe(true);
    const object = await client.get(kinds.Namespace, { name: namespace });
    const ctx = { client, recorder: eventSink(), fieldManager: 'm', applied: new AppliedObjects() };
    const { changes } = await execute(ctx, object, aPlan({ create: [pod('p')] }), new AbortController().signal);
    expect(changes.refused[0]).toMatchObject({
      kind: 'Pod',
      reason: 'Forbidden',
      message: expect.stringContaining('exceeded quota'),
    });
  }, 20_000);
});
