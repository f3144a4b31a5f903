import type { Signature } from '../engine/signature.ts';
import type { BatchPlan } from '../planning/batch-plan.ts';
import type { BatchLimits, Chunk } from './chunk.ts';
import type { Concatenation } from './concatenation.ts';
import type { LineReader, Position } from './lines.ts';
import { SpareBuffers } from './spare-buffers.ts';
import { type Suspects, suspicionOf } from './suspects.ts';

/** When a group of lines is full. Fixed for a job, since batches are made within groups. */
export interface GroupLimits {
  lines: number;
  bytes: number;
}

/**
 * Where every item has one shape, a group is one batch. Where shapes vary, a group is the window in which equal shapes
 * find each other.
 */
export function groupLimits(signature: Signature, { size, window }: BatchPlan): GroupLimits {
  return { lines: signature.uniform ? size : window, bytes: 1024 * 1024 };
}

/** Lines and bytes after which a chunk is sent, in whole groups. Free to vary: it changes no result. */
export interface ChunkTarget {
  lines: number;
  bytes: number;
}

export interface CutChunk {
  chunk: Chunk;
  /** The position behind the chunk: the start of a group. */
  next: Position;
}

/** The next whole groups as one chunk, or undefined at the end. */
export async function readChunk(
  reader: LineReader,
  input: Concatenation,
  limits: GroupLimits,
  target: ChunkTarget,
  batch: BatchLimits,
  suspects: Suspects = [],
  spares = new SpareBuffers(),
): Promise<CutChunk | undefined> {
  let bytes = spares.take(Math.max(4096, target.bytes));
  const starts: number[] = [];
  const ends: number[] = [];
  const offsets: number[] = [];
  const lines: number[] = [];
  const file: number[] = [];
  const files: string[] = [];
  const headers: string[] = [];
  const tooLong: number[] = [];
  const suspicion: number[] = [];
  const groups: number[] = [];
  let size = 0;
  let groupLines = 0;
  let groupBytes = 0;
  let lastFile = -1;
  const closeGroup = (): void => {
    if (groupLines === 0) return;
    groups.push(starts.length);
    groupLines = groupBytes = 0;
  };
  for (;;) {
    const line = reader.buffered() ?? (await reader.next());
    if (line === undefined) break;
    if (line.file !== lastFile) {
      files.push((input.files[line.file] as Concatenation['files'][number]).path);
      headers.push(reader.header);
      lastFile = line.file;
    }
    if (size + line.bytes.length > bytes.length) {
      const larger = spares.take(Math.max(bytes.length * 2, size + line.bytes.length));
      larger.set(bytes.subarray(0, size));
      spares.give(bytes.buffer);
      bytes = larger;
    }
    bytes.set(line.bytes, size);
    starts.push(size);
    size += line.bytes.length;
    ends.push(size);
    offsets.push(line.offset);
    lines.push(line.line);
    file.push(files.length - 1);
    tooLong.push(line.tooLong);
    suspicion.push(suspicionOf(suspects, (input.starts[line.file] as number) + line.offset));
    groupLines += 1;
    groupBytes += line.span;
    if (groupLines >= limits.lines || groupBytes >= limits.bytes) {
      closeGroup();
      if (starts.length >= target.lines || size >= target.bytes) break;
    }
  }
  closeGroup();
  const next = reader.position;
  if (starts.length === 0) {
    spares.give(bytes.buffer);
    return undefined;
  }
  return {
    next,
    chunk: {
      bytes: bytes.subarray(0, size),
      starts: Uint32Array.from(starts),
      ends: Uint32Array.from(ends),
      offsets: Float64Array.from(offsets),
      lines: Float64Array.from(lines),
      file: Uint32Array.from(file),
      files,
      headers,
      tooLong: Float64Array.from(tooLong),
      suspicion: Uint8Array.from(suspicion),
      groups: Uint32Array.from(groups),
      batch,
    },
  };
}
