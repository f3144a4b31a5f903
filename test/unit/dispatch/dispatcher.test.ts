import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Lease, type LeaseReport, leaseKey, type SyncRequest, type SyncResponse } from '../../../inference-pod/contract.ts';
import { Dispatcher, type NoAnswer } from '../../../operator/dispatch/dispatcher.ts';
import { aJob, nothingDone } from './scene.ts';

let dispatcher: Dispatcher;
let changes: { job: string; at: number }[];
const sequence = new Map<string, number>();

beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
  changes = [];
  sequence.clear();
  dispatcher = new Dispatcher({ clock: { monotonic: () => Date.now() }, onChange: (job) => changes.push({ job, at: Date.now() }) });
  dispatcher.term = 7;
});
afterEach(() => {
  dispatcher.close();
  vi.useRealTimers();
});

const plan = (shards: number) => ({ ...nothingDone, plan: { shards, items: shards * 10, exact: true, bytes: shards * 100, files: 1 } });

function request(slot: number, reports: LeaseReport[] = [], over: Partial<SyncRequest> = {}): SyncRequest {
  const seq = (sequence.get(`${slot}`) ?? 0) + 1;
  sequence.set(`${slot}`, seq);
  return {
    protocol: 1, worker: { job: 'job-1', slot, attempt: 0, incarnation: 'a' }, seq, term: 0, draining: false, capacity: 1,
    leases: reports, load: { itemsPerSecond: 0, cpuSeconds: 0, rssBytes: 0 }, ...over,
  };
}
const shard = (number: number, done = 0): LeaseReport => ({ lease: { kind: 'shard', shard: number, generation: 0 }, state: done === 10 ? 'done' : 'running', items: { succeeded: done, failed: 0 }, bytes: { done: done * 10, total: 100 } });

/** The answer, as soon as there is one, and when it came. */
function held(promise: Promise<SyncResponse | NoAnswer>): { at?: number; answer?: SyncResponse | NoAnswer; leases(): string[] } {
  const state: ReturnType<typeof held> = {
    leases: () => (state.answer as SyncResponse | undefined)?.leases.map((lease: Lease) => leaseKey(lease)) ?? [],
  };
  void promise.then((answer) => Object.assign(state, { answer, at: Date.now() }));
  return state;
}

const passing = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe('a sync', () => {
  it('is answered at once with the first lease, and with the term', async () => {
    dispatcher.open(aJob(), plan(1));
    expect(await dispatcher.sync(request(0))).toEqual({ term: 7, leases: [{ kind: 'shard', shard: 0, generation: 0 }], pause: false, verdict: 'work' });
  });

  it('tells what runs the model, which is a change of progress, until the worker falls silent', async () => {
    const engine = { provider: 'cuda', device: 'NVIDIA H100', runtime: 'onnxruntime 1.30.0', node: '24.21.0', sessions: 1, threads: 8 } as const;
    const load = { itemsPerSecond: 0, cpuSeconds: 0, rssBytes: 0, engine };
    dispatcher.open(aJob(), plan(1));
    await dispatcher.sync(request(0));
    expect(dispatcher.engines()).toEqual([]);
    await passing(2_000);
    const before = changes.length;
    held(dispatcher.sync(request(0, [shard(0)], { load })));
    await passing(1_000);
    expect(changes.length).toBe(before + 1);
    expect(dispatcher.engines()).toEqual([engine]);
    expect(dispatcher.progress('job-1')?.workers.map((worker) => worker.load)).toEqual([load]);
    await passing(60_000);
    expect(dispatcher.engines()).toEqual([]);
  });

  it('is held while there is nothing new, for 5 s', async () => {
    dispatcher.open(aJob(), plan(1));
    await dispatcher.sync(request(0));
    const open = held(dispatcher.sync(request(0, [shard(0)])));
    await passing(4_999);
    expect(open.answer).toBeUndefined();
    await passing(1);
    expect(open).toMatchObject({ at: 5_000, answer: { verdict: 'work' } });
    expect(open.leases()).toEqual(['shard/0/0']);
  });

  it('that is held is answered at once when it is to leave, and once it drains no faster than others', async () => {
    dispatcher.open(aJob(), plan(1));
    await dispatcher.sync(request(0));
    const open = held(dispatcher.sync(request(0, [shard(0)])));
    await passing(1_000);
    dispatcher.leave('job-1', 0, 0);
    await passing(0);
    expect(open).toMatchObject({ at: 1_000, answer: { verdict: 'leave', leases: [{ kind: 'shard', shard: 0 }] } });
    const draining = held(dispatcher.sync(request(0, [shard(0)], { draining: true, capacity: 0 })));
    await passing(1_000);
    expect(draining.answer).toBeUndefined();
  });

  it('that is held is answered when another worker\'s sync brings news for it', async () => {
    dispatcher.open(aJob(), plan(2));
    await dispatcher.sync(request(0, [], { capacity: 2 }));
    const busy = held(dispatcher.sync(request(0, [shard(0), shard(1)], { capacity: 2 })));
    await passing(1_000);
    const idle = held(dispatcher.sync(request(1)));
    await passing(0);
    expect(idle.leases()).toEqual(['shard/1/0']);
    expect(busy).toMatchObject({ at: 1_000 });
    expect(busy.leases()).toEqual(['shard/0/0']);
  });

  it('that reports something done is answered at once, as the acknowledgement', async () => {
    dispatcher.open(aJob(), plan(2));
    await dispatcher.sync(request(0));
    await dispatcher.sync(request(1));
    const open = held(dispatcher.sync(request(0, [shard(0, 10)])));
    await passing(0);
    expect(open).toMatchObject({ at: 0, answer: { leases: [] } });
  });

  it('gives way to a newer one of the same worker', async () => {
    dispatcher.open(aJob(), plan(1));
    await dispatcher.sync(request(0));
    const [older, newer] = [held(dispatcher.sync(request(0, [shard(0)]))), held(dispatcher.sync(request(0, [shard(0, 5)])))];
    await passing(0);
    expect(older.answer).toMatchObject({ superseded: true });
    expect(newer.answer).toBeUndefined();
  });

  it('is told to pause at once, once, and again to go on', async () => {
    dispatcher.open(aJob(), plan(1));
    await dispatcher.sync(request(0));
    const first = held(dispatcher.sync(request(0, [shard(0)])));
    await passing(100);
    dispatcher.update(aJob({ suspended: true }));
    await passing(0);
    expect(first).toMatchObject({ at: 100, answer: { pause: true } });
    const second = held(dispatcher.sync(request(0, [shard(0)])));
    await passing(1_000);
    expect(second.answer).toBeUndefined();
    dispatcher.update(aJob());
    await passing(0);
    expect(second.answer).toMatchObject({ pause: false });
  });

  it('is answered with work when the lease of another worker expires', async () => {
    dispatcher.open(aJob(), plan(1));
    await passing(30_000);
    await dispatcher.sync(request(0));
    let open = held(dispatcher.sync(request(1)));
    while (open.leases().length === 0) {
      await passing(500);
      if (open.answer && open.leases().length === 0) open = held(dispatcher.sync(request(1)));
    }
    expect(open.at).toBe(45_500);
  });

  it('of a worker that does not take in its answer is not answered more than five times a second', async () => {
    dispatcher.open(aJob(), plan(1));
    let answers = 0;
    void (async () => {
      for (;;) {
        if (typeof (await dispatcher.sync(request(0))) === 'string') return;
        answers++;
      }
    })();
    await passing(10_000);
    expect(answers).toBeGreaterThan(1);
    expect(answers).toBeLessThanOrEqual(51);
  });

  it('whose caller is gone ends at once, so that nothing is held for nobody', async () => {
    dispatcher.open(aJob(), plan(1));
    await dispatcher.sync(request(0));
    const caller = new AbortController();
    const open = held(dispatcher.sync(request(0, [shard(0)]), caller.signal));
    await passing(0);
    expect(open.answer).toBeUndefined();
    caller.abort();
    await passing(0);
    expect(open).toMatchObject({ at: 0, answer: { superseded: true } });
  });

  it('of an unknown job, to a deposed leader or after the end gets no answer', async () => {
    expect(await dispatcher.sync(request(0))).toBe('unknown');
    dispatcher.open(aJob(), plan(1));
    expect(await dispatcher.sync(request(0, [], { term: 8 }))).toBe('deposed');
    expect(dispatcher.progress('job-1')?.workers).toEqual([]);
    await dispatcher.sync(request(0));
    const open = held(dispatcher.sync(request(0, [shard(0)])));
    dispatcher.close();
    await passing(0);
    expect(open.leases()).toEqual(['shard/0/0']);
    expect(await dispatcher.sync(request(0))).toBe('closed');
  });

  it('that is held when the job is deleted sends the worker away', async () => {
    dispatcher.open(aJob(), plan(1));
    await dispatcher.sync(request(0));
    const open = held(dispatcher.sync(request(0, [shard(0)])));
    dispatcher.forget('job-1');
    await passing(0);
    expect(open.answer).toMatchObject({ verdict: 'retired' });
    expect(dispatcher.has('job-1')).toBe(false);
  });
});

describe('changes', () => {
  it('are told at most once a second while progress is made', async () => {
    dispatcher.open(aJob(), plan(1));
    await dispatcher.sync(request(0));
    for (let done = 0; done < 9; done++) {
      void dispatcher.sync(request(0, [shard(0, done)]));
      await passing(300);
    }
    expect(changes.map(({ at }) => at)).toEqual([1_000, 2_000]);
  });

  it('of the phase are told at once', async () => {
    dispatcher.open(aJob(), plan(1));
    await dispatcher.sync(request(0));
    await passing(1_500);
    changes = [];
    void dispatcher.sync(request(0, [shard(0, 10)]));
    expect(changes).toEqual([{ job: 'job-1', at: 1_500 }]);
    expect(dispatcher.snapshot('job-1')).toMatchObject({ progress: { phase: 'Finishing' }, saved: { completed: '0', items: { succeeded: 10, failed: 0 }, bytes: 100 } });
  });

  it('are not told when there are none', async () => {
    dispatcher.open(aJob(), plan(1));
    await dispatcher.sync(request(0));
    void dispatcher.sync(request(0, [shard(0)]));
    await passing(3_000);
    changes = [];
    for (let time = 0; time < 4; time++) {
      void dispatcher.sync(request(0, [shard(0)]));
      await passing(3_000);
    }
    expect(changes).toEqual([]);
  });
});
