import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import type { EmbeddingSpec } from '../../../../inference-pod/contract.ts';
import { signatureOf, type ValueMetadata } from '../../../../inference-pod/engine/signature.ts';
import { encoderSignature, openEncoder, type TextEncoder } from '../../../../inference-pod/text/encoder.ts';
import { openText } from '../../../../inference-pod/text/open-text.ts';

const models = resolve(import.meta.dirname, '../../../support/models');
const value = (name: string, type: string, ...shape: (string | number)[]): ValueMetadata => ({ name, isTensor: true, type, shape: ['batch', ...shape] });
const inputs = ['input_ids', 'attention_mask', 'token_type_ids'].map((name) => value(name, 'int64', 'sequence'));
const states = value('last_hidden_state', 'float32', 'sequence', 32);

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-encoder-'));
  cpSync(join(models, 'encoder'), folder, { recursive: true });
});

/** `undefined` takes a file away. */
async function open(changes: Record<string, unknown> = {}, spec: Partial<EmbeddingSpec> = {}, graph: [ValueMetadata[], ValueMetadata[]] = [inputs, [states]]): Promise<TextEncoder> {
  for (const [name, content] of Object.entries(changes)) {
    if (content === undefined) rmSync(join(folder, name));
    else writeFileSync(join(folder, name), JSON.stringify(content));
  }
  const text = await openText({ root: folder, path: 'model.onnx', task: 'text-embedding', accelerator: 'cpu', embedding: { truncate: false, ...spec } });
  if (text === undefined) throw new Error('a text model was expected');
  return openEncoder(encoderSignature(signatureOf(...graph)), text.settings);
}

const module = (type: string): { type: string } => ({ type: `sentence_transformers.models.${type}` });
const tokenizer = { version: '1.0', added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };

describe('an encoder is refused with one sentence for', () => {
  const cases: [what: string, message: RegExp, changes: Record<string, unknown>, spec?: Partial<EmbeddingSpec>, graph?: [ValueMetadata[], ValueMetadata[]]][] = [
    ['a tokenizer of another kind', /^tokenizer\.json is of type "Unigram", expected "WordPiece"/, { 'tokenizer.json': { ...tokenizer, model: { type: 'Unigram' } } }],
    ['a tokenizer that is none', /^tokenizer\.json is no JSON object/, { 'tokenizer.json': [1] }],
    ['a tokenizer with a part that the library does not know', /^tokenizer\.json cannot be used: /, { 'tokenizer.json': { ...tokenizer, model: { type: 'WordPiece', vocab: {}, unk_token: '' }, normalizer: { type: 'Odd' } } }],
    ['another way to pool', /1_Pooling\/config\.json asks for pooling by max, expected mean or cls$/, { '1_Pooling/config.json': { pooling_mode_max_tokens: true, pooling_mode_mean_tokens: false } }],
    ['two ways to pool', /asks for pooling by cls and mean, expected/, { '1_Pooling/config.json': { pooling_mode_cls_token: true, pooling_mode_mean_tokens: true } }],
    ['a module that is not run', /modules\.json has the module Dense, which is not run here/, { 'modules.json': [module('Transformer'), module('Dense')] }],
    ['a file that is no JSON', /^"modules\.json" beside the model is no JSON object or array/, { 'modules.json': 7 }],
    ['no length to cut to', /^spec\.model\.embedding\.truncate needs a length.*set spec\.model\.embedding\.maxSequenceLength$/, { 'sentence_bert_config.json': undefined, 'tokenizer_config.json': { model_max_length: 1e30 } }, { truncate: true }],
    ['less room than the special tokens take', /^a text may have 2 tokens, and 2 special ones are added to each$/, {}, { maxSequenceLength: 2 }],
    ['an input that is not known', /^the model has the input "position_ids", expected input_ids, attention_mask, token_type_ids$/, {}, {}, [[...inputs, value('position_ids', 'int64', 'sequence')], [states]]],
    ['an input of another type', /^the input "input_ids" is float32 \[sequence\] for each text, expected int64 \[sequence\]$/, {}, {}, [[value('input_ids', 'float32', 'sequence'), ...inputs.slice(1)], [states]]],
    ['no attention mask', /^the model has no input "attention_mask", which texts of different length need to share a run$/, {}, {}, [inputs.slice(0, 1), [states]]],
    ['no output to take', /^the model has the outputs "logits" int64 \[2\], expected last_hidden_state \[sequence,hidden\] or sentence_embedding \[hidden\]$/, {}, {}, [inputs, [value('logits', 'int64', 2)]]],
    ['pooling where the model pools', /^spec\.model\.embedding\.pooling is cls, but the model gives "sentence_embedding", one vector for each text; leave the field out$/, {}, { pooling: 'cls' }, [inputs, [value('sentence_embedding', 'float32', 32)]]],
    ['unequal lengths', /expected equal lengths$/, {}, {}, [[value('input_ids', 'int64', 16), value('attention_mask', 'int64', 32)], [states]]],
  ];
  test.each(cases)('%s', async (_what, message, changes, spec, graph) => {
    await expect(open(changes, spec, graph)).rejects.toThrow(message);
  });

  test('a file beside the model that leads out of the volume', async () => {
    rmSync(join(folder, 'tokenizer.json'));
    symlinkSync('/etc/hostname', join(folder, 'tokenizer.json'));
    await expect(open()).rejects.toThrow(/^beside the model: "tokenizer\.json" leads out of its volume through a symbolic link$/);
  });
});

describe('the output is', () => {
  const chosen = (...outputs: ValueMetadata[]): string | undefined => encoderSignature(signatureOf(inputs, outputs)).outputs[0]?.name;

  test('the vector that the model gives for a text, where it gives one', () => {
    expect(chosen(value('token_embeddings', 'float32', 'sequence', 32), value('sentence_embedding', 'float32', 32))).toBe('sentence_embedding');
  });

  test('else those of its tokens, not the pooler of BERT, which is trained for something else', () => {
    expect(chosen(states, value('pooler_output', 'float32', 32))).toBe('last_hidden_state');
  });

  test('else the only one', () => {
    expect([chosen(value('out', 'float16', 'sequence', 32)), chosen(value('out', 'float32', 32))]).toEqual(['out', 'out']);
  });
});

describe('what is left out of the spec comes from the files of sentence-transformers:', () => {
  const tokens = (count: number): string => 'a '.repeat(count - 2);

  test('the longest text, from sentence_bert_config.json, then tokenizer_config.json, else none', async () => {
    expect((await open()).tokenize(tokens(48), 'text')).toHaveLength(48);
    await expect(open().then((encoder) => encoder.tokenize(tokens(49), 'text'))).rejects.toThrow('text: 49 tokens, the limit is 48; shorten it, or set spec.model.embedding.truncate');
    expect((await open({ 'sentence_bert_config.json': undefined })).tokenize(tokens(64), 'text')).toHaveLength(64);
    await expect(open().then((encoder) => encoder.tokenize(tokens(65), 'text'))).rejects.toThrow('the limit is 64');
    expect((await open({ 'tokenizer_config.json': undefined })).tokenize(tokens(500), 'text')).toHaveLength(500);
    expect((await open({}, { truncate: true, maxSequenceLength: 7 })).tokenize(tokens(100), 'text')).toEqual([2, 6, 6, 6, 6, 6, 3]);
  });

  test('which end is cut, from tokenizer_config.json', async () => {
    const settings = { model_max_length: 5, truncation_side: 'left' };
    expect((await open({ 'sentence_bert_config.json': undefined, 'tokenizer_config.json': settings }, { truncate: true })).tokenize('the cat a a a', 'text')).toEqual([2, 6, 6, 6, 3]);
  });

  test('the length of vectors, from modules.json, else 1', async () => {
    const finish = async (changes: Record<string, unknown>, spec: Partial<EmbeddingSpec> = {}): Promise<number[]> => [...(await open(changes, spec)).finish(Float64Array.of(3, 4, 12), 2)];
    const scaled = [Math.fround(0.6), Math.fround(0.8)];
    expect(await finish({})).toEqual(scaled);
    expect(await finish({}, { normalize: false })).toEqual([3, 4]);
    expect(await finish({ 'modules.json': [module('Transformer'), module('Pooling')] })).toEqual([3, 4]);
    expect(await finish({ 'modules.json': undefined })).toEqual(scaled);
    expect([...(await open()).finish(new Float64Array(2), 2)]).toEqual([0, 0]);
  });

  test('a prompt, from config_sentence_transformers.json, and whether capitals count', async () => {
    const prompts = { 'config_sentence_transformers.json': { prompts: { query: 'the ', none: '' }, default_prompt_name: 'query' } };
    expect((await open(prompts)).tokenize('cat', 'text')).toEqual([2, 5, 74, 3]);
    expect((await open({}, { prompt: '' })).tokenize('cat', 'text')).toEqual([2, 74, 3]);
    expect((await open({ 'sentence_bert_config.json': { do_lower_case: true } }, { prompt: '' })).tokenize('CAT', 'text')).toEqual([2, 74, 3]);
  });

  test('where the pooling is described, from modules.json', async () => {
    const elsewhere = { 'modules.json': [{ ...module('Pooling'), path: '2_Pooling' }] };
    await expect(open(elsewhere)).rejects.toThrow(/no 1_Pooling\/config\.json/);
    cpSync(join(folder, '1_Pooling'), join(folder, '2_Pooling'), { recursive: true });
    expect((await open()).width).toBe(32);
    await expect(open({ 'modules.json': [{ ...module('Pooling'), path: '../1_Pooling' }] })).resolves.toBeDefined();
  });
});

test('a text with half a character is refused, which UTF-8 cannot carry', async () => {
  const encoder = await open();
  expect(() => encoder.tokenize('a \ud83d', 'text')).toThrow('text: expected text, got half of a surrogate pair');
  expect(encoder.tokenize('a \ud83d\ude00', 'text')).toEqual([2, 6, 1, 3]);
});

test('token ids that come instead of a text must be in the vocabulary, and within the length', async () => {
  const encoder = await open();
  expect(encoder.check([2, 5, 3], 'input')).toEqual([2, 5, 3]);
  for (const [ids, got] of [[[2, 305], '305'], [[2, -1], '-1'], [[2, 1.5], '1.5'], [[2, 'a'], '"a"'], [[2, null], 'null']] as const) {
    expect(() => encoder.check(ids, 'input')).toThrow(`input[1]: expected a token id from 0 to 304, got ${got}`);
  }
  expect(() => encoder.check(new Array(49).fill(5), 'input')).toThrow('input: 49 tokens, the limit is 48');
  expect((await open({}, { truncate: true })).check(new Array(49).fill(5), 'input')).toHaveLength(48);
});
