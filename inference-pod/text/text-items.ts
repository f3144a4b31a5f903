import { type Layout, readCsvItem } from '../engine/csv-items.ts';
import { formatOrigin } from '../engine/format.ts';
import { ItemError } from '../engine/item-error.ts';
import { isRecord, own, parseJson, readId } from '../engine/items.ts';
import { mostCharacters, writeFloat32 } from '../engine/numbers.ts';
import type { Signature } from '../engine/signature.ts';
import { kindOf, NeedsExactIntegers, type Row } from '../engine/tensors.ts';
import type { Place } from '../reading/chunk.ts';

/** Text, or the token ids that stand for one. */
export type Text = string | readonly unknown[];

export interface TextItem {
  /** The id as JSON text; absent when the item has none. */
  id?: string;
  texts: readonly Text[];
  /** Names a text in messages. */
  where(index: number): string;
  /** Numbers of each embedding, less than the model gives; absent: all. */
  dimensions?: number;
  /** The result line, with its line end; `tokens` are those of all texts. */
  format(embeddings: readonly Float32Array[], tokens: number, origin: Place): string;
}

/** One line: `{"id": string | number, "text": string}`; `id` may be absent, other keys are ignored. Throws ItemError. */
export function parseTextItem(line: string): TextItem {
  try {
    return readItem(parseJson(line, false), false);
  } catch (error) {
    if (!(error instanceof NeedsExactIntegers)) throw error;
  }
  return readItem(parseJson(line, true), true);
}

function readItem(value: unknown, exact: boolean): TextItem {
  if (!isRecord(value)) throw new ItemError('InvalidItem', `expected an object {"id", "text"}, got ${kindOf(value)}`);
  const id = readId(own(value, 'id'), exact);
  const text = own(value, 'text');
  if (typeof text === 'string') return textItem(id, text, 'text');
  const error = new ItemError('InvalidItem', `text: expected text, got ${kindOf(text)}`);
  if (id !== undefined) error.id = id;
  throw error;
}

/** A record with the column "text". Throws ItemError. */
export function readCsvText(record: string, layout: Layout, signature: Signature): TextItem {
  const { id, rows } = readCsvItem(record, layout, signature);
  const [row] = rows as [Row];
  return textItem(id, (row.data as string[])[0] as string, 'column "text"');
}

function textItem(id: string | undefined, text: string, where: string): TextItem {
  return {
    ...(id === undefined ? {} : { id }),
    texts: [text],
    where: () => where,
    format: ([embedding], _tokens, origin) => `{${id === undefined ? formatOrigin(origin, origin.line === 0) : `"id":${id}`},"embedding":${formatVector(embedding as Float32Array)}}\n`,
  };
}

/** The numbers as JSON, each in the fewest digits that give it back. */
export function formatVector(vector: Float32Array): string {
  const text = Buffer.allocUnsafe(vector.length * (mostCharacters + 1) + 2);
  let length = 0;
  for (let i = 0; i < vector.length; i++) {
    text[length++] = i === 0 ? 0x5b : 0x2c;
    length = writeFloat32(vector[i] as number, text, length);
  }
  text[length++] = 0x5d;
  return text.toString('latin1', 0, length);
}
