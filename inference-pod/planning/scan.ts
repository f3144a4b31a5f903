import { createHash } from 'node:crypto';
import { type Concatenation, type InputFile, InputReader } from '../reading/concatenation.ts';
import { isBlank, isByteOrderMark } from '../reading/lines.ts';
import type { ShardRange } from './cut.ts';

export interface Scan {
  shards: ShardRange[];
  /** Lines that are not blank. */
  items: number;
  exact: boolean;
  /** One per file, hex; absent where the files were not read whole. */
  sha256?: string[];
}

const newline = 0x0a;
const blockBytes = 1024 * 1024;

/** Reads everything once: shard boundaries at line ends, the exact number of items, the first line's number of each shard. */
export async function scanWhole(input: Concatenation, bytesPerShard: number, signal: AbortSignal): Promise<Scan> {
  const shards: ShardRange[] = [];
  const sha256: string[] = [];
  const block = Buffer.allocUnsafeSlow(blockBytes);
  let items = 0;
  let open: { start: number; line: number } | undefined;
  for (const [index, file] of input.files.entries()) {
    const hash = createHash('sha256');
    const base = input.starts[index] as number;
    const reader = await InputReader.open(file);
    let line = 1;
    let lineStart = 0;
    let content = false;
    const endLine = (next: number): void => {
      if (content) items += 1;
      open ??= { start: base + lineStart, line };
      if (base + next - open.start >= bytesPerShard) {
        shards.push({ ...open, end: base + next });
        open = undefined;
      }
      line += 1;
      lineStart = next;
      content = false;
    };
    try {
      for (let at = 0; at < file.size; ) {
        signal.throwIfAborted();
        const bytes = block.subarray(0, Math.min(blockBytes, file.size - at));
        await reader.read(bytes, at);
        hash.update(bytes);
        let head = at === 0 && isByteOrderMark(bytes) ? 3 : 0;
        for (;;) {
          const found = bytes.indexOf(newline, head);
          const end = found < 0 ? bytes.length : found;
          for (; !content && head < end; head++) content = !isBlank(bytes[head] as number);
          if (found < 0) break;
          endLine(at + found + 1);
          head = found + 1;
        }
        at += bytes.length;
      }
      if (lineStart < file.size) endLine(file.size);
    } finally {
      await reader.close();
    }
    sha256.push(hash.digest('hex'));
  }
  if (open) shards.push({ ...open, end: input.total });
  return { shards, items, exact: true, sha256 };
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
    const reader = await InputReader.open(file);
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
async function lineEndAfter(reader: InputReader, file: InputFile, from: number, sample: { bytes: number; lines: number }): Promise<number> {
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
