import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Demand } from '../../../operator/batchjob/demand.ts';
import { Store } from '../../../operator/kube/store.ts';
import type { KubeObject, Stored } from '../../../operator/kube/object.ts';
import { Scheduling, type SchedulingDeps } from '../../../operator/scheduling.ts';
import { bareRegistry, silentLog } from '../../support/kube.ts';
import { aTenant } from '../tenant/fixtures.ts';

const START = Date.parse('2026-11-23T12:00:00Z');
const node = (name: string, cpu: string): Stored => ({
  apiVersion: 'v1', kind: 'Node', metadata: { name, uid: `uid-${name}`, resourceVersion: '1' },
  status: { conditions: [{ type: 'Ready', status: 'True' }], allocatable: { cpu, memory: '64Gi', pods: '110' } },
}) as Stored;

/** An informer without a server: what a test puts into it is told to those who listen. */
class Source<T extends KubeObject> {
  readonly store: Store<T>;
  readonly #handlers: ((change: never) => void)[] = [];
  constructor(indexes: ConstructorParameters<typeof Store<T>>[0] = {}) {
    this.store = new Store<T>(indexes);
    this.store.replace([]);
  }
  onChange(handler: (change: never) => void): void {
    this.#handlers.push(handler);
  }
  put(object: Stored<T>): void {
    for (const change of this.store.upsert(structuredClone(object))) for (const handler of this.#handlers) handler(change as never);
  }
  drop(object: Stored<T>): void {
    for (const change of this.store.remove(structuredClone(object))) for (const handler of this.#handlers) handler(change as never);
  }
}

const byNamespace = { indexes: { namespace: ({ metadata }: Stored) => [metadata.namespace ?? ''] } };
let sources: { tenants: Source<KubeObject>; jobs: Source<KubeObject>; pods: Source<KubeObject>; otherPods: Source<KubeObject>; nodes: Source<KubeObject>; quotas: Source<KubeObject> };
let scheduling: Scheduling;
let told: string[];
let left: string[];
let registry: SchedulingDeps['registry'];

beforeEach(() => {
  vi.useFakeTimers({ now: START });
  sources = {
    tenants: new Source(), jobs: new Source(), pods: new Source(), nodes: new Source(), quotas: new Source(byNamespace),
    otherPods: new Source({ indexes: { node: (pod) => [(pod as { nodeName?: string }).nodeName ?? ''] } }),
  };
  sources.tenants.put(aTenant() as Stored);
  sources.nodes.put(node('n1', '4'));
  told = [];
  left = [];
});
afterEach(() => {
  scheduling.close();
  vi.useRealTimers();
});

function open(): void {
  registry = bareRegistry();
  scheduling = new Scheduling({
    informers: sources as unknown as SchedulingDeps['informers'],
    clock: { now: () => Date.now(), monotonic: () => performance.now() } as SchedulingDeps['clock'],
    log: silentLog,
    registry,
    minRuntimeSeconds: 120,
    pendingWorkers: 0,
    leave: (uid, slot, attempt) => left.push(`${uid} w${slot}-${attempt}`),
    changed: (key, urgent) => told.push(`${key}${urgent ? '!' : ''}`),
  });
}

function demand(uid: string, max: number, pods: { name: string; node?: string }[] = [], more: Partial<Demand['state']> = {}): Demand {
  return {
    state: {
      uid, key: `acme/${uid}`, tenant: 'acme', priority: 0, createdAt: START, queuedAt: START, suspended: false, dependsOn: [], min: 1, max,
      perWorker: { cpu: 1000, pods: 1 }, quotaPerWorker: { pods: 1, 'requests.cpu': 1000 }, nodeSelector: {}, tolerations: [], oneNode: false,
      workers: pods.map(({ node: on }) => (on === undefined ? {} : { node: on, startedAt: START })), externallyAdmitted: false, ...more,
    },
    pods: pods.map(({ name }) => name),
  };
}
const passes = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const granted = (uid: string): number | undefined => scheduling.grantOf(uid)?.workers;

describe('the scheduler’s loop', () => {
  test('grants what there is room for, and tells the job at once', async () => {
    open();
    scheduling.ask('a', demand('a', 3));
    expect(granted('a')).toBeUndefined();
    await passes(50);
    expect(granted('a')).toBe(3);
    expect(told).toEqual(['acme/a!']);
  });

  test('counts what other pods request of a node', async () => {
    sources.otherPods.put({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'x', namespace: 'other', uid: 'x', resourceVersion: '1' }, nodeName: 'n1', requests: { cpu: 2500, pods: 1 } } as unknown as Stored);
    open();
    scheduling.ask('a', demand('a', 3));
    await passes(50);
    expect(scheduling.grantOf('a')).toMatchObject({ reason: 'Running' });
    expect(granted('a')).toBe(1);
  });

  test('counts the workers that Kueue admitted as what others request of a node, and leaves them alone', async () => {
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'k-w0-0', namespace: 'acme', uid: 'p', resourceVersion: '1', ownerReferences: [{ apiVersion: 'millrace.dev/v1alpha1', kind: 'BatchJob', name: 'k', uid: 'k', controller: true }] } };
    sources.pods.put({ ...pod, spec: { nodeName: 'n1', containers: [{ resources: { requests: { cpu: '3' } } }] }, status: { phase: 'Running' } } as Stored);
    open();
    scheduling.ask('k', demand('k', 2, [{ name: 'k-w0-0', node: 'n1' }], { externallyAdmitted: true }));
    scheduling.ask('a', demand('a', 4, [], { priority: 900 }));
    await passes(50);
    expect([granted('k'), granted('a')]).toEqual([2, 1]);
    expect(left).toEqual([]);
  });

  test('is not woken by what changes nothing: rates, heartbeats of nodes, the same demand again', async () => {
    open();
    scheduling.ask('a', demand('a', 3));
    await passes(50);
    const rounds = vi.getTimerCount();
    scheduling.ask('a', demand('a', 3, [], { ratePerWorker: 7, itemsLeft: 5, lastCheckpointAt: START }));
    sources.nodes.put({ ...node('n1', '4'), metadata: { ...node('n1', '4').metadata, resourceVersion: '2' } });
    expect(vi.getTimerCount()).toBe(rounds);
    await passes(20_000);
    expect(told).toEqual(['acme/a!']);
  });

  test('tells the worker that is to go in the round itself, once, and keeps it dismissed until its pod is gone', async () => {
    open();
    const pods = [{ name: 'a-w0-0', node: 'n1' }, { name: 'a-w1-3', node: 'n1' }];
    scheduling.ask('a', demand('a', 2, pods));
    await passes(50);
    scheduling.ask('a', demand('a', 1, pods));
    await passes(500);
    expect(left).toEqual(['a w1-3']);
    expect([...(scheduling.grantOf('a')?.dismissed.keys() ?? [])]).toEqual(['a-w1-3']);
    await passes(10_000);
    expect(left).toEqual(['a w1-3']);
    scheduling.ask('a', demand('a', 1, pods.slice(0, 1)));
    await passes(500);
    expect(scheduling.grantOf('a')?.dismissed.size).toBe(0);
  });

  test('takes room back from a job that ends', async () => {
    open();
    scheduling.ask('a', demand('a', 4, ['a-w0-0', 'a-w1-0', 'a-w2-0', 'a-w3-0'].map((name) => ({ name, node: 'n1' }))));
    scheduling.ask('b', demand('b', 4));
    await passes(50);
    expect(granted('a')).toBe(4);
    expect(scheduling.grantOf('b')?.position).toBe(1);
    scheduling.ask('a', undefined);
    await passes(500);
    expect(scheduling.grantOf('b')).toMatchObject({ workers: 4, reason: 'Running' });
    expect(scheduling.grantOf('a')).toBeUndefined();
  });

  test('as a new leader waits until every job has asked, so that none is overtaken for being late', async () => {
    const job = (name: string): Stored => ({ apiVersion: 'millrace.dev/v1alpha1', kind: 'BatchJob', metadata: { name, namespace: 'acme', uid: name, resourceVersion: '1' } });
    sources.jobs.put(job('late'));
    sources.jobs.put(job('early'));
    open();
    scheduling.ask('early', demand('early', 4, [], { min: 4 }));
    await passes(5_000);
    expect(granted('early')).toBeUndefined();
    scheduling.ask('late', demand('late', 4, [], { min: 4, priority: 500 }));
    await passes(50);
    expect(granted('late')).toBe(4);
    expect(scheduling.grantOf('early')?.reason).toBe('WaitingForCapacity');
  });

  test('does not wait for a job that never asks', async () => {
    sources.jobs.put({ apiVersion: 'millrace.dev/v1alpha1', kind: 'BatchJob', metadata: { name: 'mute', namespace: 'acme', uid: 'mute', resourceVersion: '1' } });
    open();
    scheduling.ask('a', demand('a', 1));
    await passes(30_100);
    expect(granted('a')).toBe(1);
  });

  test('knows of jobs that ask for nothing, such as suspended ones and duplicates, that they exist', async () => {
    sources.jobs.put({ apiVersion: 'millrace.dev/v1alpha1', kind: 'BatchJob', metadata: { name: 'first', namespace: 'acme', uid: 'first', resourceVersion: '1' } });
    open();
    scheduling.ask('first', undefined);
    scheduling.ask('second', demand('second', 1, [], { dependsOn: ['acme/first', 'acme/none'] }));
    scheduling.ask('third', demand('third', 1, [], { dependsOn: ['acme/first'] }));
    await passes(50);
    expect(scheduling.grantOf('second')?.message).toBe('waiting for none, which does not exist');
    expect(scheduling.grantOf('third')?.message).toBe('waiting for first to complete');
  });

  test('knows how jobs ended that others depend on', async () => {
    const first = (status: object): Stored => ({ apiVersion: 'millrace.dev/v1alpha1', kind: 'BatchJob', metadata: { name: 'first', namespace: 'acme', uid: 'first', resourceVersion: '1' }, status }) as Stored;
    sources.jobs.put(first({ conditions: [{ type: 'Failed', status: 'True' }] }));
    open();
    scheduling.ask('second', demand('second', 1, [], { dependsOn: ['acme/first'] }));
    await passes(50);
    expect(scheduling.grantOf('second')).toMatchObject({ workers: 0, reason: 'DependencyFailed' });
  });

  test('counts those that wait by tenant and class of priority', async () => {
    open();
    for (const [uid, priority] of [['a', 900], ['b', 333], ['c', 334], ['d', 0], ['big', 1_000]] as const) scheduling.ask(uid, demand(uid, 1, [], { priority, ...(uid === 'big' ? {} : { min: 9, max: 9 }) }));
    await passes(50);
    const { values } = (await registry.getSingleMetric('millrace_jobs_waiting')?.get()) ?? { values: [] };
    expect(values.map(({ labels, value }) => [labels['tenant'], labels['priority'], value])).toEqual([['acme', 'high', 1], ['acme', 'low', 2], ['acme', 'normal', 1]]);
  });
});
