import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { SyncRequest, SyncResponse } from '../../../inference-pod/contract.ts';
import { SyncRefused } from '../../../inference-pod/sync-client.ts';
import { SyncLoop } from '../../../inference-pod/sync-loop.ts';
import { createLog } from '../../../kit/log.ts';

interface Call {
  request: SyncRequest;
  at: number;
  answer(changes?: Partial<SyncResponse>): void;
  fail(error: Error): void;
}

let calls: Call[];
let answers: SyncResponse[];
let open: number;
let stop: AbortController;
let loop: SyncLoop;
let running: Promise<void>;

beforeEach(() => {
  vi.useFakeTimers();
  calls = [];
  answers = [];
  open = 0;
  stop = new AbortController();
  const clock = { now: () => Date.now(), monotonic: () => Date.now() };
  loop = new SyncLoop({
    clock,
    log: createLog('test', 'silent'),
    state: () => ({ protocol: 1, worker: { job: 'j', slot: 0, attempt: 1, incarnation: 'i' }, draining: false, capacity: 2, leases: [], load: { itemsPerSecond: 0, cpuSeconds: 0, rssBytes: 0 } }),
    onAnswer: (answer) => answers.push(answer),
    call: (request, signal) => {
      const { promise, resolve, reject } = Promise.withResolvers<SyncResponse>();
      open++;
      const close = (): number => open--;
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      promise.then(close, close);
      calls.push({ request, at: Date.now(), fail: reject, answer: (changes) => resolve({ term: 1, leases: [], pause: false, verdict: 'work', ...changes }) });
      return promise;
    },
  });
  running = loop.run(stop.signal);
});

afterEach(async () => {
  stop.abort();
  await running;
  vi.useRealTimers();
});

const pass = async (ms: number): Promise<void> => {
  await vi.advanceTimersByTimeAsync(ms);
};

describe('the sync loop', () => {
  test('keeps one sync open, and opens the next when it is answered', async () => {
    await pass(1_000);
    expect(calls).toHaveLength(1);
    calls[0]?.answer();
    await pass(0);
    expect(calls.map(({ request }) => request.seq)).toEqual([1, 2]);
    expect(answers).toHaveLength(1);
  });

  test('overtakes the open sync when there is news, and cuts it off only when the server leaves it open', async () => {
    await pass(1_000);
    loop.news();
    loop.news();
    await pass(20);
    expect(calls.map(({ request }) => request.seq)).toEqual([1, 2]);
    calls[0]?.answer({ superseded: true });
    await pass(0);
    expect(open).toBe(1);
    expect(answers).toHaveLength(0);
    loop.news();
    await pass(300);
    expect([calls.length, open]).toEqual([3, 2]);
    await pass(2_000);
    expect(open).toBe(1);
  });

  test('does not take an overtaken sync for a failure, whatever becomes of it', async () => {
    await pass(1_000);
    loop.news();
    await pass(20);
    calls[0]?.fail(new Error('reset'));
    await pass(0);
    expect(loop.reachable).toBe(true);
    calls[1]?.answer();
    await pass(0);
    expect(answers).toHaveLength(1);
  });

  test('sends at most five a second, however much news there is', async () => {
    await pass(10_000);
    calls.length = 0;
    for (let ms = 0; ms < 5_000; ms += 5) {
      loop.news();
      await pass(5);
    }
    expect(calls.length).toBeGreaterThanOrEqual(25);
    expect(calls.length).toBeLessThanOrEqual(25 + 5);
  });

  test('takes no answer of a lower term, nor one that says it was superseded', async () => {
    await pass(0);
    calls[0]?.answer({ term: 7 });
    await pass(0);
    expect(calls[1]?.request.term).toBe(7);
    calls[1]?.answer({ term: 6, verdict: 'retired' });
    await pass(0);
    calls[2]?.answer({ term: 7, superseded: true, verdict: 'retired' });
    await pass(0);
    expect(answers.map(({ verdict }) => verdict)).toEqual(['work']);
    expect(calls).toHaveLength(4);
  });

  test('backs off when the server cannot be reached, news or not, and recovers', async () => {
    await pass(0);
    for (let ms = 0; ms < 30_000; ms += 50) {
      calls.at(-1)?.fail(new Error('ECONNREFUSED'));
      loop.news();
      await pass(50);
    }
    expect(loop.reachable).toBe(false);
    expect(calls.length).toBeGreaterThan(6);
    expect(calls.length).toBeLessThan(25);
    await pass(6_000);
    calls.at(-1)?.answer();
    await pass(0);
    expect(loop.reachable).toBe(true);
  });

  test('goes on trying when its token is refused', async () => {
    await pass(0);
    calls[0]?.fail(new SyncRefused(401, 'no'));
    await pass(5_000);
    calls[1]?.fail(new SyncRefused(403, 'no'));
    await pass(5_000);
    calls[2]?.answer();
    await pass(0);
    expect(answers).toHaveLength(1);
  });
});
