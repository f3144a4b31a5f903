import { Gone, type OutputStore } from '../stores/store.ts';
import { decodeFooter, describeBody, encodeFooter, type Footer, footerLength, SegmentCorrupt, trailerBytes } from './segment.ts';

/** The segments of one shard in one generation: a chain from the shard's start, each named by its start offset. */
export interface ShardFolder {
  store: OutputStore;
  folder: string;
  shard: number;
  generation: number;
}

/** Enough of the end of a segment for nearly every footer, so that one read does. */
const usualFooterBytes = 2048;

export function shardFolder(store: OutputStore, stateFolder: string, shard: number, generation: number): ShardFolder {
  return { store, folder: `${stateFolder}/${shard}/${generation}`, shard, generation };
}

export function segmentName({ folder }: ShardFolder, start: number): string {
  return `${folder}/${start}`;
}

export async function openShardFolder({ store, folder }: ShardFolder): Promise<void> {
  await store.openFolder(folder);
}

/**
 * Stores a segment unless one is there that begins at the same offset. The footer of the one that is stored from now
 * on: ours, or the one to adopt. Safe to repeat, and against any number of writers. Throws Gone after the commit.
 */
export async function storeSegment(place: ShardFolder, footer: Footer, body: readonly Uint8Array[]): Promise<{ footer: Footer; adopted: boolean }> {
  const name = segmentName(place, footer.start);
  if (await place.store.create(name, [...body, encodeFooter(footer)])) return { footer, adopted: false };
  const stored = await readFooter(place, footer.start);
  if (stored === undefined) throw new Gone(`segment ${name} was there and is gone`);
  return { footer: stored, adopted: true };
}

/** Undefined when no segment begins at `start`. Throws SegmentCorrupt. */
export async function readFooter(place: ShardFolder, start: number): Promise<Footer | undefined> {
  const name = segmentName(place, start);
  const end = await place.store.read(name, usualFooterBytes);
  if (end === undefined) return undefined;
  return await naming(name, async () => {
    const needed = endLength(end);
    const whole = needed <= end.bytes.length ? end : await place.store.read(name, needed);
    if (whole === undefined) throw new Gone(`segment ${name} was there and is gone`);
    return footerOf(place, start, whole);
  });
}

/** What is stored: the footer, and the result and error lines, whose digest was compared. */
export interface StoredSegment {
  footer: Footer;
  results: Buffer;
  errors: Buffer;
}

/** Throws SegmentCorrupt, or Gone. */
export async function readSegment(place: ShardFolder, start: number): Promise<StoredSegment> {
  const name = segmentName(place, start);
  const stored = await place.store.read(name);
  if (stored === undefined) throw new Gone(`segment ${name} was there and is gone`);
  return await naming(name, async () => {
    const footer = footerOf(place, start, stored);
    const { resultsBytes, errorsBytes, sha256 } = footer;
    const results = stored.bytes.subarray(0, resultsBytes);
    const errors = stored.bytes.subarray(resultsBytes, resultsBytes + errorsBytes);
    if (describeBody([results], [errors]).sha256 !== sha256) throw new SegmentCorrupt('its lines do not match their digest');
    return { footer, results, errors };
  });
}

/** The stored segments from `range.start` on, in order. The shard is complete when the last one ends at `range.end`. */
export async function followChain(place: ShardFolder, range: { start: number; end: number }): Promise<Footer[]> {
  const chain: Footer[] = [];
  for (let at = range.start; at < range.end; ) {
    const footer = await readFooter(place, at);
    if (footer === undefined) break;
    if (footer.end > range.end) throw new SegmentCorrupt(`segment ${segmentName(place, at)} ends at ${footer.end}, behind its shard's end ${range.end}`);
    chain.push(footer);
    at = footer.end;
  }
  return chain;
}

/** The last bytes of a file of `size` bytes. */
interface FileEnd {
  bytes: Buffer;
  size: number;
}

/** Bytes that footer and trailer take. Throws SegmentCorrupt. */
function endLength({ bytes, size }: FileEnd): number {
  const length = footerLength(bytes.subarray(-trailerBytes)) + trailerBytes;
  if (length > size) throw new SegmentCorrupt('its footer is longer than the file');
  return length;
}

function footerOf({ shard, generation }: ShardFolder, start: number, end: FileEnd): Footer {
  const trailer = end.bytes.subarray(-trailerBytes);
  const footer = decodeFooter(end.bytes.subarray(-endLength(end), -trailerBytes), trailer, end.size);
  if (footer.shard === shard && footer.generation === generation && footer.start === start && footer.end > start) return footer;
  throw new SegmentCorrupt(`it says shard ${footer.shard}, generation ${footer.generation}, offsets ${footer.start} to ${footer.end}`);
}

async function naming<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof SegmentCorrupt ? new SegmentCorrupt(`segment ${name} is corrupt: ${error.message}`) : error;
  }
}
