import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../../kit/clock.ts';
import { KubeError } from '../../../operator/kube/errors.ts';
import type { Lease, Leadership } from '../../../operator/kube/lease.ts';
import { LeaderElector, leaseTimings, termOf } from '../../../operator/kube/lease.ts';
import type { Stored } from '../../../operator/kube/object.ts';
import { bareRegistry, silentLog } from '../../support/kube.ts';

/** One Lease with compare-and-swap, whose answers take a while; a cut-off client reaches it no more. */
class LeaseServer {
  lease: Stored<Lease> | undefined;
  readonly cutOff = new Set<string>();
  latencyMs = 5;
  #version = 0;

  async #answer<T>(client: string, signal: AbortSignal | undefined, timeoutMs: number, work: () => T): Promise<T> {
    await new Promise<void>((resolve, reject) => {
      const fail = (reason: unknown) => {
        clearTimeout(timer);
        reject(reason);
      };
      const timer = this.cutOff.has(client)
        ? setTimeout(() => fail(new KubeError({ code: 0, reason: 'Timeout', message: 'cut off' })), timeoutMs)
        : setTimeout(resolve, this.latencyMs);
      signal?.addEventListener('abort', () => fail(signal.reason), { once: true });
      if (signal?.aborted) fail(signal.reason);
    });
    return structuredClone(work());
  }

  #write(lease: Lease): Stored<Lease> {
    this.#version += 1;
    const identity = { uid: 'u1', creationTimestamp: '2026-01-01T00:00:00Z' };
    const metadata = { ...identity, ...lease.metadata, resourceVersion: String(this.#version) };
    this.lease = structuredClone({ ...lease, metadata });
    return this.lease;
  }

  client(name: string): ConstructorParameters<typeof LeaderElector>[0]['client'] {
    const missing = () => new KubeError({ code: 404, reason: 'NotFound', message: 'no lease' });
    type Options = { signal?: AbortSignal; timeoutMs?: number } | undefined;
    const answer = <T>(call: Options, work: () => T) =>
      this.#answer(name, call?.signal, call?.timeoutMs ?? 5_000, work);
    return {
      get: (async (_kind: unknown, _at: unknown, call: Options) =>
        answer(call, () => {
          if (this.lease === undefined) throw missing();
          return this.lease;
        })) as never,
      create: (async (_kind: unknown, lease: Lease, call: Options) =>
        answer(call, () => {
          if (this.lease !== undefined)
            throw new KubeError({ code: 409, reason: 'AlreadyExists', message: 'there is one' });
          return this.#write(lease);
        })) as never,
      replace: (async (_kind: unknown, lease: Lease, call: Options) =>
        answer(call, () => {
          if (this.lease === undefined) throw missing();
          if (this.lease.metadata.resourceVersion !== lease.metadata.resourceVersion) {
            throw new KubeError({ code: 409, reason: 'Conflict', message: 'someone else wrote' });
          }
          return this.#write(lease);
        })) as never,
    };
  }
}

interface Contender {
  elector: LeaderElector;
  leadership: Leadership | undefined;
  terms: number[];
  stops: string[];
}

function contender(server: LeaseServer, identity: string, registry = bareRegistry()): Contender {
  const it: Contender = {
    leadership: undefined,
    terms: [],
    stops: [],
    elector: new LeaderElector({
      client: server.client(identity),
      namespace: 'n',
      name: 'millrace',
      identity,
      clock: systemClock,
      log: silentLog,
      registry,
      onStarted: (leadership) => {
        it.leadership = leadership;
        it.terms.push(leadership.term);
      },
      onStopped: (why) => it.stops.push(why),
    }),
  };
  return it;
}

const leads = (it: Contender): boolean =>
  it.leadership !== undefined && !it.leadership.signal.aborted && it.leadership.held();

let server: LeaseServer;
beforeEach(() => {
  vi.useFakeTimers();
  server = new LeaseServer();
});
afterEach(() => {
  vi.useRealTimers();
});

async function closeAll(...all: Contender[]): Promise<void> {
  const closed = Promise.all(all.map((one) => one.elector.close()));
  await vi.advanceTimersByTimeAsync(20_000);
  await closed;
}

describe('two contenders', () => {
  it('one leads and renews, with six digits in its times; the other waits', async () => {
    const [a, b] = [contender(server, 'a'), contender(server, 'b')];
    a.elector.start();
    await vi.advanceTimersByTimeAsync(50);
    b.elector.start();
    await vi.advanceTimersByTimeAsync(120_000);
    expect([leads(a), leads(b)]).toEqual([true, false]);
    expect(b.elector.holder).toBe('a');
    expect(server.lease?.spec).toMatchObject({ holderIdentity: 'a', leaseDurationSeconds: 15, leaseTransitions: 1 });
    expect(server.lease?.spec?.renewTime).toMatch(/\.\d{6}Z$/);
    await closeAll(a, b);
  });

  it('a leader that is cut off stops within 10 s, before the other begins at 15 s at the earliest', async () => {
    const [a, b] = [contender(server, 'a'), contender(server, 'b')];
    a.elector.start();
    await vi.advanceTimersByTimeAsync(50);
    b.elector.start();
    await vi.advanceTimersByTimeAsync(60_000);
    server.cutOff.add('a');
    const since = performance.now();
    let stopped = 0;
    let began = 0;
    for (let tick = 0; tick < 400; tick += 1) {
      await vi.advanceTimersByTimeAsync(100);
      if (!leads(a) && stopped === 0) stopped = performance.now() - since;
      if (leads(b) && began === 0) began = performance.now() - since;
      expect(leads(a) && leads(b)).toBe(false);
    }
    expect(stopped).toBeLessThanOrEqual(10_100);
    expect(began).toBeGreaterThan(12_500);
    expect(began).toBeLessThanOrEqual(20_000);
    expect(a.stops).toEqual(['lost']);
    expect(b.terms[0]).toBeGreaterThan(a.terms[0] ?? 0);
    await closeAll(a, b);
  });

  it('a release hands over within one retry, and never before the leader has stopped', async () => {
    const [a, b] = [contender(server, 'a'), contender(server, 'b')];
    a.elector.start();
    await vi.advanceTimersByTimeAsync(50);
    b.elector.start();
    await vi.advanceTimersByTimeAsync(10_000);
    const closed = a.elector.close();
    await vi.advanceTimersByTimeAsync(2_100);
    await closed;
    expect(a.stops).toEqual(['released']);
    expect(leads(b)).toBe(true);
    await closeAll(b);
    expect(server.lease?.spec?.holderIdentity).toBe('');
  });

  it('an answer that was lost costs no leadership', async () => {
    const a = contender(server, 'a');
    a.elector.start();
    await vi.advanceTimersByTimeAsync(50);
    // The server took our renewal, but we hold the version before.
    if (server.lease !== undefined) server.lease.metadata.resourceVersion = '999';
    await vi.advanceTimersByTimeAsync(20_000);
    expect(leads(a)).toBe(true);
    expect(a.terms).toHaveLength(1);
    await closeAll(a);
  });

  it('a Lease that someone deleted ends the leadership, and the next term is higher still', async () => {
    const a = contender(server, 'a');
    a.elector.start();
    await vi.advanceTimersByTimeAsync(50);
    server.lease = undefined;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(a.stops).toEqual(['lost']);
    expect(a.terms).toHaveLength(2);
    const lease = (creationTimestamp: string, leaseTransitions: number) =>
      ({ metadata: { creationTimestamp }, spec: { leaseTransitions } }) as Stored<Lease>;
    expect(termOf(lease('2026-01-01T00:00:01Z', 1))).toBeGreaterThan(termOf(lease('2026-01-01T00:00:00Z', 900)));
    expect(Number.isSafeInteger(termOf(lease('2100-01-01T00:00:00Z', 2 ** 31 - 1)))).toBe(true);
    await closeAll(a);
  });

  it('shows in the metric who leads', async () => {
    const registry = bareRegistry();
    const a = contender(server, 'a', registry);
    expect(await registry.metrics()).toContain('leader_election_master_status{name="millrace"} 0');
    a.elector.start();
    await vi.advanceTimersByTimeAsync(50);
    expect(await registry.metrics()).toContain('leader_election_master_status{name="millrace"} 1');
    await closeAll(a);
    expect(await registry.metrics()).toContain('leader_election_master_status{name="millrace"} 0');
  });
});

it('a clock that jumped over the deadline ends `held` before any timer has fired', async () => {
  const a = contender(server, 'a');
  a.elector.start();
  await vi.advanceTimersByTimeAsync(50);
  expect(a.leadership?.held()).toBe(true);
  const jump = performance.now() + leaseTimings.renewDeadlineMs;
  const spy = vi.spyOn(performance, 'now').mockReturnValue(jump);
  expect(a.leadership?.held()).toBe(false);
  expect(a.leadership?.signal.aborted).toBe(false);
  spy.mockRestore();
  await closeAll(a);
});

it('never has two leaders at a time, and always one in the end, whoever is cut off when', async () => {
  const step = fc.record({
    who: fc.constantFrom('a', 'b', 'c'),
    what: fc.constantFrom('cut' as const, 'mend' as const),
    waitMs: fc.integer({ min: 0, max: 12_000 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), fc.integer({ min: 1, max: 800 }), async (steps, latencyMs) => {
      server = new LeaseServer();
      server.latencyMs = latencyMs;
      const all = ['a', 'b', 'c'].map((name) => contender(server, name));
      for (const one of all) one.elector.start();
      const pass = async (ms: number): Promise<void> => {
        for (let passed = 0; passed < ms; passed += 250) {
          await vi.advanceTimersByTimeAsync(Math.min(250, ms - passed));
          expect(all.filter(leads).length).toBeLessThanOrEqual(1);
        }
      };
      for (const { who, what, waitMs } of steps) {
        if (what === 'cut') server.cutOff.add(who);
        else server.cutOff.delete(who);
        await pass(waitMs);
      }
      server.cutOff.clear();
      await pass(30_000);
      expect(all.filter(leads)).toHaveLength(1);
      const terms = all.flatMap((one) => one.terms);
      expect(new Set(terms).size).toBe(terms.length);
      await closeAll(...all);
    }),
    { numRuns: 40 },
  );
});
