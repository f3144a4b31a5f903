import { type Capacity, type LineEntry, outOfMemory, type Run, RunStopped } from '../engine/batch.ts';
import { type ChunkOutcome, runLines } from '../engine/chunk-runner.ts';
import { type Layout, layoutOf } from '../engine/csv-items.ts';
import { formatError } from '../engine/format.ts';
import { ItemError } from '../engine/item-error.ts';
import { messageOf, shorten } from '../fatal.ts';
import type { BatchLimits, Chunk } from '../reading/chunk.ts';
import { maxResultBytes } from '../reading/limits.ts';
import type { Format } from '../reading/record-end.ts';
import { bucketed } from './buckets.ts';
import type { TextEncoder } from './encoder.ts';
import { formatOpenAiError, parseOpenAiLine } from './openai-batch.ts';
import { parseTextItem, readCsvText, type TextItem } from './text-items.ts';

/** Where spec.batching.maxTokens says nothing: attention takes memory with the square of the length. */
const usualTokens = 16_384;
/** Texts that are sorted and held at once; a line may have up to 2,048. */
const maxTexts = 4_096;

/** An item with its token ids. */
interface Tokenized extends TextItem {
  ids: readonly (readonly number[])[];
}

interface Row {
  entry: Answer;
  index: number;
  ids: readonly number[];
  tokens: number;
  alone: boolean;
}

/** What an entry has so far. */
interface Answer {
  entry: LineEntry<Tokenized>;
  vectors: Float64Array[];
  error?: ItemError;
}

/** Lines with texts in, lines with embeddings out. */
export async function runTextChunk(chunk: Chunk, encoder: TextEncoder, run: Run, format: Format, capacity: Capacity): Promise<ChunkOutcome> {
  const parse = parserOf(chunk, encoder, format);
  return await runLines<Tokenized>(chunk, {
    read: (line, slot) => tokenized(parse(line, slot), encoder),
    formatError: format === 'openai-batch' ? formatOpenAiError : formatError,
    async run(entries, settle) {
      for (const part of portions(entries)) {
        const answers = part.map((entry): Answer => ({ entry, vectors: [] }));
        await embedAll(answers, encoder, run, chunk.batch, capacity);
        for (const answer of answers) settle(answer.entry, answer.error ?? outcomeOf(answer, encoder));
      }
    },
  });
}

function parserOf({ file, headers }: Chunk, { signature, width }: TextEncoder, format: Format): (line: string, slot: number) => TextItem {
  if (format === 'openai-batch') return (line) => parseOpenAiLine(line, width);
  if (format === 'jsonl') return parseTextItem;
  const layouts = new Map<number, Layout>();
  return (line, slot) => {
    const index = file[slot] as number;
    const layout = layouts.get(index) ?? layoutOf(headers[index] as string, signature);
    layouts.set(index, layout);
    return readCsvText(line, layout, signature);
  };
}

function tokenized(item: TextItem, encoder: TextEncoder): Tokenized {
  try {
    return { ...item, ids: item.texts.map((text, index) => (typeof text === 'string' ? encoder.tokenize(text, item.where(index)) : encoder.check(text, item.where(index)))) };
  } catch (error) {
    if (error instanceof ItemError && item.id !== undefined) error.id = item.id;
    throw error;
  }
}

/** Runs of entries with at least `maxTexts` texts, but for the last. Cut by content, so that they are always the same. */
function portions(entries: readonly LineEntry<Tokenized>[]): LineEntry<Tokenized>[][] {
  const all: LineEntry<Tokenized>[][] = [];
  let texts = maxTexts;
  for (const entry of entries) {
    if (texts >= maxTexts) {
      all.push([]);
      texts = 0;
    }
    all.at(-1)?.push(entry);
    texts += entry.item.ids.length;
  }
  return all;
}

async function embedAll(answers: readonly Answer[], encoder: TextEncoder, run: Run, limits: BatchLimits, capacity: Capacity): Promise<void> {
  const rows = answers.flatMap((answer) => answer.entry.item.ids.map((ids, index): Row => ({ entry: answer, index, ids, tokens: ids.length, alone: answer.entry.alone ?? false })));
  const most = encoder.signature.batched ? limits.items : 1;
  const tokens = Number.isFinite(limits.tokens) ? limits.tokens : usualTokens;
  for (const batch of bucketed(rows, { rows: most, tokens }, encoder.rowTokens)) await embedBatch(batch, encoder, run, capacity);
}

/**
 * Runs one batch. One that the model refuses, or that does not fit the memory, is halved until the texts that cause it
 * are found: their lines fail, and the others get their results.
 */
async function embedBatch(all: readonly Row[], encoder: TextEncoder, run: Run, capacity: Capacity): Promise<void> {
  const batch = all.filter(({ entry }) => entry.error === undefined);
  const [only] = batch;
  if (only === undefined) return;
  if (batch.length > capacity.items) {
    // Which may shrink on the way.
    const size = capacity.items;
    for (let first = 0; first < batch.length; first += size) await embedBatch(batch.slice(first, first + size), encoder, run, capacity);
    return;
  }
  let vectors: (Float64Array | ItemError)[];
  try {
    vectors = await encoder.embed(batch.map(({ ids }) => ids), (feeds) => run(feeds, linesOf(batch)));
  } catch (error) {
    if (error instanceof RunStopped) throw error;
    const message = messageOf(error);
    const noMemory = outOfMemory.test(message);
    if (batch.length === 1) {
      fail(only, new ItemError('InferenceFailed', shorten(`${noMemory ? 'there is not enough memory for the text, even alone' : 'the model refused the text'}: ${message}`, 500)));
      return;
    }
    const middle = batch.length >> 1;
    if (noMemory) capacity.items = Math.min(capacity.items, middle);
    await embedBatch(batch.slice(0, middle), encoder, run, capacity);
    await embedBatch(batch.slice(middle), encoder, run, capacity);
    return;
  }
  batch.forEach((row, at) => {
    const vector = vectors[at] as Float64Array | ItemError;
    if (vector instanceof ItemError) fail(row, vector);
    else row.entry.vectors[row.index] = vector;
  });
}

/** The lines of a batch in their order, each once: who does not return is sought between the first and the last. */
function linesOf(batch: readonly Row[]): { slot: number }[] {
  return [...new Set(batch.map(({ entry }) => entry.entry.slot))].sort((a, b) => a - b).map((slot) => ({ slot }));
}

function fail({ entry, index }: Row, error: ItemError): void {
  const { item } = entry.entry;
  const named = item.texts.length > 1 ? new ItemError(error.code, `${item.where(index)}: ${error.message}`) : error;
  if (item.id !== undefined) named.id = item.id;
  entry.error ??= named;
}

function outcomeOf({ entry: { item, origin }, vectors }: Answer, encoder: TextEncoder): string | ItemError {
  const refuse = (code: 'InvalidItem' | 'OutputTooLarge', message: string): ItemError => {
    const error = new ItemError(code, message);
    if (item.id !== undefined) error.id = item.id;
    return error;
  };
  const width = vectors[0]?.length ?? 0;
  const dimensions = item.dimensions ?? width;
  if (dimensions > width) return refuse('InvalidItem', `body.dimensions: expected a whole number from 1 to ${width}, got ${dimensions}`);
  const tokens = item.ids.reduce((sum, { length }) => sum + length, 0);
  const line = item.format(vectors.map((vector) => encoder.finish(vector, dimensions)), tokens, origin);
  if (line.length <= maxResultBytes) return line;
  return refuse('OutputTooLarge', `the embeddings of ${vectors.length} texts take ${line.length} characters, the limit of a result is ${maxResultBytes} bytes; put fewer texts into one line`);
}
