/** `[start, end)` in global byte offsets; `end` is the start of a line or the end of the input. */
export interface ShardRange {
  start: number;
  end: number;
  /** Number of the first line in its file, from 1; 0 where it is not known. */
  line: number;
}

export const maxShards = 10_000;

/** Bytes after which a shard ends, at the next line end. */
export function shardBytes(total: number, { targetBytes, maxWorkers }: { targetBytes: number; maxWorkers: number }): number {
  const wanted = Math.min(targetBytes, Math.floor(total / (4 * maxWorkers)));
  return Math.max(1, wanted, Math.ceil(total / maxShards));
}
