import type { Feed, Run } from '../engine/batch.ts';
import { allocate } from '../engine/dtypes.ts';
import { ItemError } from '../engine/item-error.ts';
import { type Port, type Signature, UnusableModel } from '../engine/signature.ts';
import { finish, type Hidden, poolRow } from './pooling.ts';
import type { TextSettings } from './settings.ts';
import { openTokenizer, type TextTokenizer } from './tokenizer.ts';

/** Texts in, embeddings out: a model of the BERT family with its tokenizer. */
export interface TextEncoder {
  /** What the pool's users see: one text for each item, of any length. */
  signature: Signature;
  /** Ids of a text with its special tokens. Throws ItemError; `where` names the text in messages. */
  tokenize(text: string, where: string): number[];
  /** Ids that came instead of a text, used as they are. Throws ItemError. */
  check(ids: readonly unknown[], where: string): number[];
  /** Tokens that a row of a batch takes beside others of `longest`. */
  rowTokens(longest: number): number;
  /** Runs rows together. For each either what `finish` takes, or the ItemError that it failed with. */
  embed(rows: readonly (readonly number[])[], run: (feeds: readonly Feed[]) => ReturnType<Run>): Promise<(Float64Array | ItemError)[]>;
  /** Numbers of an embedding. */
  width: number | undefined;
  finish(vector: Float64Array, dimensions: number): Float32Array;
}

const inputNames = ['input_ids', 'attention_mask', 'token_type_ids'] as const;
/** Of each text one vector: what sentence-transformers exports. BERT's pooler_output is another thing. */
const vectorNames = ['sentence_embedding', 'sentence_embeddings', 'text_embeds', 'embeddings', 'embedding'];
const tokenNames = ['last_hidden_state', 'token_embeddings'];

/** The part of the model's signature that embeddings need: its inputs, and one output. Throws UnusableModel. */
export function encoderSignature({ inputs, outputs, batched }: Signature): Signature {
  for (const { name, dtype, shape, text } of inputs) {
    if (!(inputNames as readonly string[]).includes(name)) throw new UnusableModel(`the model has the input "${name}", expected ${inputNames.join(', ')}`);
    if ((dtype !== 'int64' && dtype !== 'int32') || shape.length !== 1) throw new UnusableModel(`the input "${name}" is ${text} for each text, expected int64 [sequence]`);
  }
  const missing = inputNames.slice(0, 2).find((name) => inputs.every((port) => port.name !== name));
  if (missing !== undefined) throw new UnusableModel(`the model has no input "${missing}", which texts of different length need to share a run`);
  const output = chooseOutput(outputs.filter(({ dtype }) => dtype === 'float32' || dtype === 'float16' || dtype === 'float64'));
  if (output === undefined) {
    throw new UnusableModel(`the model has the outputs ${outputs.map(({ name, text }) => `"${name}" ${text}`).join(', ')}, expected last_hidden_state [sequence,hidden] or sentence_embedding [hidden]`);
  }
  return { inputs, outputs: [output], batched, uniform: false };
}

function chooseOutput(outputs: readonly Port[]): Port | undefined {
  const named = (names: readonly string[], rank: number): Port | undefined => outputs.find(({ name, shape }) => names.includes(name) && shape.length === rank);
  const ofRank = (rank: number): readonly Port[] => outputs.filter(({ shape }) => shape.length === rank);
  const alone = (ports: readonly Port[]): Port | undefined => (ports.length === 1 ? ports[0] : undefined);
  return named(vectorNames, 1) ?? named(tokenNames, 2) ?? alone(ofRank(2)) ?? (outputs.length === 1 ? alone(ofRank(1)) : undefined);
}

/** `model` is what `encoderSignature` gave. Throws UnusableModel. */
export function openEncoder(model: Signature, settings: TextSettings, tokenizer: TextTokenizer = openTokenizer(settings)): TextEncoder {
  const output = model.outputs[0] as Port;
  const { prefix, suffix, padId, vocabulary } = tokenizer;
  const byToken = output.shape.length === 2;
  if (byToken && settings.pooling === undefined) throw new UnusableModel(`the model gives "${output.name}", one vector for each token, and there is no 1_Pooling/config.json beside it that says how to pool them; set spec.model.embedding.pooling to mean or cls`);
  if (!byToken && settings.poolingAsked) throw new UnusableModel(`spec.model.embedding.pooling is ${settings.pooling}, but the model gives "${output.name}", one vector for each text; leave the field out`);
  const fixed = fixedLength(model.inputs);
  const most = Math.min(settings.maxTokens ?? tokenizer.maxTokens ?? Number.POSITIVE_INFINITY, fixed ?? Number.POSITIVE_INFINITY);
  if (settings.truncate && most === Number.POSITIVE_INFINITY) throw new UnusableModel('spec.model.embedding.truncate needs a length, and no file beside the model says how long a text may be; set spec.model.embedding.maxSequenceLength');
  const room = most - prefix.length - suffix.length;
  if (room < 1) throw new UnusableModel(`a text may have ${most} tokens, and ${prefix.length + suffix.length} special ones are added to each`);
  const width = output.shape.at(-1) ?? undefined;

  const tooLong = (tokens: number, where: string): ItemError =>
    new ItemError('TextTooLong', `${where}: ${tokens} tokens, the limit is ${most}; shorten it, or set spec.model.embedding.truncate`);
  return {
    signature: { inputs: [{ name: 'text', dtype: 'string', shape: [], text: 'text' }], outputs: [], batched: model.batched, uniform: false },
    width,
    rowTokens: (longest) => fixed ?? longest,
    tokenize(text, where) {
      if (!text.isWellFormed()) throw new ItemError('InvalidItem', `${where}: expected text, got half of a surrogate pair`);
      const whole = settings.prompt + text;
      let ids = tokenizer.content(settings.lowercase ? whole.toLowerCase() : whole);
      if (ids.length > room) {
        if (!settings.truncate) throw tooLong(prefix.length + ids.length + suffix.length, where);
        ids = tokenizer.truncatedSide === 'left' ? ids.slice(ids.length - room) : ids.slice(0, room);
      }
      if (prefix.length + ids.length + suffix.length === 0) throw new ItemError('InvalidItem', `${where}: expected text with at least one token`);
      return [...prefix, ...ids, ...suffix];
    },
    check(ids, where) {
      const wrong = ids.findIndex((id) => typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= vocabulary);
      if (wrong >= 0) throw new ItemError('InvalidItem', `${where}[${wrong}]: expected a token id from 0 to ${vocabulary - 1}, got ${JSON.stringify(ids[wrong])?.slice(0, 40)}`);
      if (ids.length <= most) return ids as number[];
      if (!settings.truncate) throw tooLong(ids.length, where);
      return (tokenizer.truncatedSide === 'left' ? ids.slice(ids.length - most) : ids.slice(0, most)) as number[];
    },
    async embed(rows, run) {
      const longest = fixed ?? Math.max(...rows.map(({ length }) => length));
      const [answer] = await run(feedsOf(model.inputs, rows, longest, padId));
      const { dims, data } = answer as Feed;
      const expected = byToken ? [rows.length, longest] : [rows.length];
      if (dims.length !== output.shape.length + 1 || expected.some((size, axis) => dims[axis] !== size)) throw new Error(`output "${output.name}" has the shape [${dims.join(',')}] for ${rows.length} rows of ${longest} tokens`);
      const hidden: Hidden = { data, longest: byToken ? longest : undefined, width: dims.at(-1) as number };
      return rows.map((ids, row) => {
        try {
          return poolRow(hidden, row, ids.length, settings.pooling);
        } catch (error) {
          if (error instanceof ItemError) return error;
          throw error;
        }
      });
    },
    finish: (vector, dimensions) => finish(vector, settings.normalize, dimensions),
  };
}

/** The length that the graph fixes for its sequences. */
function fixedLength(inputs: readonly Port[]): number | undefined {
  const sizes = new Set(inputs.map(({ shape }) => shape[0] ?? undefined).filter((size) => size !== undefined));
  if (sizes.size > 1) throw new UnusableModel(`the inputs of the model are ${inputs.map(({ name, text }) => `"${name}" ${text}`).join(', ')}, expected equal lengths`);
  return [...sizes][0];
}

/** Rows filled up to `longest` with what the mask hides. */
function feedsOf(inputs: readonly Port[], rows: readonly (readonly number[])[], longest: number, padId: number): Feed[] {
  return inputs.map(({ name, dtype }) => {
    const data = allocate(dtype, rows.length * longest) as BigInt64Array | Int32Array;
    // Ids fit into 32 bits: the lower half of each little-endian element.
    const [words, step] = data instanceof BigInt64Array ? [new Int32Array(data.buffer), 2] : [data, 1];
    if (name !== 'token_type_ids') {
      rows.forEach((ids, row) => {
        const start = row * longest;
        if (name === 'attention_mask') for (let i = 0; i < ids.length; i++) words[(start + i) * step] = 1;
        else for (let i = 0; i < longest; i++) words[(start + i) * step] = ids[i] ?? padId;
      });
    }
    return { dims: [rows.length, longest], data };
  });
}
