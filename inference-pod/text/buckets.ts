/** Anything that takes as many tokens as it says. */
export interface Sized {
  tokens: number;
  /** Shares no batch with others. */
  alone: boolean;
}

/** What one run may take: rows, and tokens with those that fill up shorter rows. */
export interface BucketLimits {
  rows: number;
  tokens: number;
}

/**
 * Batches of like length: by ascending length, so that little is filled up. The same rows always make the same batches.
 * A row that is larger than the limits runs alone. `rowTokens`: what a row takes beside others of the length.
 */
export function bucketed<T extends Sized>(rows: readonly T[], { rows: most, tokens }: BucketLimits, rowTokens: (longest: number) => number = (longest) => longest): T[][] {
  const batches = rows.filter(({ alone }) => alone).map((row) => [row]);
  // Array.sort is stable: rows of one length keep their order.
  const sorted = rows.filter(({ alone }) => !alone).sort((a, b) => a.tokens - b.tokens);
  let open: T[] = [];
  for (const row of sorted) {
    if (open.length > 0 && (open.length >= most || (open.length + 1) * rowTokens(row.tokens) > tokens)) {
      batches.push(open);
      open = [];
    }
    open.push(row);
  }
  if (open.length > 0) batches.push(open);
  return batches;
}
