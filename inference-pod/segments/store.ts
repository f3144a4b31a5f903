import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { createExclusively, makeFolder } from '../durable.ts';
import { errnoOf } from '../fatal.ts';
import { decodeFooter, encodeFooter, type Footer, footerLength, SegmentCorrupt, trailerBytes } from './segment.ts';

/** The segments of one shard in one generation: a chain from the shard's start, each named by its start offset. */
export interface ShardFolder {
  folder: string;
  shard: number;
  generation: number;
}

export function shardFolder(stateFolder: string, shard: number, generation: number): ShardFolder {
  return { folder: join(stateFolder, String(shard), String(generation)), shard, generation };
}

export function segmentPath({ folder }: ShardFolder, start: number): string {
  return join(folder, String(start));
}

export async function openShardFolder({ folder }: ShardFolder): Promise<void> {
  await makeFolder(folder);
}

/**
 * Stores a segment unless one is there that begins at the same offset. The footer of the one that is stored from now
 * on: ours, or the one to adopt. Safe to repeat, and against any number of writers.
 */
export async function storeSegment(
  place: ShardFolder,
  footer: Footer,
  body: readonly Uint8Array[],
  owner: string,
): Promise<{ footer: Footer; adopted: boolean }> {
  if (await createExclusively(segmentPath(place, footer.start), [...body, encodeFooter(footer)], owner)) return { footer, adopted: false };
  const stored = await readFooter(place, footer.start);
  if (stored === undefined) throw new Error(`segment ${segmentPath(place, footer.start)} was there and is gone`);
  return { footer: stored, adopted: true };
}

/** Undefined when no segment begins at `start`. Throws SegmentCorrupt. */
export async function readFooter(place: ShardFolder, start: number): Promise<Footer | undefined> {
  const path = segmentPath(place, start);
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { size } = await handle.stat();
    const trailer = await readAt(handle, Math.max(0, size - trailerBytes), Math.min(size, trailerBytes));
    const length = footerLength(trailer);
    if (length > size - trailerBytes) throw new SegmentCorrupt('its footer is longer than the file');
    const footer = decodeFooter(await readAt(handle, size - trailerBytes - length, length), trailer, size);
    if (footer.shard !== place.shard || footer.generation !== place.generation || footer.start !== start || footer.end <= start) {
      throw new SegmentCorrupt(`it says shard ${footer.shard}, generation ${footer.generation}, offsets ${footer.start} to ${footer.end}`);
    }
    return footer;
  } catch (error) {
    throw error instanceof SegmentCorrupt ? new SegmentCorrupt(`segment ${path} is corrupt: ${error.message}`) : error;
  } finally {
    await handle.close();
  }
}

/** The stored segments from `range.start` on, in order. The shard is complete when the last one ends at `range.end`. */
export async function followChain(place: ShardFolder, range: { start: number; end: number }): Promise<Footer[]> {
  const chain: Footer[] = [];
  for (let at = range.start; at < range.end; ) {
    const footer = await readFooter(place, at);
    if (footer === undefined) break;
    if (footer.end > range.end) throw new SegmentCorrupt(`segment ${segmentPath(place, at)} ends at ${footer.end}, behind its shard's end ${range.end}`);
    chain.push(footer);
    at = footer.end;
  }
  return chain;
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(buffer, done, length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return buffer.subarray(0, done);
}
