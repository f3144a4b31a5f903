import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Run } from '../../inference-pod/engine/batch.ts';
import { signatureOf } from '../../inference-pod/engine/signature.ts';
import type { Chunk } from '../../inference-pod/reading/chunk.ts';
import { bucketed } from '../../inference-pod/text/buckets.ts';
import { encoderSignature, openEncoder } from '../../inference-pod/text/encoder.ts';
import { runTextChunk } from '../../inference-pod/text/text-chunk.ts';
import type { TextTokenizer } from '../../inference-pod/text/tokenizer.ts';

const value = (name: string, ...shape: (string | number)[]) => ({ name, isTensor: true, type: name === 'states' ? 'float32' : 'int64', shape: ['batch', ...shape] });
const model = encoderSignature(signatureOf([value('input_ids', 'sequence'), value('attention_mask', 'sequence')], [value('states', 'sequence', 2)]));
/** One token for each character: its code, below 100. */
const byCharacter: TextTokenizer = { content: (text) => [...text].map((one) => one.charCodeAt(0) % 100), prefix: [1], suffix: [2], padId: 99, vocabulary: 100, truncatedSide: 'right' };
const encoder = openEncoder(model, { tokenizer: '', normalize: false, truncate: false, lowercase: false, prompt: '', pooling: 'mean', poolingAsked: false, maxTokens: 12 }, byCharacter);
const poison = '!'.charCodeAt(0);

/** Gives [id, 1] for each token the mask shows, and what would spoil a mean for the others; refuses batches with a poisoned text. */
function states(seen: [rows: number, longest: number][] = [], memory = Number.POSITIVE_INFINITY): Run {
  return async ([ids, mask]) => {
    const { dims, data } = ids as { dims: readonly number[]; data: BigInt64Array };
    const shown = mask?.data as BigInt64Array;
    seen.push(dims as [number, number]);
    if (data.length > memory) throw new Error('Failed to allocate memory for requested buffer');
    if (data.includes(BigInt(poison))) throw new Error('refused');
    return [{ dims: [...dims, 2], data: Float32Array.from({ length: data.length * 2 }, (_, at) => (shown[at >> 1] === 1n ? (at % 2 ? 1 : Number(data[at >> 1])) : Number.NaN)) }];
  };
}

function chunkOf(lines: readonly string[], groups: readonly number[], batch: Chunk['batch']): Chunk {
  const parts = lines.map((line) => Buffer.from(line));
  const ends = Uint32Array.from(parts, (_, index) => parts.slice(0, index + 1).reduce((sum, { length }) => sum + length, 0));
  return {
    bytes: new Uint8Array(Buffer.concat(parts)),
    starts: Uint32Array.from(parts, (_, index) => ends[index - 1] ?? 0),
    ends,
    offsets: Float64Array.from(parts, (_, index) => index * 100),
    lines: Float64Array.from(parts, (_, index) => index + 1),
    file: new Uint32Array(parts.length),
    files: ['a'],
    headers: [''],
    tooLong: new Float64Array(parts.length),
    suspicion: new Uint8Array(parts.length),
    groups: Uint32Array.from(groups),
    batch,
  };
}

interface Answer {
  custom_id: string;
  response?: { body: { data: { embedding: number[] }[]; usage: { prompt_tokens: number } } };
  error: { code: string; message: string } | null;
}
const read = (bytes: Uint8Array): Answer[] => Buffer.from(bytes).toString('utf8').split('\n').slice(0, -1).map((line) => JSON.parse(line) as Answer);

/** Mostly short texts; now and then one that the model refuses, or that is too long. */
const aText = fc.string({ unit: fc.constantFrom('a', 'b', 'c', 'd'), minLength: 1, maxLength: 10 }).chain((text) => fc.oneof({ weight: 12, arbitrary: fc.constant(text) }, { weight: 1, arbitrary: fc.constant(`${text}!`.slice(-10)) }, { weight: 1, arbitrary: fc.constant(`${text}aaaaaaaaaa`) }));
const requests = fc.array(fc.array(aText, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 30 });
const limits = fc.record({ items: fc.integer({ min: 1, max: 9 }), tokens: fc.oneof(fc.integer({ min: 1, max: 60 }), fc.constant(Number.POSITIVE_INFINITY)) });

describe('texts in lines', () => {
  test('get their embedding or their error, whatever stands beside them and however they are put together', async () => {
    await fc.assert(fc.asyncProperty(requests, limits, fc.integer({ min: 1, max: 30 }), fc.constantFrom(Number.POSITIVE_INFINITY, 20), async (all, batch, window, memory) => {
      const lines = all.map((input, id) => JSON.stringify({ custom_id: String(id), method: 'POST', url: '/v1/embeddings', body: { model: 'm', input } }));
      const groups = Array.from({ length: Math.ceil(lines.length / window) }, (_, at) => Math.min(lines.length, (at + 1) * window));
      const seen: [number, number][] = [];
      const outcome = await runTextChunk(chunkOf(lines, groups, batch), encoder, states(seen, memory), 'openai-batch', { items: Number.POSITIVE_INFINITY });
      const bad = (input: string[]): string | undefined => input.flatMap((text) => (text.length > 10 ? ['TextTooLong'] : []))[0] ?? (input.some((text) => text.includes('!')) ? 'InferenceFailed' : undefined);
      expect(read(outcome.errors).map(({ custom_id, error }) => [Number(custom_id), error?.code])).toEqual(all.flatMap((input, id) => (bad(input) === undefined ? [] : [[id, bad(input)]])));
      const results = read(outcome.results);
      expect(results.map(({ custom_id }) => Number(custom_id))).toEqual(all.flatMap((input, id) => (bad(input) === undefined ? [id] : [])));
      for (const { custom_id, response } of results) {
        const texts = all[Number(custom_id)] as string[];
        const ids = texts.map((text) => [1, ...byCharacter.content(text), 2]);
        expect(response?.body.usage.prompt_tokens).toBe(ids.flat().length);
        expect(response?.body.data.map(({ embedding }) => embedding.map((one) => Math.round(one * 1e4) / 1e4))).toEqual(ids.map((one) => [Math.round((one.reduce((sum, id) => sum + id, 0) / one.length) * 1e4) / 1e4, 1]));
      }
      // A batch may be over the budget only with a text that is so alone.
      for (const [rows, longest] of seen) expect(rows === 1 || (rows <= batch.items && rows * longest <= batch.tokens)).toBe(true);
    }), { numRuns: 200 });
  });
});

describe('buckets', () => {
  const rows = fc.array(fc.record({ tokens: fc.integer({ min: 1, max: 50 }), alone: fc.boolean() }), { maxLength: 60 });

  test('hold every row once, within the limits', () => {
    fc.assert(fc.property(rows, fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 200 }), (all, most, tokens) => {
      const batches = bucketed(all, { rows: most, tokens });
      expect(new Set(batches.flat()).size).toBe(all.length);
      expect(batches.flat().length).toBe(all.length);
      for (const batch of batches) {
        if (batch.some(({ alone }) => alone)) expect(batch.length).toBe(1);
        if (batch.length > 1) expect(batch.length <= most && batch.length * Math.max(...batch.map((row) => row.tokens)) <= tokens).toBe(true);
      }
      expect(bucketed(all, { rows: most, tokens })).toEqual(batches);
    }));
  });
});
