import { beforeEach, describe, expect, test } from 'vitest';
import { Answers, IdTaken } from '../../../inference-pod/serving/answers.ts';
import { InOrder } from '../../../inference-pod/serving/in-order.ts';

const never = new AbortController().signal;
let now: number;
let answers: Answers<{ bytes: number }>;
let works: { signal: AbortSignal; done: PromiseWithResolvers<{ bytes: number }> }[];

const work = (signal: AbortSignal): Promise<{ bytes: number }> => {
  const done = Promise.withResolvers<{ bytes: number }>();
  signal.addEventListener('abort', () => done.reject(signal.reason), { once: true });
  works.push({ signal, done });
  return done.promise;
};

beforeEach(() => {
  now = 0;
  works = [];
  answers = new Answers({ maxCount: 3, maxBytes: 100, maxAgeMs: 1_000, now: () => now });
});

async function finish(id: string, bytes: number): Promise<void> {
  const answer = answers.get(id, id, never, work);
  works.at(-1)?.done.resolve({ bytes });
  await answer;
}

describe('requests with the same id', () => {
  test('share one piece of work while it goes on, and its answer afterwards', async () => {
    const both = [answers.get('a', 'x', never, work), answers.get('a', 'x', never, work)];
    const answer = { bytes: 1 };
    works[0]?.done.resolve(answer);
    for (const one of both) expect(await one).toBe(answer);
    expect(await answers.get('a', 'x', never, work)).toBe(answer);
    expect(works).toHaveLength(1);
  });

  test('are refused when the content is another, in work or finished', async () => {
    const first = answers.get('a', 'x', never, work);
    await expect(answers.get('a', 'y', never, work)).rejects.toThrow(IdTaken);
    works[0]?.done.resolve({ bytes: 1 });
    await first;
    await expect(answers.get('a', 'y', never, work)).rejects.toThrow(IdTaken);
  });

  test('begin anew after a failure, which is told to all who waited', async () => {
    const both = [answers.get('a', 'x', never, work), answers.get('a', 'x', never, work)];
    works[0]?.done.reject(new Error('refused'));
    for (const one of both) await expect(one).rejects.toThrow('refused');
    expect(answers.has('a')).toBe(false);
    await finish('a', 1);
    expect(works).toHaveLength(2);
  });

  test('go on while one of them is waited for, and are abandoned with the last', async () => {
    const clients = [new AbortController(), new AbortController()];
    const both = clients.map(({ signal }) => answers.get('a', 'x', signal, work));
    const outcomes = Promise.allSettled(both);
    clients[0]?.abort(new Error('gone'));
    expect(works[0]?.signal.aborted).toBe(false);
    clients[1]?.abort(new Error('gone'));
    expect(works[0]?.signal.aborted).toBe(true);
    expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(answers.has('a')).toBe(false);
  });
});

describe('kept answers are bounded', () => {
  test('by number', async () => {
    for (const id of ['a', 'b', 'c', 'd']) await finish(id, 1);
    expect(['a', 'b', 'c', 'd'].map((id) => answers.has(id))).toEqual([false, true, true, true]);
  });

  test('by bytes, and what is too large by itself is not kept', async () => {
    await finish('a', 60);
    await finish('b', 60);
    expect([answers.has('a'), answers.has('b'), answers.size.bytes]).toEqual([false, true, 60]);
    await finish('c', 101);
    expect(answers.size).toEqual({ count: 0, bytes: 0 });
  });

  test('by age', async () => {
    await finish('a', 1);
    now = 999;
    expect(answers.has('a')).toBe(true);
    now = 1_000;
    expect(answers.has('a')).toBe(false);
  });
});

test('what ends in any order leaves in the order in which it came', () => {
  const order = new InOrder();
  const left: number[] = [];
  const leaves = [0, 1, 2, 3].map(() => order.enter());
  const end = (turn: number): void => leaves[turn]?.(() => left.push(turn));
  end(2);
  end(1);
  expect(left).toEqual([]);
  end(0);
  expect(left).toEqual([0, 1, 2]);
  const last = order.enter();
  end(3);
  last(() => left.push(4));
  expect(left).toEqual([0, 1, 2, 3, 4]);
});
