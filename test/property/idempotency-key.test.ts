import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isTrue } from '../../operator/api/conditions.ts';
import { labels } from '../../operator/api/names.ts';
import type { BatchJobStatus } from '../../operator/api/batchjob.gen.ts';
import { KEY_LIFETIME_MS, keyIndex } from '../../operator/batchjob/idempotency-key.ts';
import type { StoredBatchJob, WorkerPod } from '../../operator/batchjob/observe.ts';
import { BatchJobReconciler, type ReconcileDeps } from '../../operator/batchjob/reconcile.ts';
import { isOver } from '../../operator/batchjob/state.ts';
import { type BatchJobInformers, watchForBatchJobs } from '../../operator/batchjob/triggers.ts';
import { UnseenPods } from '../../operator/batchjob/unseen-pods.ts';
import { controllerOf, keyOf, type KubeObject, type Stored } from '../../operator/kube/object.ts';
import { type Change, Store } from '../../operator/kube/store.ts';
import { deepEqual } from '../../operator/runtime/equal.ts';
import type { Executed } from '../../operator/runtime/execute.ts';
import { aBatchJob, aClaim, aGrant, aLedger, aRunningLedger, at, NOW, someSettings } from '../support/builders.ts';

const RUNS = Number(process.env['FC_RUNS'] ?? 80);
const SHARDS = 3;
const namespace = 'acme';

/** A cache without a server: what is put into it is told to those who listen. */
class Source<T extends KubeObject> {
  readonly store: Store<T>;
  readonly #handlers: ((change: Change<T>) => void)[] = [];
  constructor(indexes: ConstructorParameters<typeof Store<T>>[0] = {}, objects: Stored<T>[] = []) {
    this.store = new Store<T>(indexes);
    this.store.replace(structuredClone(objects));
  }
  onChange(handler: (change: Change<T>) => void): void {
    this.#handlers.push(handler);
  }
  tell(object: Stored<T>, isGone: boolean): void {
    const copy = structuredClone(object);
    for (const change of isGone ? this.store.remove(copy) : this.store.upsert(copy)) for (const handler of this.#handlers) handler(change);
  }
}

interface Flight {
  /** Lets the status write arrive, or be lost along with the process. */
  land: (arrives: boolean) => void;
}

/**
 * An API server, an operator that follows it late, and BatchJobs that all have one key. The operator is the real
 * reconciler with its real triggers; its status writes are under way until they are landed.
 */
class World {
  now = NOW;
  readonly jobs = new Map<string, StoredBatchJob>();
  readonly pods = new Map<string, Stored<WorkerPod>>();
  /** UIDs of jobs that ever had a worker. */
  readonly ran = new Set<string>();
  readonly all: StoredBatchJob[] = [];
  flights: Flight[] = [];
  /** What became of the runs, by UID; a ledger outlives its leader as the files on the volume do. */
  readonly #ends = new Map<string, 'succeeds' | 'fails'>();
  #events: { object: StoredBatchJob; isGone: boolean }[] = [];
  #queue = new Set<string>();
  readonly #busy = new Set<string>();
  #version = 10;
  #sources!: { jobs: Source<StoredBatchJob>; pods: Source<WorkerPod> };
  #reconciler!: BatchJobReconciler;
  #unseen = new UnseenPods();
  #process = 0;

  constructor() {
    this.restart([]);
  }

  create(name: string, other: boolean, clockLagSeconds: number): void {
    if (this.jobs.has(name)) return;
    const uid = `uid-${this.all.length}`;
    const created = (this.now - NOW) / 1000 - clockLagSeconds;
    const job = aBatchJob().named(name).numbered(uid, created).with({ idempotencyKey: 'k', ...(other ? { model: { path: 'other.onnx' } } : {}) }).workers(1).build();
    this.all.push(job);
    this.#store(job);
  }

  remove(name: string): void {
    const job = this.jobs.get(name);
    if (!job) return;
    this.jobs.delete(name);
    this.#events.push({ object: { ...job, metadata: { ...job.metadata, resourceVersion: `${++this.#version}` } }, isGone: true });
    for (const [key, pod] of this.pods) if (controllerOf(pod.metadata)?.uid === job.metadata.uid) this.#dropPod(key, pod);
  }

  /** The run of a job comes to an end. */
  end(name: string, how: 'succeeds' | 'fails'): void {
    const job = this.jobs.get(name);
    if (!job || !this.running.includes(job)) return;
    this.#ends.set(job.metadata.uid, how);
    for (const [key, pod] of this.pods) if (controllerOf(pod.metadata)?.uid === job.metadata.uid) this.#dropPod(key, pod);
    this.#reconciler.progressed(job.metadata.uid);
    this.#queue.add(keyOf(job.metadata));
  }

  /** The next `count` changes of jobs reach the operator. */
  deliver(count = Number.POSITIVE_INFINITY): void {
    for (const { object, isGone } of this.#events.splice(0, count)) this.#sources.jobs.tell(object, isGone);
  }

  get queued(): string[] {
    return [...this.#queue].filter((key) => !this.#busy.has(key)).sort();
  }

  async reconcile(index = 0): Promise<void> {
    const key = this.queued[index % Math.max(1, this.queued.length)];
    if (key === undefined) return;
    this.#queue.delete(key);
    this.#busy.add(key);
    const process = this.#process;
    const done = (): void => {
      if (process === this.#process) this.#busy.delete(key);
    };
    this.#reconciler.reconcile(key, new AbortController().signal).then(done, done);
    await new Promise(setImmediate);
  }

  /** A new leader, which lists everything. Writes that were under way arrive or not. */
  restart(arrive: readonly boolean[]): void {
    this.#process++;
    for (const [index, { land }] of this.flights.entries()) land(arrive[index % Math.max(1, arrive.length)] ?? false);
    this.flights = [];
    this.#events = [];
    this.#busy.clear();
    const sources = {
      jobs: new Source<StoredBatchJob>({ indexes: { namespace: byNamespace, idempotencyKey: keyIndex, volumeClaim: () => [] } }, [...this.jobs.values()]),
      pods: new Source<WorkerPod>({ indexes: { job: (pod) => [`${namespace}/${controllerOf(pod.metadata)?.uid}`], node: () => [] } }, [...this.pods.values()]),
      claims: new Source({}, [{ apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name: 'data', namespace, uid: 'c', resourceVersion: '1' }, spec: { accessModes: aClaim('ReadWriteMany').accessModes }, status: { phase: 'Bound' } } as Stored]),
      nodes: new Source(), quotas: new Source(),
      tenants: new Source({}, [{ apiVersion: 'millrace.dev/v1alpha1', kind: 'Tenant', metadata: { name: 'acme', uid: 't', resourceVersion: '1' }, spec: {}, status: { conditions: [{ type: 'Ready', status: 'True', message: '' }] } } as unknown as Stored]),
      namespaces: new Source({}, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, uid: 'n', resourceVersion: '1', labels: { [labels.tenant]: 'acme', [labels.tenantUid]: 't' } } }]),
    };
    this.#sources = sources;
    this.#reconciler = this.#newReconciler(sources);
    this.#queue = new Set([...this.jobs.values()].map(({ metadata }) => keyOf(metadata)));
    watchForBatchJobs({
      informers: sources as unknown as BatchJobInformers,
      enqueue: (key) => this.#queue.add(key),
      forget: (uid) => this.#reconciler.forget(uid),
      seen: (key) => this.#unseen.seen(key),
      workerGone: () => {}, wasRefused: () => false,
    });
  }

  #newReconciler(sources: Record<string, { store: unknown }>): BatchJobReconciler {
    this.#unseen = new UnseenPods();
    const open = new Set<string>();
    const process = this.#process;
    const dispatcher = {
      open: ({ uid }: { uid: string }) => open.add(uid), has: (uid: string) => open.has(uid), forget: (uid: string) => open.delete(uid), workerGone: () => {},
      snapshot: (uid: string) => {
        const end = this.#ends.get(uid);
        if (end === 'fails') return aLedger({ phase: 'Failed', failure: { reason: 'ModelInvalid', message: 'no ONNX' } });
        return end === undefined ? aLedger() : aRunningLedger(SHARDS, SHARDS, { phase: 'Finished' });
      },
    };
    return new BatchJobReconciler({
      caches: Object.fromEntries(Object.entries(sources).map(([name, { store }]) => [name, store])) as unknown as ReconcileDeps['caches'],
      client: { get: () => Promise.reject(new Error('nothing to read')) },
      dispatcher: dispatcher as unknown as ReconcileDeps['dispatcher'],
      unseen: this.#unseen,
      clock: { now: () => this.now, monotonic: () => this.now } as ReconcileDeps['clock'],
      settings: someSettings,
      scheduling: { ask: () => {}, grantOf: () => aGrant(1) },
      execute: async (object, plan): Promise<Executed> => {
        const changes = { created: [] as string[], configured: [], unchanged: [], removed: [], refused: [] };
        for (const pod of plan.create) {
          if (process !== this.#process) throw new Error('deposed');
          changes.created.push(`${pod.kind}/${pod.metadata.name}`);
          this.#putPod(pod as WorkerPod);
        }
        const { status, outcome } = plan.report(changes);
        if (status === undefined || deepEqual(object.status ?? {}, status)) return { object, changes, outcome };
        const arrived = Promise.withResolvers<StoredBatchJob>();
        this.flights.push({
          land: (arrives) => {
            const stored = arrives ? this.#write(object, status as BatchJobStatus) : undefined;
            if (stored) arrived.resolve(stored);
            else arrived.reject(new Error('lost'));
          },
        });
        return { object: await arrived.promise, changes, outcome };
      },
    });
  }

  async land(index: number): Promise<void> {
    const [flight] = this.flights.splice(index % Math.max(1, this.flights.length), 1);
    flight?.land(true);
    await new Promise(setImmediate);
  }

  #write(object: Stored, status: BatchJobStatus): StoredBatchJob | undefined {
    const job = this.jobs.get(object.metadata.name);
    if (job?.metadata.uid !== object.metadata.uid) return undefined;
    for (const end of ['Complete', 'Failed']) if (isTrue(job.status?.conditions, end)) expect(isTrue(status.conditions, end), `${end} is final`).toBe(true);
    return this.#store({ ...job, status });
  }

  #store(job: StoredBatchJob): StoredBatchJob {
    const stored = { ...job, metadata: { ...job.metadata, resourceVersion: `${++this.#version}` } };
    this.jobs.set(job.metadata.name, stored);
    this.#events.push({ object: stored, isGone: false });
    return stored;
  }

  #putPod(pod: WorkerPod): void {
    const owner = this.jobs.get(controllerOf(pod.metadata)?.name ?? '');
    if (owner?.metadata.uid !== controllerOf(pod.metadata)?.uid || !owner) return;
    const stored: Stored<WorkerPod> = { ...structuredClone(pod), spec: {}, status: { phase: 'Running' }, metadata: { ...pod.metadata, uid: `pod-${++this.#version}`, resourceVersion: `${this.#version}`, creationTimestamp: at(0) } };
    this.pods.set(keyOf(stored.metadata), stored);
    this.ran.add(owner.metadata.uid);
    this.#sources.pods.tell(stored, false);
    this.checkRivals();
  }

  #dropPod(key: string, pod: Stored<WorkerPod>): void {
    this.pods.delete(key);
    this.#sources.pods.tell(pod, true);
  }

  /** Jobs that have workers. */
  get running(): StoredBatchJob[] {
    const owners = new Set([...this.pods.values()].map(({ metadata }) => controllerOf(metadata)?.uid));
    return [...this.jobs.values()].filter(({ metadata }) => owners.has(metadata.uid));
  }

  checkRivals(): void {
    const { running } = this;
    for (const one of running) for (const other of running) if (one !== other) expect(apart(one, other), `${one.metadata.name} and ${other.metadata.name} run at once`).toBeGreaterThanOrEqual(KEY_LIFETIME_MS);
  }

  /** Everything is told and written, and what runs succeeds, until nobody has anything to do. Time stands still: nothing is polled. */
  async settle(): Promise<void> {
    for (let round = 0; round < 500; round++) {
      this.deliver();
      while (this.flights.length > 0) await this.land(0);
      this.deliver();
      if (this.queued.length > 0) await this.reconcile(round);
      else if (this.running.length > 0) this.end(this.running[0]?.metadata.name ?? '', 'succeeds');
      else if (this.#events.length === 0) return;
    }
    expect.fail(`does not come to rest: ${JSON.stringify([...this.jobs.values()].map(({ metadata, status }) => [metadata.name, status?.state, status?.message]))}`);
  }
}

const byNamespace = ({ metadata }: Stored): string[] => [metadata.namespace ?? ''];
const apart = (one: StoredBatchJob, other: StoredBatchJob): number => Math.abs(Date.parse(one.metadata.creationTimestamp ?? '') - Date.parse(other.metadata.creationTimestamp ?? ''));

type Step = (world: World) => void | Promise<void>;
const name = fc.constantFrom('a', 'b', 'c', 'd');
const some = fc.nat(5);
const step: fc.Arbitrary<Step> = fc.oneof(
  // A second API server's clock may be behind by a little.
  { weight: 4, arbitrary: fc.record({ job: name, other: fc.constantFrom(false, false, false, true), lag: fc.constantFrom(0, 0, 1) }).map(({ job, other, lag }): Step => (world) => world.create(job, other, lag)) },
  { weight: 3, arbitrary: fc.constantFrom(1, 1, 2, 99).map((count): Step => (world) => world.deliver(count)) },
  { weight: 6, arbitrary: some.map((index): Step => (world) => world.reconcile(index)) },
  { weight: 4, arbitrary: some.map((index): Step => (world) => world.land(index)) },
  { weight: 1, arbitrary: fc.tuple(name, fc.constantFrom('succeeds', 'fails')).map(([job, how]): Step => (world) => world.end(job, how)) },
  { weight: 1, arbitrary: name.map((job): Step => (world) => world.remove(job)) },
  { weight: 1, arbitrary: fc.array(fc.boolean(), { maxLength: 3 }).map((arrive): Step => (world) => world.restart(arrive)) },
  { weight: 1, arbitrary: fc.constantFrom(1, 1, 60, 80_000).map((seconds): Step => (world) => { world.now += seconds * 1000; }) },
);

test('of the jobs of a key one runs at a time, whatever is seen late, lost or restarted; all come to an end, and only it did the work', async () => {
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 80, size: 'max' }), async (steps) => {
    const world = new World();
    for (const run of steps) await run(world);
    await world.settle();

    const jobs = [...world.jobs.values()];
    expect(jobs.filter((job) => !isOver(job)).map(({ metadata, status }) => [metadata.name, status?.message]), 'not over').toEqual([]);
    for (const { metadata, status } of jobs) {
      const original = world.all.find(({ metadata: { uid } }) => uid === status?.duplicateOf?.uid);
      if (isTrue(status?.conditions, 'Complete')) expect(world.ran.has(original?.metadata.uid ?? metadata.uid), `somebody worked for ${metadata.name}`).toBe(true);
      if (original) expect(world.ran.has(metadata.uid), `${metadata.name} is a duplicate and ran`).toBe(false);
      if (original && isTrue(status?.conditions, 'Complete')) expect(status?.items).toEqual({ total: SHARDS * 10, succeeded: SHARDS * 10, failed: 0 });
    }
  }), { numRuns: RUNS });
}, 120_000);

test('a job that comes first by its creation time, but to light only while another one is being given the key, does not run beside it', async () => {
  const world = new World();
  world.create('b', false, 0);
  world.deliver();
  await world.reconcile();
  world.create('a', false, 1);
  world.deliver();
  await world.reconcile();
  expect(world.flights).toHaveLength(2);
  await world.land(0);
  world.deliver();
  await world.reconcile();
  expect(world.running.map(({ metadata }) => metadata.name)).toEqual(['b']);
  await world.settle();
  expect([...world.ran]).toEqual([world.jobs.get('b')?.metadata.uid]);
  expect(world.jobs.get('a')?.status).toMatchObject({ state: 'Complete', duplicateOf: { name: 'b' } });
});
