import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runChunk } from '../../../inference-pod/engine/chunk-runner.ts';
import { openSession } from '../../../inference-pod/engine/session.ts';
import type { Chunk } from '../../../inference-pod/reading/chunk.ts';
import { models } from './worker-process.ts';

/** What a model of test/support/models answers to `lines`, run as one group. */
async function answer(model: string, lines: string[]): Promise<{ results: unknown[]; errors: { code: string; message: string }[] }> {
  const { signature, run } = await openSession(join(models, model), 'cpu');
  const parts = lines.map((line) => Buffer.from(line));
  const starts = parts.map((_, index) => parts.slice(0, index).reduce((sum, { length }) => sum + length, 0));
  const chunk: Chunk = {
    bytes: new Uint8Array(Buffer.concat(parts)),
    starts: Uint32Array.from(starts),
    ends: Uint32Array.from(parts, ({ length }, index) => (starts[index] as number) + length),
    offsets: new Float64Array(parts.length),
    lines: Float64Array.from(parts, (_, index) => index + 1),
    file: new Uint32Array(parts.length),
    files: ['a'],
    headers: [''],
    tooLong: new Float64Array(parts.length),
    suspicion: new Uint8Array(parts.length),
    groups: Uint32Array.of(parts.length),
    batch: { items: 8, tokens: Number.POSITIVE_INFINITY },
  };
  const { results, errors } = await runChunk(chunk, signature, run);
  const read = (bytes: Uint8Array): unknown[] => Buffer.from(bytes).toString('utf8').split('\n').slice(0, -1).map((line) => JSON.parse(line) as unknown);
  return { results: read(results), errors: read(errors) as { code: string; message: string }[] };
}

test('several inputs, types and ranks, in batches of rows of different length', async () => {
  const { results, errors } = await answer('mixed.onnx', [
    '{"id":1,"inputs":{"ids":[4503599627370497,0],"scale":0.5}}',
    '{"id":2,"inputs":{"ids":[1,2,3],"scale":2}}',
    '{"id":3,"inputs":{"ids":[4,5],"scale":1}}',
    '{"id":4,"inputs":{"ids":[4,5],"scale":[1]}}',
  ]);
  expect(results).toEqual([
    { id: 1, outputs: { sum: 4503599627370497, scaled: [2251799800000000, 0] } },
    { id: 2, outputs: { sum: 6, scaled: [2, 4, 6] } },
    { id: 3, outputs: { sum: 9, scaled: [4, 5] } },
  ]);
  expect(errors).toMatchObject([{ id: 4, code: 'InvalidItem', message: 'inputs.scale: expected float32 [], got [1]' }]);
});

test('strings go through as they are', async () => {
  const words = ['', 'añb', '"\\\u2028', '日本'.repeat(300)];
  const { results } = await answer('text.onnx', words.map((x) => JSON.stringify({ id: x, inputs: { x } })));
  expect(results).toEqual(words.map((x) => ({ id: x, outputs: { y: x } })));
});

test('NaN and infinities of the model are errors of their items', async () => {
  const { results, errors } = await answer('nan.onnx', ['{"inputs":{"x":[1]}}', '{"inputs":{"x":[0]}}', '{"inputs":{"x":[-1]}}']);
  expect(results).toEqual([{ file: 'a', line: 1, outputs: { y: [0] } }]);
  expect(errors.map(({ code, message }) => `${code}: ${message}`)).toEqual(['NonFiniteOutput: outputs.y: the model gave -Infinity', 'NonFiniteOutput: outputs.y: the model gave NaN']);
});
