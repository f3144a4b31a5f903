import { isUtf8 } from 'node:buffer';
import { maxLineBytes } from '../reading/limits.ts';
import { shorten } from '../fatal.ts';
import { type Chunk, type ChunkResult, type Place, placeOf, placeText } from '../reading/chunk.ts';
import type { Format } from '../reading/record-end.ts';
import { suspicion } from '../reading/suspects.ts';
import { batchesOf, type Capacity, type LineEntry, type Run, runBatch } from './batch.ts';
import { formatError } from './format.ts';
import { ItemError } from './item-error.ts';
import { ItemScanner } from './item-scanner.ts';
import { type Layout, layoutOf, readCsvItem } from './csv-items.ts';
import { type Item, parseItem } from './items.ts';
import type { Signature } from './signature.ts';

export type ChunkOutcome = Omit<ChunkResult, 'elapsedMs' | 'costMs' | 'runs' | 'spent'>;

/** What is done with lines: how one is read, how those of a group are run, how an error is written. */
export interface LineTask<T extends { id?: string }> {
  /** A group begins; what was read of those before is not needed any more. */
  begin?(): void;
  /** The usual line, from its bytes; undefined where `read` is to say what the line is. */
  scan?(bytes: Buffer, start: number, end: number): T | undefined;
  /** Throws ItemError. */
  read(line: string, slot: number): T;
  /** Settles every entry. The same entries always make the same batches. */
  run(entries: readonly LineEntry<T>[], settle: (entry: LineEntry<T>, outcome: string | ItemError) => void): Promise<void>;
  formatError(error: ItemError, origin: Place): string;
}

/** Tensors: see `runLines`. `scanner` serves one chunk at a time. */
export async function runChunk(
  chunk: Chunk,
  signature: Signature,
  run: Run,
  format: Format = 'jsonl',
  capacity: Capacity = { items: Number.POSITIVE_INFINITY },
  scanner = ItemScanner.for(signature),
): Promise<ChunkOutcome> {
  return await runLines<Item>(chunk, {
    ...(scanner === undefined || format !== 'jsonl' ? {} : { begin: () => scanner.clear(), scan: (bytes, start, end) => scanner.scan(bytes, start, end) }),
    read: parserOf(chunk, signature, format),
    formatError,
    async run(entries, settle) {
      for (const batch of batchesOf(entries, signature, chunk.batch)) await runBatch(batch, signature, run, capacity, settle);
    },
  });
}

/** Lines in, result and error lines out, both in the order of the input. Pure apart from what the task runs. */
export async function runLines<T extends { id?: string }>(chunk: Chunk, task: LineTask<T>): Promise<ChunkOutcome> {
  const outcomes = new Array<string | ItemError>(chunk.starts.length);
  const whole = Buffer.from(chunk.bytes.buffer, chunk.bytes.byteOffset, chunk.bytes.byteLength);
  let first = 0;
  for (const end of chunk.groups) {
    const entries: LineEntry<T>[] = [];
    task.begin?.();
    for (let slot = first; slot < end; slot++) {
      try {
        const item = task.scan?.(whole, chunk.starts[slot] as number, chunk.ends[slot] as number) ?? task.read(lineOf(chunk, whole, slot), slot);
        const suspected = chunk.suspicion[slot] as number;
        if (suspected === suspicion.culprit) throw timedOut(item.id);
        entries.push({ slot, item, origin: placeOf(chunk, slot), ...(suspected === suspicion.none ? {} : { alone: true }) });
      } catch (error) {
        if (!(error instanceof ItemError)) throw error;
        outcomes[slot] = error;
      }
    }
    await task.run(entries, ({ slot }, outcome) => {
      outcomes[slot] = outcome;
    });
    first = end;
  }
  return join(chunk, outcomes, task.formatError);
}

function parserOf({ file, headers }: Chunk, signature: Signature, format: Format): (line: string, slot: number) => Item {
  if (format === 'jsonl') return (line) => parseItem(line, signature);
  const layouts = new Map<number, Layout>();
  return (line, slot) => {
    const index = file[slot] as number;
    let layout = layouts.get(index);
    if (layout === undefined) {
      layout = layoutOf(headers[index] as string, signature);
      layouts.set(index, layout);
    }
    return readCsvItem(line, layout, signature);
  };
}

function timedOut(id: string | undefined): ItemError {
  const error = new ItemError('TimedOut', 'the model did not return within spec.batching.timeoutSeconds when it ran this item alone');
  if (id !== undefined) error.id = id;
  return error;
}

function lineOf(chunk: Chunk, whole: Buffer, slot: number): string {
  const tooLong = chunk.tooLong[slot] as number;
  if (tooLong > 0) throw new ItemError('LineTooLong', `the line has ${tooLong} bytes, the limit is ${maxLineBytes}`);
  const line = whole.subarray(chunk.starts[slot], chunk.ends[slot]);
  if (!isUtf8(line)) throw new ItemError('InvalidUtf8', 'the line is not valid UTF-8');
  return line.toString('utf8');
}

function join(chunk: Chunk, outcomes: readonly (string | ItemError)[], write: LineTask<never>['formatError']): ChunkOutcome {
  const results: string[] = [];
  const errors: string[] = [];
  let firstError: string | undefined;
  outcomes.forEach((outcome, slot) => {
    if (typeof outcome === 'string') {
      results.push(outcome);
      return;
    }
    const place = placeOf(chunk, slot);
    errors.push(write(outcome, place));
    firstError ??= shorten(`${placeText(place)}: ${outcome.code}: ${outcome.message}`, 300);
  });
  return {
    results: encode(results),
    errors: encode(errors),
    succeeded: results.length,
    failed: errors.length,
    ...(firstError === undefined ? {} : { firstError }),
  };
}

/** In a buffer of its own: Node's small buffers share one, which must not be transferred. */
function encode(lines: readonly string[]): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(lines.join(''));
}
