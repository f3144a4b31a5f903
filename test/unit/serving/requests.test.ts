import { describe, expect, test } from 'vitest';
import { type Capacity, type Run, RunStopped } from '../../../inference-pod/engine/batch.ts';
import { type Rows, runRequests } from '../../../inference-pod/engine/requests.ts';
import { signatureOf } from '../../../inference-pod/engine/signature.ts';

const value = (name: string, type: string, shape: (number | string)[]) => ({ name, isTensor: true, type, shape });
const signature = signatureOf([value('x', 'float32', ['N', 2]), value('t', 'string', ['N'])], [value('y', 'float32', ['N', 2]), value('u', 'string', ['N'])]);
const request = (...rows: number[]): Rows => ({
  rows: rows.length,
  feeds: [{ dims: [rows.length, 2], data: Float32Array.from(rows.flatMap((row) => [row, -row])) }, { dims: [rows.length], data: rows.map(String) }],
});
const unlimited = (): Capacity => ({ items: Number.POSITIVE_INFINITY });

/** Gives its inputs back; refuses the row 13, and more than `most` rows with the message of ONNX Runtime's arena. */
function echo(most = Number.POSITIVE_INFINITY): { run: Run; sizes: number[]; slots: number[][] } {
  const [sizes, slots]: [number[], number[][]] = [[], []];
  const run: Run = async ([x, t], batch) => {
    sizes.push(x?.dims[0] as number);
    slots.push(batch.map(({ slot }) => slot));
    if ((x?.dims[0] as number) > most) throw new Error('Failed to allocate memory for requested buffer of size 1');
    if (Array.from(x?.data as Float32Array).includes(13)) throw new Error('index 13 out of range');
    return [x, t].map((feed) => ({ dims: feed?.dims as number[], data: feed?.data.slice() as Float32Array }));
  };
  return { run, sizes, slots };
}

describe('requests that run together', () => {
  test('get their own rows back, of numbers and of text', async () => {
    const requests = [request(1), request(2, 3, 4), request(5, 6)];
    const { run, sizes } = echo();
    const answers = await runRequests(requests, signature, run, unlimited());
    expect(answers).toEqual(requests.map(({ feeds }) => ({ outputs: feeds })));
    expect(sizes).toEqual([6]);
  });

  test('do not suffer from one that the model refuses', async () => {
    const requests = [request(1), request(2), request(13, 3), request(4), request(5)];
    const { run, slots } = echo();
    const answers = await runRequests(requests, signature, run, unlimited());
    expect(answers[2]).toEqual({ refused: 'index 13 out of range', outOfMemory: false });
    expect(answers.toSpliced(2, 1)).toEqual(requests.toSpliced(2, 1).map(({ feeds }) => ({ outputs: feeds })));
    expect(slots).toEqual([[0, 1, 2, 3, 4], [0, 1], [2, 3, 4], [2], [3, 4]]);
  });

  test('are halved until they fit the memory, and later ones begin with what fitted', async () => {
    const capacity = unlimited();
    const { run, sizes } = echo(2);
    const requests = Array.from({ length: 8 }, (_, row) => request(row));
    expect(await runRequests(requests, signature, run, capacity)).toEqual(requests.map(({ feeds }) => ({ outputs: feeds })));
    sizes.length = 0;
    await runRequests(requests, signature, run, capacity);
    expect(sizes).toEqual([2, 2, 2, 2]);
    expect(await runRequests([request(1, 2, 3)], signature, run, capacity)).toEqual([{ refused: 'Failed to allocate memory for requested buffer of size 1', outOfMemory: true }]);
  });

  test('are refused one by one when the output cannot be told apart by rows', async () => {
    const run: Run = async () => [{ dims: [1, 2], data: new Float32Array(2) }, { dims: [1], data: ['a'] }];
    const answers = await runRequests([request(1), request(2, 3)], signature, run, unlimited());
    expect(answers[0]).toHaveProperty('outputs');
    expect(answers[1]).toEqual({ refused: 'output "y" has the shape [1,2] for a batch of 2', outOfMemory: false });
  });

  test('are given up together when the process leaves', async () => {
    await expect(runRequests([request(1), request(2)], signature, () => Promise.reject(new RunStopped('stopped')), unlimited())).rejects.toThrow(RunStopped);
  });
});
