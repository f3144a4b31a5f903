import type { FileReader } from '../store.ts';

const blockBytes = 1024 * 1024;
const blocksAhead = 4;

interface Block {
  start: number;
  end: number;
  bytes: Promise<Buffer>;
}

/** Bytes `[start, end)` of a file. */
export type Fetch = (start: number, end: number, signal: AbortSignal) => Promise<Buffer>;

/**
 * Reads a remote file in few large requests: a read that goes on where the last one ended is answered from blocks that
 * were asked for ahead; any other asks for what it needs and no more. Holds at most five blocks.
 */
export class ReadAhead implements FileReader {
  readonly #fetch: Fetch;
  readonly #end: number;
  readonly #closed = new AbortController();
  #blocks: Block[] = [];
  /** Where the last read ended. */
  #at = -1;

  /** Nothing at or behind `end` is asked for. */
  constructor(fetch: Fetch, end: number) {
    this.#fetch = fetch;
    this.#end = end;
  }

  async read(into: Uint8Array, position: number): Promise<void> {
    const goesOn = position === this.#at;
    if (!goesOn) this.#blocks = [];
    const end = position + into.length;
    for (let at = position; at < end; ) {
      while (this.#blocks.length > 0 && (this.#blocks[0] as Block).end <= at) this.#blocks.shift();
      if (goesOn) this.#askAhead(at);
      else if (this.#blocks.length === 0) this.#ask(at, end);
      const { start, bytes } = this.#blocks[0] as Block;
      const part = (await bytes).subarray(at - start, end - start);
      into.set(part, at - position);
      at += part.length;
    }
    this.#at = end;
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#blocks = [];
  }

  #askAhead(at: number): void {
    let next = this.#blocks.at(-1)?.end ?? at;
    while (this.#blocks.length <= blocksAhead && next < this.#end) {
      const end = Math.min(next + blockBytes, this.#end);
      this.#ask(next, end);
      next = end;
    }
  }

  #ask(start: number, end: number): void {
    const bytes = this.#fetch(start, end, this.#closed.signal);
    // It is awaited when it is read, if ever.
    bytes.catch(() => undefined);
    this.#blocks.push({ start, end, bytes });
  }
}
