import { messageOf, shorten } from '../fatal.ts';
import { allocate, copyElements, type Dtype, type Elements, viewOf } from './dtypes.ts';
import type { BatchLimits, Place } from '../reading/chunk.ts';
import { formatResult, type Output } from './format.ts';
import { ItemError } from './item-error.ts';
import type { Item } from './items.ts';
import type { Signature } from './signature.ts';
import { type Row, sizeOf } from './tensors.ts';

export interface Feed {
  dims: readonly number[];
  data: Elements;
}

/** Runs one batch: one feed per input of the signature, one answer per output, both with the batch axis. */
export type Run = (feeds: readonly Feed[], batch: readonly Pick<Entry, 'slot'>[]) => Promise<Feed[]>;

/** An item and where it came from; `slot` is its place in the answer. */
export interface LineEntry<T> {
  slot: number;
  item: T;
  origin: Place;
  /** Shares no batch with others. */
  alone?: boolean;
}

export type Entry = LineEntry<Item>;

/**
 * Runs of items of equal shape within `limits`, in order: nothing is padded, so that no result knows of its companions.
 * The same entries always make the same batches. An item that is larger than the limits runs alone.
 */
export function batchesOf(entries: readonly Entry[], signature: Signature, limits: BatchLimits): Entry[][] {
  const most = signature.batched ? limits.items : 1;
  const open = new Map<string, Entry[]>();
  const batches: Entry[][] = [];
  for (const entry of entries) {
    if (entry.alone) {
      batches.push([entry]);
      continue;
    }
    const shape = signature.uniform ? '' : entry.item.rows.map(({ dims }) => dims.join('x')).join(' ');
    const limit = signature.uniform ? most : Math.min(most, Math.floor(limits.tokens / tokensOf(entry.item, signature)));
    let batch = open.get(shape);
    if (batch === undefined || batch.length >= limit) {
      batch = [];
      open.set(shape, batch);
      batches.push(batch);
    }
    batch.push(entry);
  }
  return batches;
}

/** Elements of the item along the free dimensions of the input that has the most of them. */
function tokensOf({ rows }: Item, { inputs }: Signature): number {
  return Math.max(1, ...inputs.map(({ shape }, input) => sizeOf((rows[input]?.dims ?? []).filter((_, axis) => shape[axis] === null))));
}

/** How many items a session takes at once, less after it ran out of memory. */
export interface Capacity {
  items: number;
}

/** ONNX Runtime's arena and CUDA, and the allocator of C++. */
export const outOfMemory = /failed to allocate memory|bad_alloc|out of memory|OUT_OF_MEMORY/i;

/**
 * Runs one batch and hands each entry's result line, or the ItemError that it failed with, to `settle`. A batch that
 * the model refuses, or that does not fit the memory, is halved until the items that cause it are found, so that the others get their results.
 */
export async function runBatch(
  batch: readonly Entry[],
  signature: Signature,
  run: Run,
  capacity: Capacity,
  settle: (entry: Entry, outcome: string | ItemError) => void,
): Promise<void> {
  const fail = (entry: Entry, error: ItemError): void => {
    if (entry.item.id !== undefined) error.id = entry.item.id;
    settle(entry, error);
  };
  if (batch.length > capacity.items) {
    // Which may shrink on the way.
    const size = capacity.items;
    for (let first = 0; first < batch.length; first += size) await runBatch(batch.slice(first, first + size), signature, run, capacity, settle);
    return;
  }
  let outputs: Output[];
  try {
    outputs = split(await run(feedsOf(batch, signature), batch), batch.length, signature);
  } catch (error) {
    if (error instanceof RunStopped) throw error;
    const [only] = batch;
    const message = messageOf(error);
    if (batch.length === 1 && only !== undefined) {
      const what = outOfMemory.test(message) ? 'there is not enough memory for the item, even alone' : 'the model refused the item';
      fail(only, new ItemError('InferenceFailed', shorten(`${what}: ${message}`, 500)));
      return;
    }
    const middle = batch.length >> 1;
    if (outOfMemory.test(message)) capacity.items = Math.min(capacity.items, middle);
    await runBatch(batch.slice(0, middle), signature, run, capacity, settle);
    await runBatch(batch.slice(middle), signature, run, capacity, settle);
    return;
  }
  batch.forEach((entry, row) => {
    try {
      settle(entry, formatResult(entry.item.id, entry.origin, outputs, row));
    } catch (error) {
      if (!(error instanceof ItemError)) throw error;
      fail(entry, error);
    }
  });
}

/** The process is leaving: no further run is begun. */
export class RunStopped extends Error {}

/** One feed per input, on the memory of the items where they lie behind each other. */
export function feedsOf(batch: readonly Pick<Entry, 'item'>[], { inputs }: Signature): Feed[] {
  return inputs.map((port, input) => {
    const rows = batch.map(({ item }) => item.rows[input] as Row);
    const { dims } = rows[0] as Row;
    return { dims: [batch.length, ...dims], data: asOne(rows) ?? copied(rows, port.dtype, sizeOf(dims)) };
  });
}

/** The elements of all rows, where each row lies behind the one before it in memory. */
function asOne(rows: readonly Row[]): Elements | undefined {
  const first = rows[0]?.data;
  if (first === undefined || Array.isArray(first)) return undefined;
  for (const [at, { data }] of rows.entries()) {
    if (Array.isArray(data) || data.buffer !== first.buffer || data.byteOffset !== first.byteOffset + at * first.byteLength) return undefined;
  }
  return viewOf(first, rows.length * first.length);
}

function copied(rows: readonly Row[], dtype: Dtype, size: number): Elements {
  const data = allocate(dtype, size * rows.length);
  for (const [at, row] of rows.entries()) copyElements(data, at * size, row.data);
  return data;
}

function split(answers: readonly Feed[], count: number, { outputs }: Signature): Output[] {
  return outputs.map((port, index) => {
    const { dims, data } = answers[index] as Feed;
    if (dims[0] !== count) throw new Error(`output "${port.name}" has the shape [${dims.join(',')}] for a batch of ${count}`);
    return { port, dims: dims.slice(1), data };
  });
}
