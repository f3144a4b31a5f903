import type { ChunkResult } from '../reading/chunk.ts';
import type { Position } from '../reading/lines.ts';
import { describeBody, type Footer } from './segment.ts';

/** Results that are not durable yet: the next segment of a shard. */
export class OpenSegment {
  readonly #start: Position;
  readonly #results: Uint8Array[] = [];
  readonly #errors: Uint8Array[] = [];
  readonly #items = { succeeded: 0, failed: 0 };
  #end: Position;
  #bytes = 0;
  #firstError: string | undefined;
  /** When the first result came in. */
  #since: number | undefined;

  constructor(start: Position) {
    this.#start = start;
    this.#end = start;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get since(): number | undefined {
    return this.#since;
  }

  get isEmpty(): boolean {
    return this.#end.offset === this.#start.offset;
  }

  append(result: ChunkResult, end: Position, now: number): void {
    this.#results.push(result.results);
    this.#errors.push(result.errors);
    this.#items.succeeded += result.succeeded;
    this.#items.failed += result.failed;
    this.#bytes += result.results.length + result.errors.length;
    this.#firstError ??= result.firstError;
    this.#since ??= now;
    this.#end = end;
  }

  /** The input up to `end` held no further item. */
  extend(end: Position): void {
    this.#end = end;
  }

  close(shard: number, generation: number): { footer: Footer; body: Uint8Array[] } {
    return {
      body: [...this.#results, ...this.#errors],
      footer: {
        v: 1,
        shard,
        generation,
        start: this.#start.offset,
        end: this.#end.offset,
        line: this.#end.line,
        items: { ...this.#items },
        ...describeBody(this.#results, this.#errors),
        ...(this.#firstError === undefined ? {} : { firstError: this.#firstError }),
      },
    };
  }
}
