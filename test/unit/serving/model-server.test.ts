import { beforeEach, describe, expect, test, vi } from 'vitest';
import { type Inferred, PoolStopped } from '../../../inference-pod/engine/pool.ts';
import type { Rows } from '../../../inference-pod/engine/requests.ts';
import type { InferRequest } from '../../../inference-pod/serving/infer-request.ts';
import { ModelServer } from '../../../inference-pod/serving/model-server.ts';

const never = new AbortController().signal;
const asking = (...values: number[]): InferRequest => ({ id: undefined, rows: values.length, feeds: [{ dims: [values.length], data: Float32Array.from(values) }], outputs: [] });

/** Sessions that run a batch when the test says so. */
class ScriptedPool {
  size = 1;
  runs: { session: number; requests: Rows[]; end: (inferred: Inferred) => void; fail: (error: Error) => void }[] = [];

  infer(session: number, requests: Rows[]): Promise<Inferred> {
    return new Promise((end, fail) => this.runs.push({ session, requests, end, fail }));
  }

  /** The oldest batch comes back as it went. */
  echo(): void {
    const run = this.runs.shift();
    run?.end({ answers: run.requests.map(({ feeds }) => ({ outputs: [...feeds] })), runMs: 10 });
  }
}

let pool: ScriptedPool;
let server: ModelServer;
let crashes: Error[];
let waits: number[][];

beforeEach(() => {
  pool = new ScriptedPool();
  crashes = [];
  waits = [];
  server = new ModelServer({
    pool,
    limits: { maxRows: 4, windowMs: 10, maxQueued: 3 },
    clock: { monotonic: () => 0 },
    metrics: { dispatched: (waited) => waits.push([...waited]), ran: () => undefined },
    onCrash: (error) => crashes.push(error),
  });
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
const valuesOf = ({ requests }: { requests: Rows[] }): number[][] => requests.map(({ feeds }) => Array.from(feeds[0]?.data as Float32Array));

describe('a model server', () => {
  test('runs requests of one turn of the event loop together, and those that come meanwhile after it', async () => {
    const first = [server.infer(asking(1), never), server.infer(asking(2, 3), never)];
    await turn();
    const second = server.infer(asking(4), never);
    await turn();
    expect(pool.runs.map(valuesOf)).toEqual([[[1], [2, 3]]]);
    pool.echo();
    expect((await Promise.all(first)).map(([feed]) => Array.from(feed?.data as Float32Array))).toEqual([[1], [2, 3]]);
    expect(pool.runs.map(valuesOf)).toEqual([[[4]]]);
    pool.echo();
    await second;
    expect(server.open).toBe(0);
  });

  test('refuses with 429 what does not fit the queue, and says when to come back', async () => {
    const taken = [asking(0)].map((one) => server.infer(one, never));
    await turn();
    for (let i = 1; i <= 3; i++) taken.push(server.infer(asking(i, i), never));
    expect(() => server.infer(asking(9), never)).toThrow(expect.objectContaining({ status: 429, headers: { 'retry-after': '1' }, message: '3 requests wait already, which is all that may; come back after 1 s' }) as Error);
    while (pool.runs.length > 0) {
      pool.echo();
      await turn();
    }
    await Promise.all(taken);
  });

  test('drops a request whose client has gone, unless it runs already', async () => {
    const [early, late] = [new AbortController(), new AbortController()];
    const running = server.infer(asking(1), early.signal);
    await turn();
    const waiting = server.infer(asking(2), late.signal);
    early.abort(new Error('gone'));
    late.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    expect([server.queued, server.open]).toEqual([0, 1]);
    pool.echo();
    expect(await running).toHaveLength(1);
    expect(pool.runs).toEqual([]);
  });

  test('tells a refusal by the model from a lack of memory', async () => {
    const both = Promise.allSettled([server.infer(asking(1), never), server.infer(asking(2), never)]);
    await turn();
    pool.runs.shift()?.end({ answers: [{ refused: 'bad index', outOfMemory: false }, { refused: 'bad_alloc', outOfMemory: true }], runMs: 1 });
    expect((await both).map((outcome) => (outcome as PromiseRejectedResult).reason)).toMatchObject([
      { status: 400, message: 'the model refused this request: bad index' },
      { status: 500, message: 'there is not enough memory for this request, even alone: bad_alloc' },
    ]);
  });

  test('drains what it has taken, and refuses what it did not get to in time', async () => {
    const taken = server.infer(asking(1), never);
    await turn();
    const drained = server.drain(60_000);
    pool.echo();
    await taken;
    expect(await drained).toBe(true);

    const stuck = [server.infer(asking(1), never), server.infer(asking(2), never)].map((one) => one.catch((error: unknown) => error));
    await turn();
    vi.useFakeTimers();
    try {
      const late = server.drain(1_000);
      await vi.advanceTimersByTimeAsync(1_000);
      expect(await late).toBe(false);
    } finally {
      vi.useRealTimers();
    }
    for (const one of stuck) expect(await one).toMatchObject({ status: 503 });
  });

  test('answers with 503 when the sessions stop, and reports what nobody expected', async () => {
    const first = server.infer(asking(1), never).catch((error: unknown) => error);
    await turn();
    pool.runs.shift()?.fail(new PoolStopped('stopped'));
    expect(await first).toMatchObject({ status: 503 });
    expect(crashes).toEqual([]);

    const other = new ModelServer({ pool, limits: { maxRows: 4, windowMs: 10, maxQueued: 3 }, clock: { monotonic: () => 0 }, metrics: { dispatched: () => undefined, ran: () => undefined }, onCrash: (error) => crashes.push(error) });
    const second = other.infer(asking(2), never).catch((error: unknown) => error);
    await turn();
    pool.runs.shift()?.fail(new Error('stuck'));
    expect(await second).toMatchObject({ status: 503 });
    await turn();
    expect(crashes.map(({ message }) => message)).toEqual(['stuck']);
  });
});
