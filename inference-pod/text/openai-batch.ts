import { hash } from 'node:crypto';
import { ItemError } from '../engine/item-error.ts';
import { isRecord, own, parseJson } from '../engine/items.ts';
import { kindOf } from '../engine/tensors.ts';
import type { Place } from '../reading/chunk.ts';
import { formatVector, type Text, type TextItem } from './text-items.ts';

/**
 * Lines of the OpenAI Batch API (https://platform.openai.com/docs/guides/batch) for /v1/embeddings. What would change
 * the result and cannot be done is refused; `user` asks for nothing.
 */
const url = '/v1/embeddings';
const lineFields = ['custom_id', 'method', 'url', 'body'];
const bodyFields = ['model', 'input', 'encoding_format', 'dimensions', 'user'];
const maxTexts = 2048;

/** `width`: numbers of an embedding, where the model says it. Throws ItemError, which carries the custom_id where it was readable. */
export function parseOpenAiLine(line: string, width: number | undefined): TextItem {
  const value = parseJson(line, false);
  if (!isRecord(value)) throw refuse(`expected an object {"custom_id", "method", "url", "body"}, got ${kindOf(value)}`);
  const customId = own(value, 'custom_id');
  if (typeof customId !== 'string') throw refuse(`custom_id: expected text, got ${kindOf(customId)}`);
  const id = JSON.stringify(customId);
  try {
    return { id, ...readLine(value, id, width) };
  } catch (error) {
    if (error instanceof ItemError) error.id = id;
    throw error;
  }
}

function readLine(value: Record<string, unknown>, id: string, width: number | undefined): TextItem {
  refuseOthers(value, lineFields, '');
  const [method, path, body] = [own(value, 'method'), own(value, 'url'), own(value, 'body')];
  if (method !== 'POST') throw refuse(`method: expected "POST", got ${shown(method)}`);
  if (path !== url) throw refuse(`url: expected "${url}" as spec.model.task is text-embedding, got ${shown(path)}`);
  if (!isRecord(body)) throw refuse(`body: expected an object, got ${kindOf(body)}`);
  refuseOthers(body, bodyFields, 'body.');
  const model = own(body, 'model');
  if (typeof model !== 'string') throw refuse(`body.model: expected text, got ${kindOf(model)}`);
  const user = own(body, 'user');
  if (user !== undefined && typeof user !== 'string') throw refuse(`body.user: expected text, got ${kindOf(user)}`);
  const encoding = own(body, 'encoding_format') ?? 'float';
  if (encoding !== 'float' && encoding !== 'base64') throw refuse(`body.encoding_format: expected "float" or "base64", got ${shown(encoding)}`);
  const dimensions = own(body, 'dimensions');
  if (dimensions !== undefined && !(typeof dimensions === 'number' && Number.isSafeInteger(dimensions) && dimensions > 0 && dimensions <= (width ?? dimensions))) {
    throw refuse(`body.dimensions: expected a whole number from 1 to ${width ?? 'what the model gives'}, got ${shown(dimensions)}`);
  }
  const input = own(body, 'input');
  const texts = textsOf(input);
  const single = texts.length === 1 && texts[0] === input;
  return {
    texts,
    where: (index) => (single ? 'body.input' : `body.input[${index}]`),
    ...(typeof dimensions === 'number' ? { dimensions } : {}),
    format(embeddings, tokens, origin) {
      const key = keyOf(origin);
      const data = embeddings.map((embedding, index) => `{"object":"embedding","index":${index},"embedding":${encoding === 'base64' ? base64(embedding) : formatVector(embedding)}}`);
      const answer = `{"object":"list","data":[${data.join(',')}],"model":${JSON.stringify(model)},"usage":{"prompt_tokens":${tokens},"total_tokens":${tokens}}}`;
      return `{"id":"batch_req_${key}","custom_id":${id},"response":{"status_code":200,"request_id":"req_${key}","body":${answer}},"error":null}\n`;
    },
  };
}

/** A text, texts, the token ids of one text or of several. */
function textsOf(input: unknown): readonly Text[] {
  if (typeof input === 'string') return [present(input, 'body.input')];
  if (!Array.isArray(input)) throw refuse(`body.input: expected text, an array of texts, token ids or an array of those, got ${kindOf(input)}`);
  const list = input as unknown[];
  if (list.length === 0) throw refuse('body.input: expected at least one text, got an empty array');
  if (list.every((one) => typeof one === 'number')) return [list];
  if (list.length > maxTexts) throw refuse(`body.input: expected at most ${maxTexts} texts, got ${list.length}`);
  const kind = Array.isArray(list[0]) ? 'array' : 'string';
  return list.map((one, index) => {
    const where = `body.input[${index}]`;
    if (kind === 'string' && typeof one === 'string') return present(one, where);
    if (kind === 'array' && Array.isArray(one)) return present(one as unknown[], where);
    throw refuse(`${where}: expected ${kind === 'string' ? 'text' : 'token ids'} as its neighbours are, got ${kindOf(one)}`);
  });
}

function present<T extends Text>(text: T, where: string): T {
  if (text.length === 0) throw refuse(`${where}: expected ${typeof text === 'string' ? 'text' : 'token ids'}, got none`);
  return text;
}

function refuseOthers(value: Record<string, unknown>, known: readonly string[], path: string): void {
  const other = Object.keys(value).find((key) => !known.includes(key));
  if (other !== undefined) throw refuse(`${path}${other.slice(0, 60)}: is not a field that is honoured here; expected ${known.join(', ')}`);
}

function base64(vector: Float32Array): string {
  return `"${Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64')}"`;
}

/** The embeddings of a result line, in whichever encoding. */
export function readEmbeddings(line: string): number[][] {
  const { response } = JSON.parse(line) as { response: { body: { data: { embedding: number[] | string }[] } } };
  return response.body.data.map(({ embedding }) => {
    if (typeof embedding !== 'string') return embedding;
    const bytes = new Uint8Array(Buffer.from(embedding, 'base64'));
    return [...new Float32Array(bytes.buffer)];
  });
}

/** The same in every run of the job, and for each line another. */
function keyOf({ file, offset }: Place): string {
  return hash('sha256', `${file}\0${offset}`).slice(0, 32);
}

/** The shape of OpenAI's error lines, with where the line is beside code and message. */
export function formatOpenAiError(error: ItemError, origin: Place): string {
  const { file, line, offset } = origin;
  const place = `"file":${JSON.stringify(file)}${line > 0 ? `,"line":${line}` : ''},"offset":${offset}`;
  return `{"id":"batch_req_${keyOf(origin)}","custom_id":${error.id ?? 'null'},"response":null,"error":{"code":"${error.code}","message":${JSON.stringify(error.message)},${place}}}\n`;
}

function refuse(message: string): ItemError {
  return new ItemError('InvalidItem', message);
}

function shown(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? JSON.stringify(value).slice(0, 60) : kindOf(value);
}
