import { describe, expect, test } from 'vitest';
import type { Run } from '../../../inference-pod/engine/batch.ts';
import { runChunk } from '../../../inference-pod/engine/chunk-runner.ts';
import { ItemScanner } from '../../../inference-pod/engine/item-scanner.ts';
import { signatureOf } from '../../../inference-pod/engine/signature.ts';
import type { Chunk } from '../../../inference-pod/reading/chunk.ts';

const signature = signatureOf(
  [{ name: 'x', isTensor: true, type: 'float32', shape: ['N', 'L'] }],
  [{ name: 'y', isTensor: true, type: 'float32', shape: ['N', 'L'] }],
);

function chunkOf(lines: (string | Buffer)[], groups: number[] = [lines.length], batch = { items: 8, tokens: Number.POSITIVE_INFINITY }): Chunk {
  const parts = lines.map((line) => Buffer.from(line as string));
  const ends = Uint32Array.from(parts, (_, index) => parts.slice(0, index + 1).reduce((sum, { length }) => sum + length, 0));
  return {
    bytes: new Uint8Array(Buffer.concat(parts)),
    starts: Uint32Array.from(parts, (_, index) => ends[index - 1] ?? 0),
    ends,
    offsets: Float64Array.from(parts, (_, index) => index * 100),
    lines: Float64Array.from(parts, (_, index) => index + 1),
    file: new Uint32Array(parts.length),
    files: ['a.jsonl'],
    headers: [''],
    tooLong: new Float64Array(parts.length),
    suspicion: new Uint8Array(parts.length),
    groups: Uint32Array.from(groups),
    batch,
  };
}

/** Adds one; refuses any batch that holds 13; remembers the shapes it was given. */
function model(): { run: Run; shapes: string[] } {
  const shapes: string[] = [];
  const run: Run = async ([x]) => {
    const { dims, data } = x as { dims: readonly number[]; data: Float32Array };
    shapes.push(dims.join('x'));
    if (data.includes(13)) throw new Error('Non-zero status code returned while running the node');
    return [{ dims, data: data.map((value) => (value === 7 ? Number.NaN : value + 1)) }];
  };
  return { run, shapes };
}

const item = (id: number, ...x: number[]): string => JSON.stringify({ id, inputs: { x } });
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');

describe('a chunk', () => {
  test('is run from where its items were read to, unless others lie between, and group by group in the same memory', async () => {
    const seen: { buffer: ArrayBufferLike; from: number; values: number[] }[] = [];
    const run: Run = async ([x]) => {
      const { dims, data } = x as { dims: readonly number[]; data: Float32Array };
      seen.push({ buffer: data.buffer, from: data.byteOffset, values: [...data] });
      return [{ dims, data: data.slice() }];
    };
    const scanner = ItemScanner.for(signature);
    const lines = [item(1, 1, 2), item(2, 3, 4), item(3, 5, 6), item(4, 7), item(5, 8, 9), item(6, 10), item(7, 11)];
    const result = await runChunk(chunkOf(lines, [3, 5, 7]), signature, run, 'jsonl', { items: 8 }, scanner);
    expect(result).toMatchObject({ succeeded: 7, failed: 0 });
    expect(seen.map(({ values }) => values)).toEqual([[1, 2, 3, 4, 5, 6], [7], [8, 9], [10, 11]]);
    // The room has grown in the first group, and is the same from then on.
    expect(new Set(seen.slice(1).map(({ buffer }) => buffer)).size).toBe(1);
    expect(seen.slice(1).map(({ from }) => from)).toEqual([0, 4, 0]);
  });

  test('is run in batches of equal shape within each group, and answered in order', async () => {
    const { run, shapes } = model();
    const result = await runChunk(chunkOf([item(1, 1), item(2, 1, 2), item(3, 3), item(4, 4), item(5, 5)], [4, 5], { items: 2, tokens: Number.POSITIVE_INFINITY }), signature, run);
    expect(shapes).toEqual(['2x1', '1x2', '1x1', '1x1']);
    expect(text(result.results)).toBe(
      [[1, [2]], [2, [2, 3]], [3, [4]], [4, [5]], [5, [6]]].map(([id, y]) => `${JSON.stringify({ id, outputs: { y } })}\n`).join(''),
    );
    expect(result).toMatchObject({ succeeded: 5, failed: 0 });
  });

  test('keeps to a budget of tokens: fewer long items share a run than short ones, and none is left out for its length', async () => {
    const { run, shapes } = model();
    const lengths = [1, 3, 1, 3, 3, 1, 1, 9];
    const result = await runChunk(chunkOf(lengths.map((length, id) => item(id, ...new Array<number>(length).fill(2))), undefined, { items: 3, tokens: 6 }), signature, run);
    expect(shapes).toEqual(['3x1', '2x3', '1x3', '1x1', '1x9']);
    expect(text(result.results).trim().split('\n').map((line) => (JSON.parse(line) as { id: number }).id)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test('that does not fit the memory is halved, and so are all that follow', async () => {
    const shapes: number[] = [];
    const run: Run = async ([x]) => {
      const { dims, data } = x as { dims: readonly number[]; data: Float32Array };
      shapes.push(dims[0] as number);
      if ((dims[0] as number) > 2 || data.includes(13)) throw new Error('Non-zero status code returned while running Expand node. Failed to allocate memory for requested buffer of size 99');
      return [{ dims, data }];
    };
    const capacity = { items: Number.POSITIVE_INFINITY };
    const first = await runChunk(chunkOf([1, 2, 3, 4, 5, 6, 7, 8].map((id) => item(id, id))), signature, run, 'jsonl', capacity);
    expect(first).toMatchObject({ succeeded: 8, failed: 0 });
    expect(shapes).toEqual([8, 4, 2, 2, 2, 2]);
    shapes.length = 0;
    const second = await runChunk(chunkOf([1, 2, 3, 13].map((id) => item(id, id))), signature, run, 'jsonl', capacity);
    expect(shapes).toEqual([2, 2, 1, 1]);
    expect(second).toMatchObject({ succeeded: 3, failed: 1, firstError: expect.stringContaining('there is not enough memory for the item, even alone: ') as unknown });
  });

  test('loses only the item that the model refuses', async () => {
    const { run, shapes } = model();
    const result = await runChunk(chunkOf([1, 2, 3, 13, 5, 6, 8, 9].map((x) => item(x, x))), signature, run);
    expect(result).toMatchObject({ succeeded: 7, failed: 1, firstError: 'a.jsonl:4: InferenceFailed: the model refused the item: Non-zero status code returned while running the node' });
    expect(shapes).toEqual(['8x1', '4x1', '2x1', '2x1', '1x1', '1x1', '4x1']);
    expect(text(result.errors)).toContain('{"id":13,"file":"a.jsonl","line":4,"offset":300,"code":"InferenceFailed"');
  });

  test('writes int64, bool and strings as they are, and a scalar without brackets', async () => {
    const outputs = (['int64', 'bool', 'string'] as const).map((type) => ({ name: type, isTensor: true, type, shape: type === 'int64' ? ['N'] : ['N', 1] }));
    const mixed = signatureOf([{ name: 'x', isTensor: true, type: 'float32', shape: ['N', 'L'] }], outputs);
    const run: Run = async () => [
      { dims: [1], data: new BigInt64Array([2n ** 53n + 1n]) },
      { dims: [1, 1], data: new Uint8Array([1]) },
      { dims: [1, 1], data: ['"\u2028é'] },
    ];
    const result = await runChunk(chunkOf([item(1, 1)]), mixed, run);
    expect(text(result.results)).toBe('{"id":1,"outputs":{"int64":9007199254740993,"bool":[true],"string":["\\"\u2028é"]}}\n');
  });

  test('fails when the model answers for another number of items', async () => {
    const run: Run = async () => [{ dims: [3, 1], data: new Float32Array(3) }];
    const result = await runChunk(chunkOf([item(1, 1), item(2, 2)]), signature, run);
    expect(result).toMatchObject({ failed: 2, firstError: expect.stringContaining('output "y" has the shape [3,1] for a batch of 1') as unknown });
  });

  test('names the output that is not a number', async () => {
    const result = await runChunk(chunkOf([item(1, 7, 1), item(2, 1, 1)]), signature, model().run);
    expect(result.succeeded).toBe(1);
    expect(JSON.parse(text(result.errors))).toEqual({ id: 1, file: 'a.jsonl', line: 1, offset: 0, code: 'NonFiniteOutput', message: 'outputs.y: the model gave NaN' });
  });

  test('refuses lines that are no UTF-8, no JSON or too long, and names items without id by their place', async () => {
    const chunk = chunkOf([Buffer.from([0x22, 0xff, 0x22]), 'nonsense', '', '{"inputs":{"x":[1]}}', item(5, 5)]);
    chunk.tooLong[2] = 99_000_000;
    chunk.lines[4] = 0;
    const result = await runChunk(chunk, signature, model().run);
    expect(text(result.errors).trim().split('\n').map((line) => [JSON.parse(line).line, JSON.parse(line).code])).toEqual([
      [1, 'InvalidUtf8'],
      [2, 'InvalidJson'],
      [3, 'LineTooLong'],
    ]);
    expect(text(result.results)).toBe('{"file":"a.jsonl","line":4,"outputs":{"y":[2]}}\n{"id":5,"outputs":{"y":[6]}}\n');
  });

  test('leaves out line numbers that are not known', async () => {
    const chunk = chunkOf(['x', '{"inputs":{"x":[1]}}']);
    chunk.lines.fill(0);
    const result = await runChunk(chunk, signature, model().run);
    expect(JSON.parse(text(result.errors))).not.toHaveProperty('line');
    expect(result.firstError).toMatch(/^a\.jsonl at byte 0: InvalidJson/);
    expect(text(result.results)).toBe('{"file":"a.jsonl","offset":100,"outputs":{"y":[2]}}\n');
  });
});
