/** A longer line than most: its buffer is not kept. */
const mostBytes = 4 * 1024 * 1024;
/** Kept at a time. */
const mostBuffers = 8;

/**
 * Buffers of chunks that are done, for chunks to come. New ones of this size cost a page fault every 4 KiB, and as memory
 * outside of the heap they call for a full collection again and again.
 */
export class SpareBuffers {
  readonly #buffers: ArrayBuffer[] = [];

  /** At least `bytes`, which hold anything. */
  take(bytes: number): Uint8Array<ArrayBuffer> {
    const at = this.#buffers.findLastIndex(({ byteLength }) => byteLength >= bytes);
    const [buffer] = at < 0 ? [] : this.#buffers.splice(at, 1);
    return new Uint8Array(buffer ?? new ArrayBuffer(bytes));
  }

  give(buffer: ArrayBuffer): void {
    if (buffer.byteLength > mostBytes) return;
    this.#buffers.push(buffer);
    // The last ones are the largest: they have grown with the input.
    if (this.#buffers.length > mostBuffers) this.#buffers.shift();
  }
}
