import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ageingMs } from '../../operator/scheduler/ageing.ts';
import { matchesNode } from '../../operator/scheduler/capacity.ts';
import { hurryOf } from '../../operator/scheduler/deadline.ts';
import { defaultPolicy, type Policy } from '../../operator/scheduler/policy.ts';
import type { Decision, Schedule } from '../../operator/scheduler/result.ts';
import { schedule } from '../../operator/scheduler/schedule.ts';
import type { Amounts, JobState, NodeState, Snapshot, TenantState, WorkerState } from '../../operator/scheduler/snapshot.ts';

const NOW = Date.parse('2026-11-23T12:00:00Z');
const SECOND = 1_000;
const MINUTE = 60_000;

const aNode = fc.record({ cpu: fc.integer({ min: 1, max: 8 }), gpu: fc.nat(3), pods: fc.integer({ min: 3, max: 9 }), pool: fc.constantFrom('a', 'b'), tainted: fc.nat(4).map((n) => n === 0) });
const aTenant = fc.record({
  weight: fc.integer({ min: 1, max: 4 }), maxPriority: fc.constantFrom(1_000, 1_000, 300), cordoned: fc.nat(7).map((n) => n === 0),
  pods: fc.option(fc.integer({ min: 2, max: 12 })), cpu: fc.option(fc.integer({ min: 1, max: 12 })), others: fc.nat(2), maxJobs: fc.option(fc.integer({ min: 1, max: 4 }), { freq: 3 }),
});
const aJob = fc.record({
  tenant: fc.nat(2), priority: fc.oneof(fc.constantFrom(0, 0, 500), fc.nat(1_000)), waitedMin: fc.oneof(fc.constantFrom(0, 20), fc.nat(60)), min: fc.integer({ min: 1, max: 3 }), more: fc.nat(3),
  cpu: fc.constantFrom(500, 1_000, 2_000), gpu: fc.constantFrom(0, 0, 1), pool: fc.constantFrom(undefined, undefined, 'a'), tolerant: fc.boolean(), oneNode: fc.nat(4).map((n) => n === 0),
  dueMin: fc.option(fc.integer({ min: -10, max: 120 })), rate: fc.option(fc.integer({ min: 1, max: 100 })), items: fc.integer({ min: 1, max: 100_000 }),
  running: fc.constantFrom(0, 0, 1, 2, 4), ranMin: fc.oneof(fc.constant(0), fc.nat(30)), arrives: fc.nat(2),
});
const aWorld = fc.record({ nodes: fc.array(aNode, { minLength: 1, maxLength: 4 }), tenants: fc.array(aTenant, { minLength: 1, maxLength: 3 }), jobs: fc.array(aJob, { minLength: 1, maxLength: 12 }) });
/** How a round is carried out before the next: how long that takes, whether pods get their nodes, whether those that are removed are gone. */
const someRounds = fc.array(fc.record({ seconds: fc.constantFrom(0, 1, 10, 40, 150), bound: fc.boolean(), gone: fc.boolean() }), { maxLength: 5 });
type World = typeof aWorld extends fc.Arbitrary<infer T> ? T : never;
type Round = { seconds: number; bound: boolean; gone: boolean };
const settled: Round = { seconds: 1, bound: true, gone: true };

const nodesOf = ({ nodes }: World): NodeState[] => nodes.map(({ cpu, gpu, pods, pool, tainted }, index) => ({
  name: `n${index}`, labels: { pool }, taints: tainted ? [{ key: 'gpu', effect: 'NoSchedule' }] : [], allocatable: { cpu: cpu * 1_000, 'nvidia.com/gpu': gpu, pods },
}));

const tenantsOf = ({ tenants }: World): TenantState[] => tenants.map(({ weight, maxPriority, cordoned, pods, cpu, others, maxJobs }, index) => ({
  name: `t${index}`, weight, maxPriority, cordoned,
  quota: { ...(pods === null ? {} : { pods }), ...(cpu === null ? {} : { 'requests.cpu': cpu * 1_000 }) }, usedByOthers: { pods: others }, maxRunningJobs: maxJobs ?? undefined,
}));

/** The jobs of the world, those that run on nodes that have room for them. */
function snapshotOf(world: World): Snapshot {
  const nodes = nodesOf(world);
  const free = new Map(nodes.map(({ name, allocatable }) => [name, { ...allocatable } as Record<string, number>]));
  const jobs = world.jobs.map((it, index): JobState => {
    const queuedAt = NOW - it.waitedMin * MINUTE - it.ranMin * MINUTE;
    const perWorker: Amounts = { cpu: it.cpu, 'nvidia.com/gpu': it.gpu, pods: 1 };
    const job: JobState = {
      uid: `j${String(index).padStart(2, '0')}`, key: `t${it.tenant % world.tenants.length}/j${index}`, tenant: `t${it.tenant % world.tenants.length}`, priority: it.priority, createdAt: queuedAt, queuedAt,
      deadlineAt: it.dueMin === null ? undefined : NOW + it.dueMin * MINUTE, suspended: false, dependsOn: [], min: it.min, max: it.min + it.more, perWorker, quotaPerWorker: { pods: 1, 'requests.cpu': it.cpu },
      nodeSelector: it.pool === undefined ? {} : { pool: it.pool }, tolerations: it.tolerant ? [{ key: 'gpu', operator: 'Exists' }] : [], oneNode: it.oneNode, workers: [],
      ratePerWorker: it.rate ?? undefined, itemsLeft: it.items, lastCheckpointAt: it.running > 0 ? NOW - it.waitedMin * SECOND : undefined, externallyAdmitted: false,
    };
    const workers: WorkerState[] = [];
    for (const { name } of nodes.filter((node) => matchesNode(job, node))) {
      if (it.oneNode && workers.length > 0) break;
      const left = free.get(name) as Record<string, number>;
      while (workers.length < it.running && Object.entries(perWorker).every(([resource, need]) => (left[resource] as number) >= need)) {
        for (const [resource, need] of Object.entries(perWorker)) left[resource] = (left[resource] as number) - need;
        workers.push({ node: name, startedAt: NOW - it.ranMin * MINUTE });
      }
    }
    return { ...job, workers };
  });
  return { nodes, tenants: tenantsOf(world), jobs, finished: new Map() };
}

const kept = ({ workers }: JobState, { remove }: Decision): WorkerState[] => workers.filter(({ endingAt }, index) => endingAt === undefined && !remove.includes(index));

/** The snapshot of the next round: what was decided is there. */
function carryOut(snapshot: Snapshot, { decisions }: Schedule, now: number, { bound, gone }: Pick<Round, 'bound' | 'gone'> = { bound: true, gone: true }): Snapshot {
  const jobs = snapshot.jobs.map((job, index): JobState => {
    const decision = decisions[index] as Decision;
    const planned = [...decision.planned];
    const stays = kept(job, decision);
    const made = Array.from({ length: decision.workers - stays.length }, (): WorkerState => ({}));
    const own = [...stays, ...made].map((worker): WorkerState => (worker.node === undefined && bound && planned.length > 0 ? { node: planned.shift(), startedAt: now } : worker));
    const leaving = gone ? [] : job.workers.filter((worker) => !stays.includes(worker)).map((worker) => ({ ...worker, endingAt: worker.endingAt ?? now }));
    return { ...job, held: decision.held, workers: [...own, ...leaving] };
  });
  return { ...snapshot, jobs };
}

/** Plays the rounds; jobs arrive over the first ones. Each round is shown as it was decided. */
function play(world: World, rounds: readonly Round[], each: (snapshot: Snapshot, result: Schedule, now: number) => void = () => undefined, policy: Policy = defaultPolicy): { snapshot: Snapshot; now: number } {
  const all = snapshotOf(world);
  const arrives = (job: JobState): number => world.jobs[Number(job.uid.slice(1))]?.arrives ?? 0;
  let now = NOW;
  let snapshot: Snapshot = { ...all, jobs: all.jobs.filter((job) => job.workers.length > 0 || arrives(job) === 0) };
  rounds.forEach(({ seconds, ...how }, round) => {
    const result = schedule(snapshot, now, policy);
    each(snapshot, result, now);
    snapshot = carryOut(snapshot, result, now, how);
    now += seconds * SECOND;
    const known = new Set(snapshot.jobs.map(({ uid }) => uid));
    snapshot = { ...snapshot, jobs: [...snapshot.jobs, ...all.jobs.filter((job) => !known.has(job.uid) && arrives(job) <= round + 1)] };
  });
  return { snapshot, now };
}

const plus = (sum: Record<string, number>, each: Amounts, times = 1): void => {
  for (const [name, amount] of Object.entries(each)) sum[name] = (sum[name] ?? 0) + amount * times;
};

/** Per node, what workers take that stay or are planned there. */
function taken(snapshot: Snapshot, { decisions }: Schedule, which: 'all' | 'staying' = 'all'): Map<string, Record<string, number>> {
  const use = new Map(snapshot.nodes.map(({ name }) => [name, {} as Record<string, number>]));
  snapshot.jobs.forEach((job, index) => {
    const decision = decisions[index] as Decision;
    for (const { node } of kept(job, decision)) plus(use.get(node ?? '') ?? {}, job.perWorker);
    if (which === 'all') for (const node of decision.planned) plus(use.get(node) as Record<string, number>, job.perWorker);
  });
  return use;
}

/** How many more workers of the job the nodes and its tenant's quota have room for. */
function roomFor(snapshot: Snapshot, result: Schedule, index: number): { nodes: number; quota: number; jobs: number } {
  const job = snapshot.jobs[index] as JobState;
  const use = taken(snapshot, result);
  const home = job.oneNode ? [...kept(job, result.decisions[index] as Decision).map(({ node }) => node), ...(result.decisions[index] as Decision).planned][0] : undefined;
  const rooms = snapshot.nodes.filter((node) => matchesNode(job, node) && (home === undefined || node.name === home)).map(({ name, allocatable }) =>
    Math.max(0, Math.min(...Object.entries(job.perWorker).filter(([, need]) => need > 0).map(([resource, need]) => Math.floor(((allocatable[resource] ?? 0) - (use.get(name)?.[resource] ?? 0)) / need)))));
  const tenant = snapshot.tenants.find(({ name }) => name === job.tenant) as TenantState;
  const used = usedQuota(snapshot, result, tenant);
  const quota = Math.min(...Object.entries(tenant.quota).map(([name, hard]) => ((job.quotaPerWorker[name] ?? 0) > 0 ? Math.floor((hard - (used[name] ?? 0)) / (job.quotaPerWorker[name] as number)) : Number.POSITIVE_INFINITY)));
  return { nodes: job.oneNode ? Math.max(0, ...rooms) : rooms.reduce((sum, room) => sum + room, 0), quota, jobs: (tenant.maxRunningJobs ?? Number.POSITIVE_INFINITY) - running(snapshot, result, tenant) };
}

function usedQuota({ jobs }: Snapshot, { decisions }: Schedule, { name, usedByOthers }: TenantState): Record<string, number> {
  const used: Record<string, number> = { ...usedByOthers };
  for (const [index, { tenant, quotaPerWorker }] of jobs.entries()) if (tenant === name) plus(used, quotaPerWorker, (decisions[index] as Decision).workers);
  return used;
}

const running = ({ jobs }: Snapshot, { decisions }: Schedule, { name }: TenantState): number => jobs.filter(({ tenant }, index) => tenant === name && (decisions[index] as Decision).workers > 0).length;
const hadWorkers = ({ held, workers }: JobState): number => held?.workers ?? workers.filter(({ endingAt }) => endingAt === undefined).length;
const starts = (snapshot: Snapshot, result: Schedule, index: number): boolean => hadWorkers(snapshot.jobs[index] as JobState) === 0 && (result.decisions[index] as Decision).workers > 0;
const workersByUid = ({ decisions }: Schedule): Record<string, number> => Object.fromEntries(decisions.map(({ uid, workers }) => [uid, workers]));
const byUid = ({ decisions }: Schedule): Map<string, Decision> => new Map(decisions.map((decision) => [decision.uid, decision]));
/** Nobody waits so long in these worlds that he has aged in full. */
const unaged: Policy = { ...defaultPolicy, ageingPointsPerMinute: 10 };
const check = (property: fc.IRawProperty<unknown>, numRuns: number): void => fc.assert(property as fc.IProperty<unknown>, { numRuns });

describe('one round of the scheduler', () => {
  it('gives a job nothing, or at least its minimum and at most its maximum, each worker counted once', () => {
    check(fc.property(aWorld, someRounds, (world, rounds) => {
      play(world, [...rounds, settled], (snapshot, { decisions }) => {
        snapshot.jobs.forEach((job, index) => {
          const { workers, planned, beyondCapacity, remove, held, uid } = decisions[index] as Decision;
          expect([uid, held.workers]).toEqual([job.uid, workers]);
          if (workers > 0) expect(workers).toBeGreaterThanOrEqual(job.min);
          expect(workers).toBeLessThanOrEqual(job.max);
          expect(kept(job, decisions[index] as Decision).filter(({ node }) => node !== undefined).length + planned.length + beyondCapacity).toBe(workers);
          expect(remove.filter((at) => job.workers[at] === undefined || job.workers[at]?.endingAt !== undefined)).toEqual([]);
        });
      });
    }), 250);
  });

  it('never exceeds a quota, whatever ran before', () => {
    check(fc.property(aWorld, someRounds, (world, rounds) => {
      play(world, [...rounds, settled], (snapshot, result) => {
        for (const tenant of snapshot.tenants) {
          const used = usedQuota(snapshot, result, tenant);
          for (const [name, hard] of Object.entries(tenant.quota)) if ((used[name] ?? 0) > (tenant.usedByOthers[name] ?? 0)) expect(used[name]).toBeLessThanOrEqual(hard);
          const before = snapshot.jobs.filter((job) => job.tenant === tenant.name && hadWorkers(job) > 0).length;
          expect(running(snapshot, result, tenant)).toBeLessThanOrEqual(Math.max(before, tenant.maxRunningJobs ?? Number.POSITIVE_INFINITY));
        }
      });
    }), 250);
  });

  it('plans a worker only on a node that matches and has room for it, and all of a job on one node if they must share it', () => {
    check(fc.property(aWorld, someRounds, (world, rounds) => {
      play(world, [...rounds, settled], (snapshot, result) => {
        const use = taken(snapshot, result);
        snapshot.jobs.forEach((job, index) => {
          const decision = result.decisions[index] as Decision;
          for (const name of decision.planned) {
            const node = snapshot.nodes.find((each) => each.name === name) as NodeState;
            expect(matchesNode(job, node)).toBe(true);
            for (const [resource, need] of Object.entries(job.perWorker)) if (need > 0) expect(use.get(name)?.[resource]).toBeLessThanOrEqual(node.allocatable[resource] ?? 0);
          }
          if (job.oneNode) expect(new Set([...decision.planned, ...kept(job, decision).flatMap(({ node }) => node ?? [])]).size).toBeLessThanOrEqual(1);
        });
      });
    }), 250);
  });

  it('is the same for the same input, and for jobs in another order', () => {
    check(fc.property(aWorld, someRounds, fc.array(fc.nat(), { minLength: 12, maxLength: 12 }), (world, rounds, dice) => {
      const { snapshot, now } = play(world, rounds);
      const first = schedule(snapshot, now);
      expect(schedule(structuredClone(snapshot), now)).toEqual(first);
      const jobs = shuffled(snapshot.jobs, dice);
      expect(byUid(schedule({ ...snapshot, jobs }, now))).toEqual(byUid(first));
    }), 200);
  });

  it('changes nothing where the last round was carried out, whether or not its pods have their nodes yet', () => {
    check(fc.property(aWorld, someRounds, fc.boolean(), fc.boolean(), (world, rounds, bound, gone) => {
      const open = { ...world, tenants: world.tenants.map((tenant) => ({ ...tenant, cordoned: false })) };
      const { snapshot, now } = play(open, [settled, ...rounds.map((round) => ({ ...round, gone: true }))]);
      const first = schedule(snapshot, now);
      const next = schedule(carryOut(snapshot, first, now, { bound, gone }), now);
      expect(workersByUid(next)).toEqual(workersByUid(first));
      expect(next.victims).toEqual([]);
      expect(next.decisions.flatMap(({ remove }) => remove)).toEqual([]);
      expect(next.decisions.map(({ uid, position, reason }) => ({ uid, position, reason }))).toEqual(first.decisions.map(({ uid, position, reason }) => ({ uid, position, reason })));
    }), 250);
  });

  it('refuses those on a cycle of dependencies, says so, and lets the others wait for them', () => {
    check(fc.property(fc.array(fc.array(fc.nat(7), { maxLength: 2 }), { minLength: 8, maxLength: 8 }), aWorld, (graph, world) => {
      schedule(dependent(graph, world), NOW).decisions.forEach(({ reason, message, workers }, index) => {
        const onCycle = reach(graph, index).has(index);
        if (onCycle) expect([reason, message]).toEqual(['DependencyCycle', expect.stringMatching(`^never starts: its dependencies are a cycle \\(j${index} → .*\\)`)]);
        else if ((graph[index] as number[]).length > 0) expect(reason).not.toBe('Running');
        if ((graph[index] as number[]).length > 0) expect(workers).toBe(0);
      });
    }), 150);
  });

  it('lets nothing new start or grow for a cordoned tenant, and leaves what runs', () => {
    check(fc.property(aWorld, someRounds, (world, rounds) => {
      const { snapshot, now } = play(world, rounds);
      const tenants = snapshot.tenants.map((tenant) => ({ ...tenant, cordoned: true }));
      const { decisions, victims } = schedule({ ...snapshot, tenants }, now);
      for (const [index, job] of snapshot.jobs.entries()) expect(decisions[index]?.workers).toBeLessThanOrEqual(hadWorkers(job));
      expect(victims).toEqual([]);
      const settled = carryOut(snapshot, schedule(snapshot, now), now, { bound: true, gone: false });
      expect(schedule({ ...settled, tenants }, now).decisions.map(({ workers }) => workers)).toEqual(settled.jobs.map(hadWorkers));
    }), 200);
  });
});

/** Jobs of one tenant, each of which depends on those that the graph names. */
function dependent(graph: readonly (readonly number[])[], world: World): Snapshot {
  const base = snapshotOf({ ...world, jobs: graph.map(() => ({ ...(world.jobs[0] as World['jobs'][number]), tenant: 0, running: 0, arrives: 0 })) });
  return { ...base, jobs: base.jobs.map((job, index) => ({ ...job, dependsOn: (graph[index] as readonly number[]).map((on) => `t0/j${on}`) })) };
}

/** All that can be reached from there along one edge or more. */
function reach(graph: readonly (readonly number[])[], from: number, seen = new Set<number>()): Set<number> {
  for (const on of graph[from] as readonly number[]) if (!seen.has(on)) reach(graph, on, seen.add(on));
  return seen;
}

const shuffled = <T>(list: readonly T[], dice: readonly number[]): T[] => list.map((item, index) => ({ item, at: dice[index] ?? 0 })).sort((a, b) => a.at - b.at).map(({ item }) => item);

const calm: readonly Round[] = Array.from({ length: 30 }, () => ({ seconds: 10, bound: true, gone: true }));
const noise = fc.infiniteStream(fc.constantFrom(0.8, 1, 1.2));

/** What still changes in worlds that stand still but for noise in the rates: nobody ages, no term ends, and all keep the time that they have left. */
function changesUnderNoise(world: World, factors: Iterator<number>): string[] {
  const policy = { ...defaultPolicy, ageingPointsPerMinute: 0, loanTerm: 0, waitTerm: 0 };
  let { snapshot, now } = play(world, calm.slice(0, 4), undefined, policy);
  const since = now;
  const still = snapshot.jobs;
  const changes: string[] = [];
  for (let round = 0; round < 100; round++) {
    now += 10 * SECOND;
    const jobs = snapshot.jobs.map((job, index): JobState => {
      const { ratePerWorker, createdAt, deadlineAt } = still[index] as JobState;
      const later = now - since;
      return { ...job, createdAt: createdAt + later, deadlineAt: deadlineAt === undefined ? undefined : deadlineAt + later, ratePerWorker: ratePerWorker === undefined ? undefined : ratePerWorker * (factors.next().value as number) };
    });
    snapshot = { ...snapshot, jobs };
    const result = schedule(snapshot, now, policy);
    // By then every job has seen the lowest rate and the highest.
    if (round >= 50) snapshot.jobs.forEach((job, index) => { if (hadWorkers(job) !== result.decisions[index]?.workers) changes.push(`round ${round}: ${job.uid} ${hadWorkers(job)} → ${result.decisions[index]?.workers}`); });
    snapshot = carryOut(snapshot, result, now);
  }
  return changes;
}

describe('rounds of the scheduler', () => {
  it('leave no room unused that a waiting job or a growing one could have', () => {
    check(fc.property(aWorld, (world) => {
      const { snapshot, now } = play(world, calm);
      const result = schedule(snapshot, now);
      const idle = snapshot.jobs.flatMap((job, index) => {
        const { workers, reason, held } = result.decisions[index] as Decision;
        if (held.cutAt !== undefined && now - held.cutAt < defaultPolicy.cooldownMs) return [];
        const { nodes, quota, jobs } = roomFor(snapshot, result, index);
        const cordoned = snapshot.tenants.some(({ name, cordoned: is }) => name === job.tenant && is);
        if (cordoned) return [];
        if (workers > 0) return workers < job.max && nodes >= 1 && quota >= 1 ? [`${job.uid} could grow beyond ${workers}`] : [];
        return nodes >= job.min && quota >= job.min && jobs >= 1 ? [`${job.uid} could start: ${reason}`] : [];
      });
      expect(idle).toEqual([]);
    }), 120);
  });

  it('move nobody to and fro for noise of a fifth in the measured rate of a job that has a deadline', () => {
    check(fc.property(aWorld, noise, (world, factors) => {
      const jobs = world.jobs.map((job, index) => ({ ...job, priority: 0, dueMin: index === 0 ? (job.dueMin ?? 30) : null, rate: job.rate ?? 10 }));
      expect(changesUnderNoise({ ...world, tenants: world.tenants.slice(0, 1), jobs }, factors)).toEqual([]);
    }), 60);
  });
});

describe('a stream of jobs of high priority', () => {
  const STEP = 2 * SECOND;
  const policy: Policy = { ...defaultPolicy, ageingPointsPerMinute: 500, minRuntimeMs: 20 * SECOND, minWorkerRuntimeMs: 4 * SECOND, cooldownMs: 4 * SECOND };
  const coming = fc.record({ tenant: fc.nat(1), min: fc.integer({ min: 1, max: 3 }), more: fc.nat(2), lastsSteps: fc.integer({ min: 1, max: 40 }), oneNode: fc.boolean() });

  it('keeps no job from its start beyond ageingMs + (jobs that aged before it + 1) × 2 × minRuntimeMs', () => {
    const worlds = fc.record({ seats: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 }), weights: fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 })), low: fc.array(fc.record({ min: fc.integer({ min: 1, max: 4 }), tenant: fc.nat(1) }), { minLength: 1, maxLength: 3 }), stream: fc.array(coming, { minLength: 1, maxLength: 8 }) });
    check(fc.property(worlds, ({ seats, weights, low, stream }) => {
      const nodes = seats.map((seat, index): NodeState => ({ name: `n${index}`, labels: {}, taints: [], allocatable: { seat, pods: 50 } }));
      const tenants = weights.map((weight, index): TenantState => ({ name: `t${index}`, weight, maxPriority: 1_000, cordoned: false, quota: {}, usedByOthers: {} }));
      const room = seats.reduce((sum, seat) => sum + seat, 0);
      const job = (uid: string, tenant: number, priority: number, min: number, more: number, oneNode: boolean, at: number): JobState => {
        const least = Math.min(min, oneNode ? Math.max(...seats) : room);
        return {
          uid, key: `t${tenant}/${uid}`, tenant: `t${tenant}`, priority, createdAt: at, queuedAt: at, suspended: false, dependsOn: [], min: least, max: least + more,
          perWorker: { seat: 1, pods: 1 }, quotaPerWorker: { pods: 1 }, nodeSelector: {}, tolerations: [], oneNode, workers: [], externallyAdmitted: false,
        };
      };
      let now = NOW;
      let jobs = stream.map(({ tenant, min, more, oneNode }, index) => job(`s${index}`, tenant, 1_000, min, more, oneNode, now));
      const left = new Map(jobs.map(({ uid }, index) => [uid, (stream[index] as { lastsSteps: number }).lastsSteps]));
      let made = jobs.length;
      const since = new Map<string, number>();
      const bound = new Map<string, number>();
      const end = NOW + ageingMs(policy) + 12 * 2 * policy.minRuntimeMs;
      for (let step = 0; now < end; step++, now += STEP) {
        if (step === 10) jobs.push(...low.map(({ min, tenant }, index) => job(`low${index}`, tenant, 0, min, 0, false, now)));
        const result = schedule({ nodes, tenants, jobs, finished: new Map() }, now, policy);
        for (const { uid, workers, held } of result.decisions) {
          if (workers > 0) {
            since.delete(uid);
            bound.delete(uid);
            continue;
          }
          if (since.get(uid) !== held.waitingSince) bound.delete(uid);
          since.set(uid, held.waitingSince);
        }
        // Who has aged before a job is known when it does.
        for (const [uid, from] of since) {
          if (bound.has(uid) || now - from < ageingMs(policy)) continue;
          const before = [...since].filter(([other, at]) => other !== uid && at <= from).length;
          bound.set(uid, from + ageingMs(policy) + (before + 1) * 2 * (policy.minRuntimeMs + 2 * STEP));
        }
        for (const [uid, at] of bound) if (now > at) throw new Error(`${uid} still waits ${(now - at) / SECOND} s after its bound`);
        jobs = [...carryOut({ nodes, tenants, jobs, finished: new Map() }, result, now).jobs];
        for (const { uid, workers } of jobs) if (workers.length > 0 && left.has(uid)) left.set(uid, (left.get(uid) ?? 0) - 1);
        // Whoever of the stream ends is followed by the next one, so that there is always more than there is room for.
        jobs = jobs.map((each) => {
          if ((left.get(each.uid) ?? 1) > 0) return each;
          const next = stream[made % stream.length] as { tenant: number; min: number; more: number; lastsSteps: number; oneNode: boolean };
          const uid = `s${made++}`;
          since.delete(each.uid);
          bound.delete(each.uid);
          left.delete(each.uid);
          left.set(uid, next.lastsSteps);
          return job(uid, next.tenant, 1_000, next.min, next.more, next.oneNode, now);
        });
      }
      const waiting = low.flatMap((_, index) => (since.has(`low${index}`) && !jobs.some(({ uid, held }) => uid === `low${index}` && held?.cutAt !== undefined) ? [`low${index}`] : []));
      expect(waiting).toEqual([]);
    }), 60);
  });
});

describe('the scheduler, in worlds of all kinds', () => {
  it('is the same for tenants in another order', () => {
    check(fc.property(aWorld, someRounds, fc.array(fc.nat(), { minLength: 3, maxLength: 3 }), (world, rounds, dice) => {
      const { snapshot, now } = play(world, rounds);
      expect(byUid(schedule({ ...snapshot, tenants: shuffled(snapshot.tenants, dice) }, now))).toEqual(byUid(schedule(snapshot, now)));
    }), 2_000);
  });

  it('starts no job of a tenant while an equal one that its deadline hurries waits, or one that is due earlier', () => {
    check(fc.property(aWorld, someRounds, (world, rounds) => {
      const alike = { ...world, jobs: world.jobs.map((job) => ({ ...job, cpu: 1_000 as const, gpu: 0 as const, pool: undefined, tolerant: true, oneNode: false, min: 1 })) };
      const { snapshot, now } = play(alike, [settled, ...rounds], undefined, unaged);
      const result = schedule(snapshot, now, unaged);
      const due = snapshot.jobs.map((job) => hurryOf(job, 0, job.held?.hurried ?? false, now, unaged)?.dueAt ?? Number.POSITIVE_INFINITY);
      snapshot.jobs.forEach((job, index) => {
        const { held, tenant } = job;
        const waits = result.decisions[index]?.position !== undefined && result.decisions[index]?.reason !== 'Preempted' && held?.cutAt === undefined;
        if (!waits) return;
        const overtaken = snapshot.jobs.filter((other, at) => other.tenant === tenant && starts(snapshot, result, at) && (due[at] as number) > (due[index] as number));
        expect(overtaken.map(({ key }) => key)).toEqual([]);
      });
    }), 250);
  });

  it('moves nobody to and fro for noise of a fifth in the measured rates', () => {
    check(fc.property(aWorld, noise, (world, factors) => {
      expect(changesUnderNoise(world, factors)).toEqual([]);
    }), 60);
  });

  it('ranks a job that lost its workers with their node as one that waits, in the same round', () => {
    check(fc.property(aWorld, (world) => {
      const { snapshot, now } = play({ ...world, tenants: world.tenants.map((tenant) => ({ ...tenant, cordoned: false })) }, []);
      const first = schedule(snapshot, now);
      expect(schedule(carryOut(snapshot, first, now), now).decisions.map(({ position }) => position)).toEqual(first.decisions.map(({ position }) => position));
    }), 2_000);
  });
});
