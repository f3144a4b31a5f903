import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fatalExitCodes } from '../../inference-pod/contract.ts';
import type { BatchJobStatus } from '../../operator/api/batchjob.gen.ts';
import { isTrue } from '../../operator/api/conditions.ts';
import { labels } from '../../operator/api/names.ts';
import { parseBatchJob } from '../../operator/api/parse.ts';
import type { Demand } from '../../operator/batchjob/demand.ts';
import type { Observed, StoredBatchJob, WorkerPod } from '../../operator/batchjob/observe.ts';
import { planBatchJob } from '../../operator/batchjob/plan.ts';
import { attemptOf, slotOf } from '../../operator/batchjob/pod-state.ts';
import type { Stored } from '../../operator/kube/object.ts';
import { deepEqual } from '../../operator/runtime/equal.ts';
import type { ChangeSet } from '../../operator/runtime/plan.ts';
import { aBatchJob, aGrant, aRunningLedger, aLedger, aTenantView, aWorker, NOW, observed } from '../support/builders.ts';

/** More by hand, to look for what a few do not find. */
const RUNS = Number(process.env['FC_RUNS'] ?? 100);
const SHARDS = 6;
const NODES = ['n1', 'n2', 'n3'];

type Pod = Stored<WorkerPod>;

/**
 * A cluster around one BatchJob, as an API server, kubelets and a ledger would behave. The operator sees pods through a
 * cache that lags behind as far as `sync` lets it, with what it made itself added until the cache has shown it (as
 * reconcile.ts does), and its own status at once.
 */
class World {
  now = NOW;
  job: StoredBatchJob;
  readonly pods = new Map<string, Pod>();
  readonly lost = new Set<string>();
  quota = 100;
  cordoned = false;
  writes = 0;
  events: string[] = [];
  /** What the leader's ledger knows; `durable` is on the volume and outlives it. */
  #plan = false;
  #completed = 0;
  #finished = false;
  #failure: { reason: string; message: string } | undefined;
  #cache: Pod[] = [];
  #unseen = new Map<string, Pod>();
  #refusal: Observed['refusal'];
  /** A scheduler with room for everybody: each job gets what it last asked for. */
  #grant: Observed['grant'];
  #uids = 0;
  /** Names made since the present leader took over. */
  #madeNames = new Set<string>();

  constructor(workers: number, inline: boolean) {
    this.job = (inline ? aBatchJob().inline('{"id":1}') : aBatchJob()).workers(workers).build();
    this.#inputCopied = !inline;
  }

  #inputCopied: boolean;

  get finished(): boolean {
    return isTrue(this.job.status?.conditions, 'Complete') || isTrue(this.job.status?.conditions, 'Failed');
  }

  /** Pods whose process may be alive. */
  get live(): Pod[] {
    return [...this.pods.values()].filter(({ status }) => status?.phase !== 'Succeeded' && status?.phase !== 'Failed');
  }

  get running(): Pod[] {
    return this.live.filter((pod) => pod.status?.phase === 'Running' && !this.lost.has(pod.spec?.nodeName ?? ''));
  }

  /** The cache catches up. What it once showed is no longer unseen. */
  sync(): void {
    this.#cache = structuredClone([...this.pods.values()]);
    this.#unseen.clear();
  }

  /** Shows the operator one pod as it is now, and leaves the others as they were. */
  syncOne(index: number): void {
    const names = [...new Set([...this.pods.keys(), ...this.#cache.map(({ metadata }) => metadata.name)])].sort();
    const name = names[index % Math.max(1, names.length)];
    if (name === undefined) return;
    const pod = this.pods.get(name);
    this.#cache = [...this.#cache.filter(({ metadata }) => metadata.name !== name), ...(pod ? [structuredClone(pod)] : [])];
    this.#unseen.delete(name);
  }

  #observe(): Observed {
    const cached = new Set(this.#cache.map(({ metadata }) => metadata.name));
    const live = this.running.map((pod) => aWorker(slotOf(pod), attemptOf(pod), { rate: 1 }));
    const phase = this.#failure ? 'Failed' : this.#finished ? 'Finished' : this.#completed === SHARDS ? 'Finishing' : 'Running';
    const ledger = this.#plan ? aRunningLedger(this.#completed, SHARDS, { phase, workers: live, failure: this.#failure }) : aLedger({ workers: live, failure: this.#failure, phase: this.#failure ? 'Failed' : 'Planning' });
    return {
      ...observed({
        tenant: aTenantView({ cordoned: this.cordoned }),
        pods: [...this.#cache, ...[...this.#unseen.values()].filter(({ metadata }) => !cached.has(metadata.name))],
        lostNodes: new Set(this.lost),
        inputCopy: this.#inputCopied ? { kind: 'stored' } : { kind: 'ready', base64: 'eA==' },
        ...(this.#refusal && { refusal: this.#refusal }),
      }),
      grant: this.#grant as NonNullable<Observed['grant']>,
      ...(this.finished ? { ledger: undefined as never } : { ledger }),
    };
  }

  /** One reconcile. The operator dies after `diesAfter` writes. */
  reconcile(diesAfter = Number.POSITIVE_INFINITY): void {
    const plan = planBatchJob(this.job, this.#observe(), this.now);
    this.#schedule(plan.demand);
    const changes: ChangeSet = { created: [], configured: [], unchanged: [], removed: [], refused: [] };
    let left = diesAfter;
    const dies = (): boolean => left-- <= 0;
    let copied = this.#inputCopied;
    for (const object of plan.create) {
      if (dies()) {
        this.#inputCopied = copied;
        return this.restart();
      }
      const { name } = object.metadata;
      if (object.kind === 'ConfigMap') {
        copied = true;
        this.writes++;
        changes.created.push(`ConfigMap/${name}`);
        continue;
      }
      const existing = this.pods.get(name);
      if (existing) {
        if (existing.metadata.deletionTimestamp === undefined) changes.unchanged.push(`Pod/${name}`);
        else changes.refused.push({ kind: 'Pod', name, reason: 'AlreadyExists', message: 'is still being deleted' });
      } else if (this.live.length >= this.quota) {
        changes.refused.push({ kind: 'Pod', name, reason: 'Forbidden', message: 'exceeded quota: q, requested: pods=1, used: pods=9, limited: pods=9' });
      } else {
        this.#make(object as WorkerPod);
        changes.created.push(`Pod/${name}`);
      }
    }
    this.#inputCopied = copied;
    this.#refusal = changes.refused[0];
    for (const removal of plan.remove) {
      if (dies()) return this.restart();
      expect(removal.kind).toBe('Pod');
      expect(removal.uid).not.toBe('');
      const pod = this.pods.get(removal.name);
      if (pod?.metadata.uid !== removal.uid || pod.metadata.deletionTimestamp !== undefined) continue;
      this.writes++;
      this.delete(pod);
    }
    const report = plan.report(changes);
    if (dies()) return this.restart();
    if (report.status !== undefined) this.#write(report.status as BatchJobStatus);
    this.events.push(...report.events.map(({ reason }) => reason));
  }

  #schedule(demand: Demand | undefined): void {
    if (demand === undefined) {
      this.#grant = undefined;
      return;
    }
    const dismissed = new Map([...(this.#grant?.dismissed ?? [])].filter(([name]) => demand.pods.includes(name)));
    const staying = demand.pods.filter((name, index) => !dismissed.has(name) && demand.state.workers[index]?.endingAt === undefined);
    for (const name of staying.slice(demand.state.max)) dismissed.set(name, this.now);
    this.#grant = aGrant(demand.state.max, { dismissed });
  }

  #make(pod: WorkerPod): void {
    const { name } = pod.metadata;
    expect(this.#madeNames.has(name), `${name} is made twice`).toBe(false);
    this.#madeNames.add(name);
    const slot = pod.metadata.labels?.[labels.slot];
    const rivals = this.live.filter((other) => other.metadata.labels?.[labels.slot] === slot && !(other.metadata.deletionTimestamp !== undefined && this.lost.has(other.spec?.nodeName ?? '')));
    expect(rivals.map(({ metadata }) => metadata.name), `${name} joins`).toEqual([]);
    expect(this.#inputCopied, 'the input is there first').toBe(true);
    expect(this.finished, 'a finished job makes no pods').toBe(false);
    expect(isTrue(this.job.status?.conditions, 'SuccessCriteriaMet') || isTrue(this.job.status?.conditions, 'FailureTarget'), 'a decided job makes no pods').toBe(false);
    expect(this.job.spec.suspend, 'a suspended job makes no pods').toBe(false);
    const creationTimestamp = new Date(this.now).toISOString();
    const stored: Pod = { ...structuredClone(pod), spec: {}, status: { phase: 'Pending' }, metadata: { ...pod.metadata, uid: `u${++this.#uids}`, resourceVersion: '1', creationTimestamp } };
    this.pods.set(name, stored);
    this.#unseen.set(name, { ...structuredClone(stored), metadata: { ...structuredClone(stored.metadata), uid: '' } });
    this.writes++;
  }

  #write(status: BatchJobStatus): void {
    if (deepEqual(this.job.status ?? {}, status)) return;
    const parsed = parseBatchJob({ ...this.job, status });
    expect(parsed.ok ? [] : parsed.problems).toEqual([]);
    for (const final of ['Complete', 'Failed', 'SuccessCriteriaMet', 'FailureTarget']) {
      if (isTrue(this.job.status?.conditions, final)) expect(isTrue(status.conditions, final), `${final} is final`).toBe(true);
    }
    const ends = ['Complete', 'Failed'].filter((type) => isTrue(status.conditions, type));
    expect(ends.length).toBeLessThanOrEqual(1);
    if (ends.length === 1 && !this.finished) {
      const alive = this.live.filter((pod) => !(pod.metadata.deletionTimestamp !== undefined && this.lost.has(pod.spec?.nodeName ?? '')));
      expect(alive.map(({ metadata }) => metadata.name), 'finished while pods live').toEqual([]);
    }
    expect(isTrue(status.conditions, 'Reconciling') && isTrue(status.conditions, 'Stalled')).toBe(false);
    this.writes++;
    this.job = { ...this.job, status: structuredClone(status) };
  }

  /** A new leader: it lists everything and remembers nothing; its ledger knows what the status kept. */
  restart(): void {
    this.sync();
    this.#refusal = undefined;
    this.#grant = undefined;
    this.#madeNames = new Set();
    const shards = this.job.status?.shards;
    this.#plan = shards?.total !== undefined;
    const [, last = ''] = /^(?:0-)?(\d+)$/.exec(shards?.completed ?? '') ?? [];
    this.#completed = last === '' ? 0 : Number(last) + 1;
    this.#finished = false;
    this.#failure = undefined;
  }

  /** The user's hand on the spec. */
  edit(patch: Partial<StoredBatchJob['spec']>): void {
    this.job = { ...this.job, spec: { ...this.job.spec, ...patch }, metadata: { ...this.job.metadata, generation: (this.job.metadata.generation ?? 0) + 1 } };
  }

  delete(pod: Pod): void {
    pod.metadata.deletionTimestamp ??= new Date(this.now).toISOString();
    if ((pod.spec?.nodeName ?? '') === '') this.pods.delete(pod.metadata.name);
  }

  /** The kubelet starts a pod, or ends one that is being deleted. */
  kubelet(pod: Pod): void {
    if (this.lost.has(pod.spec?.nodeName ?? '')) return;
    if (pod.metadata.deletionTimestamp !== undefined) this.pods.delete(pod.metadata.name);
    else if (pod.status?.phase === 'Pending') {
      pod.spec = { nodeName: NODES[this.#uids++ % NODES.length] ?? '' };
      if (!this.lost.has(pod.spec.nodeName ?? '')) pod.status = { phase: 'Running', containerStatuses: [{ name: 'worker', ready: true, state: { running: {} } }] };
    } else if (pod.status?.phase === 'Running' && (this.#finished || this.#grant?.dismissed.has(pod.metadata.name) === true)) this.#exit(pod, 'Succeeded', 0);
    else if (pod.status?.phase === 'Running') pod.status = { phase: 'Running', containerStatuses: [{ name: 'worker', state: { running: {} } }] };
  }

  crash(pod: Pod, exitCode: number, heldBack: boolean): void {
    if (pod.status?.phase !== 'Running') return;
    const terminated = { exitCode, startedAt: new Date(this.now - 20_000).toISOString(), finishedAt: new Date(this.now).toISOString() };
    const state = heldBack ? { waiting: { reason: 'CrashLoopBackOff' } } : { running: {} };
    pod.status = { phase: 'Running', containerStatuses: [{ name: 'worker', restartCount: 1, state, lastState: { terminated } }] };
  }

  evict(pod: Pod): void {
    if (pod.status?.phase === 'Running') this.#exit(pod, 'Failed', 137);
  }

  #exit(pod: Pod, phase: string, exitCode: number): void {
    pod.status = { phase, containerStatuses: [{ name: 'worker', state: { terminated: { exitCode, finishedAt: new Date(this.now).toISOString() } } }] };
  }

  /** The workers get something done. */
  work(): void {
    if (this.running.length === 0 || this.job.spec.suspend || this.#failure) return;
    if (!this.#plan) this.#plan = true;
    else if (this.#completed < SHARDS) this.#completed++;
    else this.#finished = true;
  }

  failShard(): void {
    if (!this.#finished) this.#failure ??= { reason: 'ShardFailed', message: 'shard 0 crashed its worker 4 times' };
  }
}

type Step = { name: string; run: (world: World) => void };
const step = (name: string, run: Step['run']): Step => ({ name, run });
const pick = (world: World, index: number): Pod | undefined => [...world.pods.values()][index % Math.max(1, world.pods.size)];
const on = (index: number, what: (world: World, pod: Pod) => void) => (world: World): void => {
  const pod = pick(world, index);
  if (pod) what(world, pod);
};
const some = fc.nat(11);

const calm = fc.oneof(
  { weight: 4, arbitrary: fc.constant(step('see all and reconcile', (world) => { world.sync(); world.reconcile(); })) },
  { weight: 2, arbitrary: fc.constant(step('reconcile', (world) => world.reconcile())) },
  { weight: 2, arbitrary: fc.constant(step('all kubelets', (world) => { for (const pod of [...world.pods.values()]) world.kubelet(pod); })) },
  { weight: 1, arbitrary: some.map((index) => step(`kubelet ${index}`, on(index, (world, pod) => world.kubelet(pod)))) },
  { weight: 2, arbitrary: fc.constant(step('work', (world) => world.work())) },
  { weight: 1, arbitrary: fc.constant(step('sync', (world) => world.sync())) },
  { weight: 1, arbitrary: some.map((index) => step(`sync pod ${index}`, (world) => world.syncOne(index))) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 40_000 }).map((ms) => step(`wait ${ms}`, (world) => { world.now += ms; })) },
);

const loss = fc.oneof(
  some.map((index) => step(`delete ${index}`, on(index, (world, pod) => world.delete(pod)))),
  some.map((index) => step(`evict ${index}`, on(index, (world, pod) => world.evict(pod)))),
  fc.tuple(some, fc.boolean(), fc.constantFrom(1, 75, 137, 143)).map(([index, heldBack, code]) => step(`crash ${index} with ${code}`, on(index, (world, pod) => world.crash(pod, code, heldBack)))),
  fc.constantFrom(...NODES).map((node) => step(`lose ${node}`, (world) => world.lost.add(node))),
  fc.constantFrom(...NODES).map((node) => step(`regain ${node}`, (world) => world.lost.delete(node))),
  fc.nat(4).map((writes) => step(`the operator dies after ${writes} writes`, (world) => world.reconcile(writes))),
  fc.constant(step('restart', (world) => world.restart())),
);

const policy = fc.oneof(
  fc.constantFrom(0, 1, 3, 100, 100).map((pods) => step(`quota ${pods}`, (world) => { world.quota = pods; })),
  fc.constantFrom(true, false, false).map((cordoned) => step(`cordoned ${cordoned}`, (world) => { world.cordoned = cordoned; })),
  fc.constantFrom(true, false, false).map((suspend) => step(`suspend ${suspend}`, (world) => world.edit({ suspend }))),
  fc.integer({ min: 1, max: 5 }).map((max) => step(`scale to ${max}`, (world) => world.edit({ workers: { ...world.job.spec.workers, max } }))),
);

const fatal = fc.oneof(
  fc.constant(step('a shard fails', (world) => world.failShard())),
  some.map((index) => step(`fatal exit of ${index}`, on(index, (world, pod) => world.crash(pod, fatalExitCodes.ModelInvalid, false)))),
);

/** Trouble ends and everyone does their part, until nobody has anything to do. */
function settle(world: World): number {
  world.lost.clear();
  world.quota = 100;
  world.cordoned = false;
  for (let round = 0; round < 200; round++) {
    world.now += 5000;
    for (const pod of [...world.pods.values()]) world.kubelet(pod);
    world.work();
    world.sync();
    const before = world.writes;
    for (let i = 0; i < 3; i++) world.reconcile();
    if (world.writes === before && (world.finished || world.job.spec.suspend) && world.live.length === 0) return round;
  }
  return Number.POSITIVE_INFINITY;
}

const runs = fc.record({
  workers: fc.integer({ min: 1, max: 4 }),
  inline: fc.boolean(),
  steps: fc.array(fc.oneof({ weight: 8, arbitrary: calm }, { weight: 3, arbitrary: loss }, { weight: 1, arbitrary: policy }), { minLength: 10, maxLength: 100, size: 'max' }),
  ending: fc.array(fc.oneof({ weight: 2, arbitrary: calm }, { weight: 1, arbitrary: fatal }), { maxLength: 8 }),
});

describe('a BatchJob in a troubled cluster', () => {
  test('reaches its end or its rest, and from then on nothing is written', () => {
    fc.assert(fc.property(runs, ({ workers, inline, steps, ending }) => {
      const world = new World(workers, inline);
      for (const { run } of [...steps, ...ending]) run(world);
      expect(settle(world), 'rounds until rest').toBeLessThan(200);

      const { writes, events } = world;
      const told = events.length;
      for (const wait of [0, 1000, 20_000, 600_000]) {
        world.now += wait;
        world.reconcile();
        world.restart();
        world.reconcile();
      }
      expect(world.writes).toBe(writes);
      expect(world.events.slice(told)).toEqual([]);
      if (world.finished) expect(world.live).toEqual([]);
    }), { numRuns: RUNS });
  }, 120_000);

  test('without fatal errors it completes once it is let run, with every shard counted once', () => {
    fc.assert(fc.property(runs, ({ workers, inline, steps }) => {
      const world = new World(workers, inline);
      for (const { run } of steps) run(world);
      world.edit({ suspend: false });
      expect(settle(world), 'rounds until rest').toBeLessThan(200);
      expect(world.job.status).toMatchObject({ state: 'Complete', progress: `100% (${SHARDS * 10}/${SHARDS * 10})`, items: { succeeded: SHARDS * 10, failed: 0 }, replicas: 0 });
      expect(world.events.filter((reason) => reason === 'Completed')).toHaveLength(1);
    }), { numRuns: RUNS });
  }, 120_000);
});
