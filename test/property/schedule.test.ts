import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ageingMs } from '../../operator/scheduler/ageing.ts';
import { matchesNode } from '../../operator/scheduler/capacity.ts';
import { defaultPolicy } from '../../operator/scheduler/policy.ts';
import type { Decision, Schedule } from '../../operator/scheduler/result.ts';
import { schedule } from '../../operator/scheduler/schedule.ts';
import type { Amounts, JobState, NodeState, Snapshot, TenantState } from '../../operator/scheduler/snapshot.ts';
import { carriedOut, GPU, MINUTE, NOW, remembered } from '../support/scheduling.ts';

const policy = defaultPolicy;

/* A cluster small enough that every resource is short, with all that makes jobs unlike each other. */
const amounts = fc.record({ cpu: fc.integer({ min: 1, max: 4 }).map((cores) => cores * 500), gpu: fc.integer({ min: 0, max: 2 }) });
const minute = fc.integer({ min: -200, max: 200 });

const tenantArb = (name: string): fc.Arbitrary<TenantState> => fc.record({
  weight: fc.integer({ min: 1, max: 4 }), maxPriority: fc.constantFrom(100, 1_000), cordoned: fc.constantFrom(false, false, false, true),
  cpu: fc.integer({ min: 2, max: 30 }), gpus: fc.integer({ min: 0, max: 8 }), others: fc.integer({ min: 0, max: 2 }), limit: fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined }),
}).map(({ cpu, gpus, others, limit, ...rest }) => ({
  name, ...rest, quota: { 'requests.cpu': cpu * 500, [`requests.${GPU}`]: gpus }, usedByOthers: { 'requests.cpu': others * 250 }, maxRunningJobs: limit,
}));

const nodeArb = (name: string): fc.Arbitrary<NodeState> => fc.record({ cores: fc.integer({ min: 1, max: 8 }), gpus: fc.integer({ min: 0, max: 4 }), pool: fc.constantFrom('a', 'b'), tainted: fc.boolean() })
  .map(({ cores, gpus, pool, tainted }) => ({
    name, labels: { pool }, taints: tainted && gpus > 0 ? [{ key: 'gpu', effect: 'NoSchedule' }] : [], allocatable: { cpu: cores * 1_000, [GPU]: gpus, pods: 6 },
  }));

const jobArb = (index: number, tenants: number): fc.Arbitrary<JobState> => fc.record({
  tenant: fc.integer({ min: 0, max: tenants - 1 }), priority: fc.integer({ min: -100, max: 1_200 }), age: fc.integer({ min: 0, max: 300 }), deadline: fc.option(minute, { nil: undefined }),
  need: amounts, min: fc.constantFrom(1, 1, 1, 2, 3), extra: fc.integer({ min: 0, max: 4 }), pool: fc.option(fc.constantFrom('a', 'b'), { nil: undefined }), oneNode: fc.constantFrom(false, false, true),
  suspended: fc.constantFrom(false, false, false, true), external: fc.constantFrom(false, false, false, false, true), on: fc.option(fc.integer({ min: 0, max: 30 }), { nil: undefined, freq: 4 }),
  rate: fc.option(fc.integer({ min: 1, max: 50 }), { nil: undefined }), items: fc.integer({ min: 1, max: 100_000 }), checkpoint: fc.integer({ min: 0, max: 10_000 }),
}).map(({ tenant, priority, age, deadline, need, min, extra, pool, oneNode, suspended, external, on, rate, items, checkpoint }) => {
  const createdAt = NOW - age * MINUTE;
  return {
    uid: `u${index}`, key: `t${tenant}/j${index}`, tenant: `t${tenant}`, priority, createdAt, queuedAt: createdAt, deadlineAt: deadline === undefined ? undefined : NOW + deadline * MINUTE,
    suspended, dependsOn: on === undefined ? [] : [`t${tenant}/j${on}`], min, max: min + extra,
    perWorker: { cpu: need.cpu, [GPU]: need.gpu, pods: 1 }, quotaPerWorker: { 'requests.cpu': need.cpu, [`requests.${GPU}`]: need.gpu },
    nodeSelector: pool === undefined ? {} : { pool }, tolerations: need.gpu > 0 ? [{ key: 'gpu', operator: 'Exists' }] : [], oneNode,
    workers: [], ratePerWorker: rate, itemsLeft: items, lastCheckpointAt: NOW - checkpoint, externallyAdmitted: external,
  };
});

const fresh: fc.Arbitrary<Snapshot> = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 0, max: 5 }), fc.integer({ min: 1, max: 20 })).chain(([tenants, nodes, jobs]) => fc.record({
  tenants: fc.tuple(...Array.from({ length: tenants }, (_, i) => tenantArb(`t${i}`))),
  nodes: fc.tuple(...Array.from({ length: nodes }, (_, i) => nodeArb(`n${i}`))),
  jobs: fc.tuple(...Array.from({ length: jobs }, (_, i) => jobArb(i, tenants))),
  finished: fc.constant(new Map([['t0/j30', 'Complete' as const], ['t1/j29', 'Failed' as const]])),
}));

/** Some rounds on: jobs run, others come, nodes go, quotas change. */
const history = fc.array(fc.record({ minutes: fc.integer({ min: 0, max: 90 }), jobs: fc.integer({ min: 1, max: 20 }), nodes: fc.integer({ min: 0, max: 5 }), carry: fc.boolean() }), { maxLength: 4 });
const situation: fc.Arbitrary<{ snapshot: Snapshot; now: number }> = fc.tuple(fresh, history).map(([whole, rounds]) => {
  let now = NOW;
  let known: Snapshot['jobs'] = [];
  for (const { minutes, jobs, nodes, carry } of rounds) {
    const present = whole.jobs.slice(0, jobs).map((job) => known.find(({ uid }) => uid === job.uid) ?? job);
    const seen: Snapshot = { ...whole, jobs: present, nodes: whole.nodes.slice(0, Math.max(1, nodes)) };
    const result = schedule(seen, now);
    known = (carry ? carriedOut(seen, result, now) : remembered(seen, result, now)).jobs;
    now += minutes * MINUTE;
  }
  return { snapshot: { ...whole, jobs: whole.jobs.map((job) => known.find(({ uid }) => uid === job.uid) ?? job) }, now };
});

function sum(list: Iterable<readonly [Amounts, number]>): Record<string, number> {
  const all: Record<string, number> = {};
  for (const [each, times] of list) for (const [name, amount] of Object.entries(each)) all[name] = (all[name] ?? 0) + amount * times;
  return all;
}

const pairs = ({ jobs }: Snapshot, { decisions }: Schedule): [JobState, Decision][] => jobs.map((job, index) => [job, decisions[index] as Decision]);
const ours = (snapshot: Snapshot, result: Schedule): [JobState, Decision][] => pairs(snapshot, result).filter(([job]) => !job.externallyAdmitted);

/** Workers by node: those that stay and those that are planned. */
function onNodes(snapshot: Snapshot, result: Schedule): [JobState, string][] {
  return ours(snapshot, result).flatMap(([job, { remove, planned }]) => [
    ...job.workers.flatMap(({ node, endingAt }, i): [JobState, string][] => (node !== undefined && endingAt === undefined && !remove.includes(i) ? [[job, node]] : [])),
    ...planned.map((node): [JobState, string] => [job, node]),
  ]);
}

const runs = 1_000;

describe('whatever the situation', () => {
  test('no tenant gets more than its quota', () => {
    fc.assert(fc.property(situation, ({ snapshot, now }) => {
      const result = schedule(snapshot, now);
      for (const { name, quota, usedByOthers, maxRunningJobs } of snapshot.tenants) {
        const own = ours(snapshot, result).filter(([job]) => job.tenant === name);
        const used = sum([[usedByOthers, 1], ...own.map(([job, { workers }]) => [job.quotaPerWorker, workers] as const)]);
        for (const [resource, hard] of Object.entries(quota)) {
          if (own.some(([job, { workers }]) => workers > 0 && (job.quotaPerWorker[resource] ?? 0) > 0)) expect(used[resource] ?? 0).toBeLessThanOrEqual(hard);
        }
        if (own.every(([job]) => job.held?.startedAt === undefined)) expect(own.filter(([, { held }]) => held.startedAt !== undefined).length).toBeLessThanOrEqual(maxRunningJobs ?? 1_000);
      }
    }), { numRuns: runs });
  });

  test('no node gets more than it has, or workers that it does not take', () => {
    fc.assert(fc.property(situation, ({ snapshot, now }) => {
      const placed = onNodes(snapshot, schedule(snapshot, now));
      for (const node of snapshot.nodes) {
        const here = placed.filter(([, name]) => name === node.name);
        const used = sum(here.map(([job]) => [job.perWorker, 1]));
        for (const [resource, amount] of Object.entries(used)) expect(amount).toBeLessThanOrEqual(node.allocatable[resource] ?? 0);
        for (const [job] of here) expect(matchesNode(job, node)).toBe(true);
      }
    }), { numRuns: runs });
  });

  test('beyond the capacity there are a few workers of a job, and a few of all', () => {
    fc.assert(fc.property(situation, ({ snapshot, now }) => {
      const result = schedule(snapshot, now);
      for (const [job, decision] of ours(snapshot, result)) {
        expect(decision.beyondCapacity).toBeLessThanOrEqual(Math.max(policy.pendingPerJob, Math.min(job.min, job.max)));
        const placed = job.workers.filter(({ node, endingAt }, i) => node !== undefined && endingAt === undefined && !decision.remove.includes(i)).length + decision.planned.length;
        expect(decision.workers).toBe(placed + decision.beyondCapacity);
      }
    }), { numRuns: runs });
  });

  test('a job has between its minimum and its maximum of workers, or none; all on one node if they must', () => {
    fc.assert(fc.property(situation, ({ snapshot, now }) => {
      const result = schedule(snapshot, now);
      const placed = onNodes(snapshot, result);
      for (const [job, { workers }] of ours(snapshot, result)) {
        if (workers > 0) expect([workers >= job.min, workers <= job.max]).toEqual([true, true]);
        if (job.oneNode) expect(new Set(placed.filter(([other]) => other === job).map(([, node]) => node)).size).toBeLessThanOrEqual(1);
      }
    }), { numRuns: runs });
  });

  test('what has no business running has no workers, and nothing new starts where it may not', () => {
    fc.assert(fc.property(situation, ({ snapshot, now }) => {
      const result = schedule(snapshot, now);
      for (const [job, decision] of ours(snapshot, result)) {
        const wasRunning = job.held?.startedAt !== undefined;
        const open = job.dependsOn.some((key) => snapshot.finished.get(key) !== 'Complete');
        const cordoned = snapshot.tenants.some(({ name, cordoned }) => name === job.tenant && cordoned);
        if (job.suspended || (!wasRunning && (open || cordoned))) expect(decision.workers).toBe(0);
        if (cordoned) expect(decision.workers).toBeLessThanOrEqual(job.held?.workers ?? 0);
      }
    }), { numRuns: runs });
  });

  test('positions are 1, 2, 3 …, and each decision says why', () => {
    fc.assert(fc.property(situation, ({ snapshot, now }) => {
      const { decisions } = schedule(snapshot, now);
      const positions = decisions.flatMap(({ position }) => position ?? []).sort((a, b) => a - b);
      expect(positions).toEqual(positions.map((_, index) => index + 1));
      for (const { message, position, reason, held } of decisions) {
        expect(message).toMatch(/^[^\n]{3,600}$/);
        expect(message).not.toMatch(/NaN|undefined|Infinity/);
        if (held.startedAt !== undefined) expect([reason, position]).toEqual(['Running', undefined]);
      }
    }), { numRuns: runs });
  });
});

describe('work-conserving', () => {
  test('no job waits, and none stays below its maximum, while there is room that it could have', () => {
    fc.assert(fc.property(situation, ({ snapshot, now }) => {
      const result = schedule(snapshot, now, { ...policy, pendingPerJob: 0 });
      if (result.decisions.some(({ message }) => message.includes('room is kept for'))) return;
      const placed = onNodes(snapshot, result);
      const free = new Map(snapshot.nodes.map((node) => {
        const stuck = snapshot.jobs.flatMap((job) => job.workers.filter((worker) => worker.node === node.name && now - (worker.endingAt ?? now) >= policy.endingGraceMs).map(() => job));
        const used = sum([...placed.filter(([, name]) => name === node.name).map(([job]) => job), ...stuck].map((job) => [job.perWorker, 1]));
        return [node, (resource: string) => (node.allocatable[resource] ?? 0) - (used[resource] ?? 0)] as const;
      }));
      const nodesFor = (job: JobState): number[] => snapshot.nodes.map((node) => (matchesNode(job, node) ? Math.min(...Object.entries(job.perWorker).filter(([, amount]) => amount > 0).map(([resource, amount]) => Math.floor((free.get(node)?.(resource) ?? 0) / amount))) : 0));
      for (const [job, { workers, held, reason, position }] of ours(snapshot, result)) {
        const tenant = snapshot.tenants.find(({ name }) => name === job.tenant) as TenantState;
        const own = ours(snapshot, result).filter(([other]) => other.tenant === job.tenant);
        const used = sum([[tenant.usedByOthers, 1], ...own.map(([other, decision]) => [other.quotaPerWorker, decision.workers] as const)]);
        const quotaFor = (count: number): boolean => Object.entries(job.quotaPerWorker).every(([resource, amount]) => amount === 0 || (used[resource] ?? 0) + amount * count <= (tenant.quota[resource] ?? 0));
        const cooling = held.cutAt !== undefined && now - held.cutAt < policy.cooldownMs;
        if (cooling || tenant.cordoned) continue;
        if (position !== undefined) {
          const full = own.filter(([, decision]) => decision.held.startedAt !== undefined).length >= (tenant.maxRunningJobs ?? 1_000);
          const rooms = nodesFor(job);
          const fits = job.oneNode ? Math.max(0, ...rooms) >= job.min : rooms.reduce((all, room) => all + Math.max(0, room), 0) >= job.min;
          expect(fits && quotaFor(job.min) && !full, `${job.key} waits (${reason})`).toBe(false);
        } else if (reason === 'Running' && workers < job.max && !job.oneNode) {
          expect(quotaFor(1) && nodesFor(job).some((room) => room > 0), `${job.key} could grow`).toBe(false);
        }
      }
    }), { numRuns: runs });
  });
});

describe('stable', () => {
  const shape = ({ decisions }: Schedule): unknown => decisions.map(({ workers, position, reason, beyondCapacity }) => [workers, position, reason, beyondCapacity]);

  test('the same snapshot gives the same schedule', () => {
    fc.assert(fc.property(situation, ({ snapshot, now }) => {
      expect(schedule(structuredClone(snapshot), now)).toEqual(schedule(snapshot, now));
    }), { numRuns: 300 });
  });

  test('the order of the lists does not matter to who runs', () => {
    fc.assert(fc.property(situation, ({ snapshot, now }) => {
      const workers = (of: Snapshot): unknown => schedule(of, now).decisions.map(({ uid, workers: count }) => `${uid} ${count}`).sort();
      expect(workers({ ...snapshot, jobs: [...snapshot.jobs].reverse() })).toEqual(workers(snapshot));
    }), { numRuns: 300 });
  });

  test('once carried out it changes nothing, whether or not the pods have been made', () => {
    fc.assert(fc.property(situation, ({ snapshot, now }) => {
      const first = schedule(snapshot, now);
      for (const next of [carriedOut(snapshot, first, now), remembered(snapshot, first, now)]) {
        const second = schedule(next, now);
        expect(second.victims).toEqual([]);
        expect(shape(second)).toEqual(shape(first));
      }
    }), { numRuns: 2_000 });
  });

  test('rates that vary by a fifth make no worker come and go', () => {
    const noise = fc.array(fc.double({ min: 0.8, max: 1.2, noNaN: true }), { minLength: 40, maxLength: 40 });
    fc.assert(fc.property(situation, noise, ({ snapshot, now: start }, factors) => {
      const directions = new Map<string, string>();
      let seen = snapshot;
      // Two minutes: long enough for any protection of young workers and for any cooling to run out.
      for (let round = 0; round < 40; round++) {
        const now = start + round * 3_000;
        const noisy = { ...seen, jobs: seen.jobs.map((job, i) => ({ ...job, ratePerWorker: job.ratePerWorker && job.ratePerWorker * (factors[(round + i) % 40] ?? 1) })) };
        const result = schedule(noisy, now);
        for (const [job, { uid, workers }] of pairs(noisy, result)) {
          const before = job.held?.workers ?? 0;
          if (round > 0 && workers !== before) directions.set(uid, (directions.get(uid) ?? '') + (workers > before ? '+' : '-'));
        }
        const rates = new Map(snapshot.jobs.map((job) => [job.uid, job.ratePerWorker]));
        const next = carriedOut(noisy, result, now);
        seen = { ...next, jobs: next.jobs.map((job) => ({ ...job, ratePerWorker: rates.get(job.uid) })) };
      }
      for (const [uid, path] of directions) expect(path, uid).not.toMatch(/\+.*-.*\+|-.*\+.*-/);
    }), { numRuns: 200 });
  });
});

describe('monotone in priority', () => {
  test('a higher priority never keeps a job from starting and never sets it back in the queue', () => {
    fc.assert(fc.property(situation, fc.nat(), fc.integer({ min: 1, max: 1_000 }), ({ snapshot, now }, pick, more) => {
      const index = pick % snapshot.jobs.length;
      const raised = { ...snapshot, jobs: snapshot.jobs.map((job, i) => (i === index ? { ...job, priority: job.priority + more } : job)) };
      const [before, after] = [schedule(snapshot, now).decisions[index] as Decision, schedule(raised, now).decisions[index] as Decision];
      if (before.held.startedAt !== undefined) expect(after.held.startedAt).toBeDefined();
      else if (before.position !== undefined && after.position !== undefined) expect(after.position).toBeLessThanOrEqual(before.position);
    }), { numRuns: 2_000 });
  });
});

describe('no starvation', () => {
  test('every job that can start does so within the bound of ageing, though work of higher priority never ends', () => {
    const crowd = fc.record({
      gpus: fc.integer({ min: 1, max: 4 }), nodes: fc.integer({ min: 1, max: 3 }), gang: fc.integer({ min: 1, max: 4 }), tenants: fc.integer({ min: 1, max: 3 }),
      rivals: fc.integer({ min: 1, max: 8 }), lifeMinutes: fc.integer({ min: 1, max: 600 }), priority: fc.integer({ min: 0, max: 1_000 }), hurried: fc.boolean(),
    });
    fc.assert(fc.property(crowd, ({ gpus, nodes, gang, tenants, rivals, lifeMinutes, priority, hurried }) => {
      const job = (name: string, tenant: number, at: number, more: Partial<JobState>): JobState => ({
        uid: name, key: `t${tenant}/${name}`, tenant: `t${tenant}`, priority, createdAt: at, queuedAt: at, suspended: false, dependsOn: [], min: 1, max: 1,
        perWorker: { [GPU]: 1, pods: 1 }, quotaPerWorker: {}, nodeSelector: {}, tolerations: [], oneNode: false, workers: [], externallyAdmitted: false, ...more,
      });
      const list = Array.from({ length: nodes }, (_, i): NodeState => ({ name: `n${i}`, labels: {}, taints: [], allocatable: { [GPU]: gpus, pods: 110 } }));
      const members = Array.from({ length: tenants }, (_, i): TenantState => ({ name: `t${i}`, weight: 1 + i, maxPriority: 1_000, cordoned: false, quota: {}, usedByOthers: {} }));
      const size = Math.min(gang, gpus * nodes);
      const poor = job('poor', 0, NOW, { priority: 0, min: size, max: size });
      // Rivals come before and after it and are replaced by new ones when they end, so the cluster is never free.
      let serial = 0;
      const rival = (at: number): JobState => job(`rival${serial}`, serial++ % tenants, at, hurried ? { deadlineAt: at + 10 * MINUTE, ratePerWorker: 1, itemsLeft: 1e6 } : {});
      let jobs: JobState[] = [...Array.from({ length: rivals + gpus * nodes }, () => rival(NOW - MINUTE)), poor];
      const ahead = jobs.length - 1;
      const bound = ageingMs(policy) + (ahead + 1) * 2 * policy.minRuntimeMs;
      const step = 30_000;
      for (let now = NOW; ; now += step) {
        const snapshot: Snapshot = { tenants: members, jobs, nodes: list, finished: new Map() };
        const result = schedule(snapshot, now);
        const index = jobs.findIndex(({ uid }) => uid === 'poor');
        if ((result.decisions[index] as Decision).held.startedAt !== undefined) break;
        expect(now - NOW, 'waiting').toBeLessThanOrEqual(bound + (ahead + 2) * 2 * step);
        jobs = carriedOut(snapshot, result, now).jobs.map((each) => {
          const { startedAt } = each.held ?? {};
          return startedAt !== undefined && now - startedAt >= lifeMinutes * MINUTE ? rival(now) : each;
        });
      }
    }), { numRuns: 100 });
  });
});
