/**
 * A run of whole lines on its way to a session: only what can be transferred between threads.
 * Lines of one group may share a batch, and lines of two groups never do. Groups are cut by the content of the shard
 * alone (`groups.ts`), so that a result never depends on where a worker started, stopped or checkpointed.
 */
export interface Chunk {
  /** The lines' bytes; line i is `bytes[starts[i], ends[i])`, without its line end. */
  bytes: Uint8Array<ArrayBuffer>;
  starts: Uint32Array<ArrayBuffer>;
  ends: Uint32Array<ArrayBuffer>;
  /** Byte offset of each line in its file. */
  offsets: Float64Array<ArrayBuffer>;
  /** Number of each line in its file, from 1; 0 where it is not known. */
  lines: Float64Array<ArrayBuffer>;
  /** Index into `files` of each line. */
  file: Uint32Array<ArrayBuffer>;
  files: string[];
  /** Length in bytes of each line that was too long to be held, else 0. */
  tooLong: Float64Array<ArrayBuffer>;
  /** Index one past the last line of each group. */
  groups: Uint32Array<ArrayBuffer>;
}

export interface ChunkResult {
  /** Whole lines, each with its line end. */
  results: Uint8Array<ArrayBuffer>;
  errors: Uint8Array<ArrayBuffer>;
  succeeded: number;
  failed: number;
  /** `file:line: code: message` of the first error. */
  firstError?: string;
  /** Milliseconds from taking up the chunk to its result. */
  elapsedMs: number;
}

export function transfersOf(chunk: Chunk): ArrayBuffer[] {
  const { bytes, starts, ends, offsets, lines, file, tooLong, groups } = chunk;
  return [bytes, starts, ends, offsets, lines, file, tooLong, groups].map(({ buffer }) => buffer);
}
