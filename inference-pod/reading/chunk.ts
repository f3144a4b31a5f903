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
  /** The header of each of `files`; empty where the format has none. */
  headers: string[];
  /** Length in bytes of each line that was too long to be held, else 0. */
  tooLong: Float64Array<ArrayBuffer>;
  /** For each line, how far it is suspected of keeping the model busy for ever: see `suspects.ts`. */
  suspicion: Uint8Array<ArrayBuffer>;
  /** Index one past the last line of each group. */
  groups: Uint32Array<ArrayBuffer>;
  batch: BatchLimits;
}

/** What one run may take: items, and elements along free dimensions over all its items. */
export interface BatchLimits {
  items: number;
  tokens: number;
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
  /** What it cost: CPU time where one thread did it all, which does not depend on what else the machine does; else `elapsedMs`. */
  costMs: number;
  runs: RunTimes;
  /** The memory of the chunk's bytes, which is not needed any more. */
  spent?: ArrayBuffer;
}

/** The model runs that a chunk took. */
export interface RunTimes {
  /** Milliseconds of each. */
  ms: number[];
  /** Items that the model refused when it ran them alone, since the last run that succeeded. */
  failuresInARow: number;
  anySucceeded: boolean;
}

/** What is handed over; the places of the lines are copied, so that both sides can tell them. */
export function transfersOf({ bytes, starts, ends, tooLong, suspicion, groups }: Chunk): ArrayBuffer[] {
  return [bytes, starts, ends, tooLong, suspicion, groups].map(({ buffer }) => buffer);
}

/** Where a line is: `offset` in its file, `line` 0 where it is not known. */
export interface Place {
  file: string;
  line: number;
  offset: number;
}

export function placeOf({ file, files, lines, offsets }: Chunk, slot: number): Place {
  return { file: files[file[slot] as number] as string, line: lines[slot] as number, offset: offsets[slot] as number };
}

export function placeText({ file, line, offset }: Place): string {
  return line > 0 ? `${file}:${line}` : `${file} at byte ${offset}`;
}
