import { createHash } from 'node:crypto';
import { inOrder } from '../in-order.ts';
import type { ShardRange } from '../planning/cut.ts';
import type { Footer } from '../segments/segment.ts';
import { followChain, readSegment, segmentName, type ShardFolder } from '../segments/store.ts';
import type { Origin, OutputStore, OutputWriter } from '../stores/store.ts';

/** Shards whose chains are followed at once, and segments that are read ahead: each is a round trip to the store. */
const chainsAtOnce = 16;
const segmentsAtOnce = 3;

/** A stored segment that is to be joined. */
export interface Piece {
  place: ShardFolder;
  start: number;
  resultsBytes: number;
  errorsBytes: number;
}

export interface ShardPieces {
  pieces: Piece[];
  succeeded: number;
  failed: number;
}

/** The pieces of each shard, in order. Throws when a shard is not complete. */
export async function* findPieces(shards: Iterable<{ place: ShardFolder; range: ShardRange }>, signal: AbortSignal): AsyncGenerator<ShardPieces> {
  yield* inOrder(shards, chainsAtOnce, async ({ place, range }) => {
    signal.throwIfAborted();
    const chain = await followChain(place, range);
    const reached = chain.at(-1)?.end ?? range.start;
    if (reached !== range.end) throw new Error(`lease to finish, but shard ${place.shard} is stored up to ${reached} of ${range.end}`);
    const sum = (count: (footer: Footer) => number): number => chain.reduce((total, footer) => total + count(footer), 0);
    return {
      pieces: chain.map(({ start, resultsBytes, errorsBytes }) => ({ place, start, resultsBytes, errorsBytes })),
      succeeded: sum(({ items }) => items.succeeded),
      failed: sum(({ items }) => items.failed),
    };
  });
}

/** Writes the lines of all pieces, one behind the other. Throws SegmentCorrupt. */
export async function joinPieces(pieces: readonly Piece[], results: JoinedFile, errors: JoinedFile, signal: AbortSignal): Promise<void> {
  const filled = pieces.filter(({ resultsBytes, errorsBytes }) => resultsBytes + errorsBytes > 0);
  const read = async ({ place, start }: Piece) => ({ name: segmentName(place, start), ...(await readSegment(place, start)) });
  for await (const segment of inOrder(filled, segmentsAtOnce, read)) {
    signal.throwIfAborted();
    await results.write(segment.results, { name: segment.name, start: 0 });
    await errors.write(segment.errors, { name: segment.name, start: segment.results.length });
  }
  await results.finish();
  await errors.finish();
}

/** A file that is put together and digested on the way. */
export class JoinedFile {
  readonly #writer: OutputWriter;
  readonly #hash = createHash('sha256');
  #bytes = 0;

  private constructor(writer: OutputWriter) {
    this.#writer = writer;
  }

  /** `lengths` of the pieces to come; those of 0 do not count. */
  static async open(store: OutputStore, name: string, lengths: readonly number[], scratch: string): Promise<JoinedFile> {
    return new JoinedFile(await store.write(name, lengths.filter((length) => length > 0), scratch));
  }

  async write(bytes: Uint8Array, origin: Origin): Promise<void> {
    if (bytes.length === 0) return;
    this.#hash.update(bytes);
    this.#bytes += bytes.length;
    await this.#writer.write(bytes, origin);
  }

  async finish(): Promise<void> {
    await this.#writer.finish();
  }

  /** To be called once, when all is written. */
  describe(): { bytes: number; sha256: string } {
    return { bytes: this.#bytes, sha256: this.#hash.digest('hex') };
  }

  async publish(replace: boolean): Promise<boolean> {
    return await this.#writer.publish(replace);
  }

  async close(): Promise<void> {
    await this.#writer.close();
  }
}
