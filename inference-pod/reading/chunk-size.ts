import type { ChunkTarget } from './groups.ts';

const maxLines = 2048;
const maxBytes = 256 * 1024;

/**
 * How many lines go to a session at once: enough that handing them over costs nothing beside the work, few enough that
 * a checkpoint, a pause or SIGTERM never waits long. Aims at `shortMs` to `longMs` of work per chunk.
 */
export class ChunkSize {
  readonly #shortMs: number;
  readonly #longMs: number;
  #lines: number;

  constructor(shortMs = 20, longMs = 100, lines = 32) {
    this.#shortMs = shortMs;
    this.#longMs = longMs;
    this.#lines = lines;
  }

  get target(): ChunkTarget {
    return { lines: this.#lines, bytes: maxBytes };
  }

  /** A chunk of `lines` took `elapsedMs`. */
  observe(lines: number, elapsedMs: number): void {
    // A chunk that ended early, with its shard, says nothing about the size.
    if (elapsedMs < this.#shortMs && lines >= this.#lines) this.#lines = Math.min(maxLines, this.#lines * 2);
    else if (elapsedMs > this.#longMs) this.#lines = Math.max(1, Math.floor(this.#lines / 2));
  }
}
