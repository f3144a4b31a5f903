import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { defaultPolicy } from '../../operator/scheduler/policy.ts';
import { schedule } from '../../operator/scheduler/schedule.ts';
import type { Held, JobState, Snapshot, TenantState } from '../../operator/scheduler/snapshot.ts';

const START = Date.parse('2026-11-23T12:00:00Z');
const POLICY = { ...defaultPolicy, minRuntimeMs: 8_000, minWorkerRuntimeMs: 2_000, cooldownMs: 2_000 };
const LEAVING_MS = 1_000;

interface Pod {
  name: string;
  job: string;
  node: string | undefined;
  startedAt: number | undefined;
  endingAt: number | undefined;
}
type Asked = Omit<JobState, 'workers' | 'held'>;

/** A cluster in which what is decided is carried out: pods are bound in the order in which they were made, whoever they are of. */
class Cluster {
  now = START;
  jobs: Asked[] = [];
  pods: Pod[] = [];
  readonly held = new Map<string, Held>();
  readonly nodes: Map<string, number>;
  readonly tenants: TenantState[];
  writes = 0;
  #made = 0;

  constructor(seats: readonly number[], weights: readonly number[], quota: number) {
    this.nodes = new Map(seats.map((count, index) => [`n${index}`, count]));
    this.tenants = weights.map((weight, index) => ({ name: `t${index}`, weight, maxPriority: 1_000, cordoned: false, quota: { pods: quota }, usedByOthers: {} }));
  }

  step(ms: number): void {
    this.now += ms;
    this.pods = this.pods.filter(({ node, endingAt }) => endingAt === undefined || (node !== undefined && this.now - endingAt < LEAVING_MS));
    this.#bind();
    this.#round();
  }

  free(node: string): number {
    return (this.nodes.get(node) ?? 0) - this.pods.filter((pod) => pod.node === node).length;
  }

  running(uid: string): Pod[] {
    return this.pods.filter((pod) => pod.job === uid && pod.node !== undefined && pod.endingAt === undefined);
  }

  end(uid: string): void {
    this.jobs = this.jobs.filter((job) => job.uid !== uid);
    for (const pod of this.pods) if (pod.job === uid) pod.endingAt ??= this.now;
  }

  #bind(): void {
    for (const pod of this.pods) {
      if (pod.node !== undefined || pod.endingAt !== undefined) continue;
      const node = [...this.nodes.keys()].find((name) => this.free(name) > 0);
      if (node !== undefined) Object.assign(pod, { node, startedAt: this.now });
    }
  }

  #round(): void {
    const jobs = this.jobs.map((job): JobState => ({
      ...job,
      held: this.held.get(job.uid),
      workers: this.pods.filter((pod) => pod.job === job.uid).map(({ node, startedAt, endingAt }) => ({ node, startedAt, endingAt })),
    }));
    const listed = new Set(jobs.map(({ uid }) => uid));
    const snapshot: Snapshot = {
      jobs,
      tenants: this.tenants,
      finished: new Map(),
      nodes: [...this.nodes].map(([name, seats]) => ({ name, labels: {}, taints: [], allocatable: { seat: seats - this.pods.filter((pod) => pod.node === name && !listed.has(pod.job)).length, pods: 100 } })),
    };
    for (const decision of schedule(snapshot, this.now, POLICY).decisions) {
      this.held.set(decision.uid, decision.held);
      const own = this.pods.filter((pod) => pod.job === decision.uid);
      for (const index of decision.remove) {
        (own[index] as Pod).endingAt = this.now;
        this.writes += 1;
      }
      for (let have = own.filter(({ endingAt }) => endingAt === undefined).length; have < decision.workers; have += 1) {
        this.pods.push({ name: `p${this.#made++}`, job: decision.uid, node: undefined, startedAt: undefined, endingAt: undefined });
        this.writes += 1;
      }
    }
  }
}

const aJob = (uid: string, tenant: string, priority: number, min: number, max: number, at: number): Asked => ({
  uid, key: `${tenant}/${uid}`, tenant, priority, createdAt: at, queuedAt: at, suspended: false, dependsOn: [], min, max,
  perWorker: { seat: 1, pods: 1 }, quotaPerWorker: { pods: 1 }, nodeSelector: {}, tolerations: [], oneNode: false, externallyAdmitted: false,
});

const arrivals = fc.array(fc.record({
  afterMs: fc.integer({ min: 0, max: 30_000 }), tenant: fc.nat(2), priority: fc.constantFrom(0, 0, 100, 300, 900), min: fc.integer({ min: 1, max: 3 }), more: fc.nat(3), lastsMs: fc.integer({ min: 2_000, max: 60_000 }),
}), { minLength: 1, maxLength: 10 });
const worlds = fc.record({ seats: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 }), weights: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })), quota: fc.integer({ min: 2, max: 12 }), arrivals });

function play({ seats, weights, quota, arrivals: coming }: typeof worlds extends fc.Arbitrary<infer T> ? T : never, each: (cluster: Cluster) => void = () => undefined): Cluster {
  const cluster = new Cluster(seats, weights, quota);
  const left = new Map<string, number>();
  coming.forEach(({ afterMs, tenant, priority, min, more, lastsMs }, index) => {
    for (const until = cluster.now + afterMs; cluster.now < until; ) advance(500);
    cluster.jobs.push(aJob(`j${index}`, `t${tenant}`, priority, min, min + more, cluster.now));
    left.set(`j${index}`, lastsMs);
  });
  for (let i = 0; i < 120; i += 1) advance(500);
  return cluster;

  function advance(ms: number): void {
    cluster.step(ms);
    each(cluster);
    for (const { uid, min } of cluster.jobs) {
      const rest = (left.get(uid) ?? 0) - (cluster.running(uid).length >= min ? ms : 0);
      left.set(uid, rest);
      if (rest <= 0) cluster.end(uid);
    }
  }
}

describe('the scheduler with a cluster behind it', () => {
  it('comes to rest: where nothing ends or arrives, no pod is made or deleted for ever', () => {
    fc.assert(fc.property(worlds, (world) => {
      const cluster = play({ ...world, arrivals: world.arrivals.map((arrival) => ({ ...arrival, lastsMs: Number.MAX_SAFE_INTEGER, priority: 0 })) });
      const { writes } = cluster;
      for (let i = 0; i < 240; i += 1) cluster.step(500);
      expect(cluster.writes - writes).toBe(0);
    }), { numRuns: 150 });
  });

  it('never has more workers at work than nodes and quotas hold', () => {
    fc.assert(fc.property(worlds, (world) => {
      play(world, (cluster) => {
        for (const name of cluster.nodes.keys()) expect(cluster.free(name)).toBeGreaterThanOrEqual(0);
        for (const { name } of cluster.tenants) {
          const own = new Set(cluster.jobs.filter(({ tenant }) => tenant === name).map(({ uid }) => uid));
          expect(cluster.pods.filter((pod) => own.has(pod.job) && pod.endingAt === undefined).length).toBeLessThanOrEqual(world.quota);
        }
      });
    }), { numRuns: 150 });
  });

  it('writes little: each worker that is granted is made once', () => {
    fc.assert(fc.property(worlds, (world) => {
      const cluster = play(world);
      // Starts, growth, what is taken and given back: a small number for each worker, whatever the number of rounds.
      const workers = world.arrivals.reduce((sum, { min, more }) => sum + min + more, 0);
      expect(cluster.writes).toBeLessThanOrEqual(workers * 12);
    }), { numRuns: 150 });
  });

  it('lets every job run that fits, in the end', () => {
    fc.assert(fc.property(worlds, (world) => {
      const cluster = play({ ...world, arrivals: world.arrivals.map((arrival) => ({ ...arrival, lastsMs: Math.min(arrival.lastsMs, 10_000) })) });
      const seats = [...cluster.nodes.values()].reduce((sum, count) => sum + count, 0);
      for (let i = 0; i < 600 && cluster.jobs.length > 0; i += 1) {
        cluster.step(500);
        for (const { uid, min } of [...cluster.jobs]) if (cluster.running(uid).length >= min) cluster.end(uid);
      }
      expect(cluster.jobs.filter(({ min }) => min <= seats && min <= world.quota).map(({ uid }) => uid)).toEqual([]);
    }), { numRuns: 100 });
  });
});
