import { createHash, type Hash } from 'node:crypto';
import { FatalError } from '../fatal.ts';
import { inOrder } from '../in-order.ts';
import { type Concatenation, concatenate, type InputFile } from '../reading/concatenation.ts';
import { Unpacking } from '../reading/input-reader.ts';
import { freeExpansion, maxExpansion } from '../reading/limits.ts';
import { isBlank, isByteOrderMark } from '../reading/lines.ts';
import { type Format, RecordEnd } from '../reading/record-end.ts';
import type { FileReader, InputStore } from '../stores/store.ts';
import type { ShardRange } from './cut.ts';

export interface Scan {
  shards: ShardRange[];
  /** Lines that are not blank, but for headers. */
  items: number;
  exact: boolean;
  /** One per file, hex; absent where the files were not read whole. */
  sha256?: string[];
}

const newline = 0x0a;
const blockBytes = 1024 * 1024;
/** Small files are read some at a time: in a remote store each one is a round trip. */
const smallBytes = 256 * 1024;
const smallAtOnce = 16;

export interface WholeScan extends Scan {
  /** The input with the sizes that packed files turned out to have. */
  input: Concatenation;
}

/**
 * Reads everything once: shard boundaries at record ends, the exact number of items, the first line's number of each
 * shard. A packed file is one shard, since it can only be read from its start. Throws FatalError.
 */
export async function scanWhole(input: Concatenation, bytesPerShard: number, signal: AbortSignal, format: Format = 'jsonl'): Promise<WholeScan> {
  const shards: ShardRange[] = [];
  const sha256: string[] = [];
  const files: InputFile[] = [];
  const recordEnd = new RecordEnd(format);
  let items = 0;
  let base = 0;
  let open: { start: number; line: number } | undefined;
  const close = (end: number): void => {
    if (open && end > open.start) shards.push({ ...open, end });
    open = undefined;
  };
  for await (const { file, whole } of inOrder(input.files, smallAtOnce, async (one) => ({ file: one, whole: await readSmall(input.store, one) }))) {
    const hash = createHash('sha256');
    const packed = file.packed !== undefined;
    if (packed) close(base);
    let line = 1;
    let recordStart = 0;
    let content = false;
    let at = 0;
    const endRecord = (next: number): void => {
      if (content && !(format === 'csv' && recordStart === 0)) items += 1;
      open ??= { start: base + recordStart, line };
      if (!packed && base + next - open.start >= bytesPerShard) close(base + next);
      line += 1 + recordEnd.newlines;
      recordStart = next;
      content = false;
      recordEnd.reset();
    };
    for await (const bytes of whole ? once(whole, hash) : blocksOf(input.store, file, (part) => hash.update(part))) {
      signal.throwIfAborted();
      let head = at === 0 && isByteOrderMark(bytes) ? 3 : 0;
      for (;;) {
        const found = recordEnd.find(bytes, head);
        const end = found < 0 ? bytes.length : found;
        for (; !content && head < end; head++) content = !isBlank(bytes[head] as number);
        if (found < 0) break;
        endRecord(at + found + 1);
        head = found + 1;
      }
      at += bytes.length;
    }
    if (recordEnd.inQuotes) throw new FatalError('InputInvalid', `input "${file.path}": the quote that opens in the record at line ${line} is never closed; quotes within quotes are doubled`);
    if (recordStart < at) endRecord(at);
    if (packed) close(base + at);
    base += at;
    files.push({ ...file, size: at });
    sha256.push(hash.digest('hex'));
  }
  close(base);
  return { input: concatenate(input.store, files), shards, items, exact: true, sha256 };
}

/** A small file that is not packed; undefined for others. */
async function readSmall(store: InputStore, file: InputFile): Promise<Buffer | undefined> {
  if (file.packed !== undefined || file.size > smallBytes || file.size === 0) return undefined;
  const whole = Buffer.allocUnsafeSlow(file.size);
  const reader = await store.open(file);
  try {
    await reader.read(whole, 0);
  } finally {
    await reader.close();
  }
  return whole;
}

function* once(whole: Buffer, hash: Hash): Generator<Buffer> {
  hash.update(whole);
  yield whole;
}

/** The text of a file in blocks; `onStored` sees the bytes that are stored. Blocks are valid until the next one. */
async function* blocksOf(store: InputStore, file: InputFile, onStored: (bytes: Buffer) => void): AsyncGenerator<Buffer> {
  if (file.packed !== undefined) {
    yield* unpacked(store, file, file.packed, onStored);
    return;
  }
  const block = Buffer.allocUnsafeSlow(Math.min(blockBytes, file.size));
  const reader = await store.open(file);
  try {
    for (let at = 0; at < file.size; at += block.length) {
      const bytes = block.subarray(0, Math.min(blockBytes, file.size - at));
      await reader.read(bytes, at);
      onStored(bytes);
      yield bytes;
    }
  } finally {
    await reader.close();
  }
}

async function* unpacked(store: InputStore, file: InputFile, packed: number, onStored: (bytes: Buffer) => void): AsyncGenerator<Buffer> {
  const unpacking = new Unpacking(store, file, onStored);
  const most = Math.max(freeExpansion, packed * maxExpansion);
  try {
    let total = 0;
    for (;;) {
      const bytes = await unpacking.next();
      if (bytes === undefined) return;
      total += bytes.length;
      if (total > most) {
        throw new FatalError('InputInvalid', `input "${file.path}" has ${packed} bytes and unpacks to more than ${most}, which is taken for an attack; give it unpacked if it is meant`);
      }
      yield bytes;
    }
  } finally {
    await unpacking.close();
  }
}

/**
 * For inputs too large to read first: looks for the line end behind each boundary, and guesses the number of items from
 * the length of the lines there.
 */
export async function scanBoundaries(input: Concatenation, bytesPerShard: number, signal: AbortSignal): Promise<Scan> {
  const shards: ShardRange[] = [];
  const sample = { bytes: 0, lines: 0 };
  // Only the start of a file has a line number that is known without reading what is before it.
  const fileStarts = new Set(input.starts);
  const lineAt = (offset: number): number => (fileStarts.has(offset) ? 1 : 0);
  let start = 0;
  for (const [index, file] of input.files.entries()) {
    const base = input.starts[index] as number;
    if (file.size === 0 || base + file.size - start < bytesPerShard) continue;
    const reader = await input.store.open(file);
    try {
      while (base + file.size - start >= bytesPerShard) {
        signal.throwIfAborted();
        const end = base + (await lineEndAfter(reader, file, start + bytesPerShard - base - 1, sample));
        shards.push({ start, end, line: lineAt(start) });
        start = end;
      }
    } finally {
      await reader.close();
    }
  }
  if (start < input.total) shards.push({ start, end: input.total, line: lineAt(start) });
  const mean = sample.bytes / Math.max(1, sample.lines);
  return { shards, items: Math.max(shards.length, Math.round(input.total / Math.max(1, mean))), exact: false };
}

/** Offset behind the first newline at or after `from`, or the end of the file. */
async function lineEndAfter(reader: FileReader, file: InputFile, from: number, sample: { bytes: number; lines: number }): Promise<number> {
  const block = Buffer.allocUnsafe(64 * 1024);
  for (let at = from; at < file.size; at += block.length) {
    const bytes = block.subarray(0, Math.min(block.length, file.size - at));
    await reader.read(bytes, at);
    const found = bytes.indexOf(newline);
    sample.bytes += bytes.length;
    for (let head = found; head >= 0; head = bytes.indexOf(newline, head + 1)) sample.lines += 1;
    if (found >= 0) return at + found + 1;
  }
  return file.size;
}
