import { PoolStopped } from '../engine/pool.ts';
import type { ChunkResult } from './chunk.ts';
import type { Position } from './lines.ts';

/** A chunk in work; `next` is the position behind it. */
export interface InFlight {
  next: Position;
  lines: number;
  result: Promise<ChunkResult>;
}

/** What comes next in the order of the input. */
export type Next =
  | { kind: 'result'; chunk: InFlight; result: ChunkResult }
  /** The input ends here. */
  | { kind: 'end'; end: Position }
  /** No more will come, though the input has not ended. */
  | { kind: 'closed' }
  /** Nothing came in time. */
  | { kind: 'late' };

interface Entry {
  chunk: InFlight;
  settled?: { result: ChunkResult } | { error: unknown };
}

/** Chunks in the order of the input, whatever order the sessions finish them in; bounded by `capacity`. */
export class ChunkQueue {
  readonly #capacity: number;
  readonly #entries: Entry[] = [];
  #closing: { end?: Position; error?: unknown } | undefined;
  #changed = Promise.withResolvers<void>();

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Resolves when there is room, or the queue is closed. Rejects with the signal's reason. */
  async hasRoom(signal: AbortSignal): Promise<void> {
    const onAbort = (): void => this.#change();
    signal.addEventListener('abort', onAbort);
    try {
      while (this.#entries.length >= this.#capacity && this.#closing === undefined && !signal.aborted) await this.#changed.promise;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
    signal.throwIfAborted();
  }

  push(chunk: InFlight): void {
    const entry: Entry = { chunk };
    this.#entries.push(entry);
    chunk.result.then(
      (result) => {
        entry.settled = { result };
        this.#change();
      },
      (error: unknown) => {
        entry.settled = { error };
        this.#change();
      },
    );
  }

  end(end: Position): void {
    this.#closing ??= { end };
    this.#change();
  }

  /** `next` rejects with `error` after the chunks that are in the queue. */
  fail(error: unknown): void {
    this.#closing ??= { error };
    this.#change();
  }

  close(): void {
    this.#closing ??= {};
    this.#change();
  }

  /** The next result, at most `waitMs` from now. */
  async next(waitMs?: number): Promise<Next> {
    let late = false;
    const timer =
      waitMs === undefined
        ? undefined
        : setTimeout(() => {
            late = true;
            this.#change();
          }, Math.max(0, waitMs));
    try {
      for (;;) {
        const next = this.#take();
        if (next) return next;
        if (late) return { kind: 'late' };
        await this.#changed.promise;
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #take(): Next | undefined {
    const head = this.#entries[0];
    if (head?.settled) {
      if ('error' in head.settled) {
        if (head.settled.error instanceof PoolStopped) return { kind: 'closed' };
        throw head.settled.error;
      }
      this.#entries.shift();
      this.#change();
      return { kind: 'result', chunk: head.chunk, result: head.settled.result };
    }
    if (head || !this.#closing) return undefined;
    if ('error' in this.#closing) throw this.#closing.error;
    return this.#closing.end ? { kind: 'end', end: this.#closing.end } : { kind: 'closed' };
  }

  #change(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    resolve();
  }
}
