/** How the items of a job are put together, the same for all its workers, so that results do not depend on who runs what. */
export interface BatchPlan {
  /** Most items of one run. */
  size: number;
  /** Lines among which items of equal shape are sought. */
  window: number;
}

/** A run, and a window, take no longer than this: checkpoints, pauses and SIGTERM wait for them. */
const longestMs = 500;
const maxWindow = 1024;
const usualSize = 32;
/** Measuring takes about this share of a job's work at most, and gives up what would take more. */
export const measuringShare = 0.03;
/** Rounds over all sizes. The first of them warms up, and the least of all counts. */
export const leastRounds = 3;
/** The smallest batch that is at most this much slower than the fastest: more would only cost memory and time to a checkpoint. */
const slack = 1.05;

export interface Knowledge {
  maxSize: number;
  /** Every item has the same shape. */
  uniform: boolean;
  /** Milliseconds that an item takes; 0 where nothing could be measured. */
  itemMs: number;
}

export function unmeasured({ maxSize, uniform, itemMs }: Knowledge): BatchPlan {
  return { size: Math.min(usualSize, mostAtOnce({ maxSize, itemMs })), window: windowOf({ maxSize, uniform, itemMs }, Math.min(usualSize, maxSize)) };
}

/**
 * Sizes to try in a job of `items`, ascending: the powers of two up to the most that may be, or every second of them where
 * all would take too large a share of the job; none where that does too. `samples` items are there to try them with.
 */
export function candidates({ maxSize, itemMs }: Omit<Knowledge, 'uniform'>, samples: number, items: number): number[] {
  const most = Math.min(mostAtOnce({ maxSize, itemMs }), Math.max(1, samples));
  const all = Array.from({ length: Math.floor(Math.log2(most)) + 1 }, (_, exponent) => 2 ** exponent);
  const second = all.filter((_, index) => (all.length - 1 - index) % 2 === 0);
  const isCheap = (sizes: readonly number[]): boolean => leastRounds * sizes.reduce((sum, size) => sum + size, 0) <= items * measuringShare;
  return [all, second].find(isCheap) ?? [];
}

/** From the milliseconds per item of each size that was tried, in ascending order of size. */
export function choose(measured: readonly { size: number; itemMs: number }[], known: Knowledge): BatchPlan {
  const best = Math.min(...measured.map(({ itemMs }) => itemMs));
  const chosen = measured.find(({ itemMs }) => itemMs <= best * slack);
  if (chosen === undefined) return unmeasured(known);
  return { size: chosen.size, window: windowOf({ ...known, itemMs: chosen.itemMs }, chosen.size) };
}

function mostAtOnce({ maxSize, itemMs }: { maxSize: number; itemMs: number }): number {
  return Math.max(1, Math.min(maxSize, Math.floor(longestMs / Math.max(itemMs, 1e-3))));
}

function windowOf({ uniform, itemMs }: Knowledge, size: number): number {
  if (uniform) return size;
  return Math.max(size, Math.min(maxWindow, Math.floor(longestMs / Math.max(itemMs, 1e-3))));
}
