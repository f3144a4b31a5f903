import { describe, expect, test } from 'vitest';
import { ItemError } from '../../../../inference-pod/engine/item-error.ts';
import { formatOpenAiError, parseOpenAiLine, readEmbeddings } from '../../../../inference-pod/text/openai-batch.ts';
import type { TextItem } from '../../../../inference-pod/text/text-items.ts';

const origin = { file: 'in/a.jsonl', line: 3, offset: 120 };
const line = (changes: object = {}, body: object = {}): string => JSON.stringify({ custom_id: 'c-1', method: 'POST', url: '/v1/embeddings', body: { model: 'm', input: 'text', ...body }, ...changes });
const parse = (text: string): TextItem => parseOpenAiLine(text, 8);

function errorOf(text: string): { id: string | undefined; code: string; message: string } {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof ItemError) return { id: error.id, code: error.code, message: error.message };
    throw error;
  }
  throw new Error('the line was taken');
}

describe('input may be', () => {
  test.each<[what: string, input: unknown, texts: unknown[], where: string]>([
    ['a text', 'one', ['one'], 'body.input'],
    ['texts', ['one', 'two'], ['one', 'two'], 'body.input[0]'],
    ['one text in an array', ['one'], ['one'], 'body.input[0]'],
    ['token ids', [1, 2], [[1, 2]], 'body.input'],
    ['several lists of token ids', [[1, 2], [3]], [[1, 2], [3]], 'body.input[0]'],
    ['as many texts as OpenAI takes', new Array(2048).fill('x'), new Array(2048).fill('x'), 'body.input[0]'],
  ])('%s', (_what, input, texts, where) => {
    const item = parse(line({}, { input }));
    expect(item.texts).toEqual(texts);
    expect(item.where(0)).toBe(where);
  });
});

describe('a line is refused with one sentence for', () => {
  const id = '"c-1"';
  test.each<[what: string, text: string, id: string | undefined, message: string]>([
    ['another value than an object', '[1]', undefined, 'expected an object {"custom_id", "method", "url", "body"}, got an array'],
    ['no custom_id', line({ custom_id: undefined }), undefined, 'custom_id: expected text, got nothing'],
    ['a custom_id that is no text', line({ custom_id: 7 }), undefined, 'custom_id: expected text, got a number'],
    ['another method', line({ method: 'GET' }), id, 'method: expected "POST", got "GET"'],
    ['another endpoint', line({ url: '/v1/chat/completions' }), id, 'url: expected "/v1/embeddings" as spec.model.task is text-embedding, got "/v1/chat/completions"'],
    ['a field beside the body', line({ priority: 1 }), id, 'priority: is not a field that is honoured here; expected custom_id, method, url, body'],
    ['no body', line({ body: undefined }), id, 'body: expected an object, got nothing'],
    ['a field of another API', line({}, { truncate_prompt_tokens: 5 }), id, 'body.truncate_prompt_tokens: is not a field that is honoured here; expected model, input, encoding_format, dimensions, user'],
    ['the name of every object', line({}, JSON.parse('{"__proto__":{"model":"x"}}') as object).replace('"input"', '"__proto__":{"a":1},"input"'), id, 'body.__proto__: is not a field that is honoured here; expected model, input, encoding_format, dimensions, user'],
    ['no model', line({}, { model: undefined }), id, 'body.model: expected text, got nothing'],
    ['a user that is no text', line({}, { user: {} }), id, 'body.user: expected text, got an object'],
    ['an unknown encoding', line({}, { encoding_format: 'hex' }), id, 'body.encoding_format: expected "float" or "base64", got "hex"'],
    ['more dimensions than there are', line({}, { dimensions: 9 }), id, 'body.dimensions: expected a whole number from 1 to 8, got 9'],
    ['no dimensions', line({}, { dimensions: 0 }), id, 'body.dimensions: expected a whole number from 1 to 8, got 0'],
    ['no input', line({}, { input: undefined }), id, 'body.input: expected text, an array of texts, token ids or an array of those, got nothing'],
    ['an empty text', line({}, { input: '' }), id, 'body.input: expected text, got none'],
    ['an empty text among others', line({}, { input: ['a', ''] }), id, 'body.input[1]: expected text, got none'],
    ['an empty array', line({}, { input: [] }), id, 'body.input: expected at least one text, got an empty array'],
    ['an empty list of token ids', line({}, { input: [[1], []] }), id, 'body.input[1]: expected token ids, got none'],
    ['texts beside token ids', line({}, { input: ['a', [1]] }), id, 'body.input[1]: expected text as its neighbours are, got an array'],
    ['numbers beside texts', line({}, { input: [1, 'a'] }), id, 'body.input[0]: expected text as its neighbours are, got a number'],
    ['too many texts', line({}, { input: new Array(2049).fill('x') }), id, 'body.input: expected at most 2048 texts, got 2049'],
  ])('%s', (_what, text, known, message) => {
    expect(errorOf(text)).toEqual({ id: known, code: 'InvalidItem', message });
  });

  test('text that is no JSON', () => expect(errorOf('{"custom_id"').code).toBe('InvalidJson'));
});

test('results and errors have the keys of OpenAI, in its order, and ids that depend on the place alone', () => {
  const result = parse(line({}, { input: ['a', 'b'] })).format([Float32Array.of(0.1, -2), Float32Array.of(1, 0)], 7, origin);
  expect(result).toBe(
    '{"id":"batch_req_51ae6f1ee2a9eff712705eaeaa715971","custom_id":"c-1","response":{"status_code":200,"request_id":"req_51ae6f1ee2a9eff712705eaeaa715971","body":{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2]},{"object":"embedding","index":1,"embedding":[1,0]}],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}},"error":null}\n',
  );
  const error = new ItemError('InvalidItem', 'say "no"');
  expect(formatOpenAiError(error, { ...origin, line: 0 })).toBe('{"id":"batch_req_51ae6f1ee2a9eff712705eaeaa715971","custom_id":null,"response":null,"error":{"code":"InvalidItem","message":"say \\"no\\"","file":"in/a.jsonl","offset":120}}\n');
  error.id = '"c-1"';
  expect(JSON.parse(formatOpenAiError(error, origin))).toMatchObject({ custom_id: 'c-1', error: { line: 3 } });
});

test('base64 holds the same numbers as little-endian float32', () => {
  const vector = Float32Array.of(0.1, -2, 3.5e-9, 1 / 3);
  const answer = (encoding_format: string): string => parse(line({}, { encoding_format })).format([vector], 1, origin);
  expect(readEmbeddings(answer('base64'))).toEqual([[...vector]]);
  expect(readEmbeddings(answer('float'))[0]?.map(Math.fround)).toEqual([...vector]);
  expect(answer('base64')).toContain(Buffer.from([0xcd, 0xcc, 0xcc, 0x3d]).toString('base64').slice(0, 5));
});
