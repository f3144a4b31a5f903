/**
 * A segment holds the results of `[start, end)` of one shard in one generation:
 * result lines, error lines, footer (JSON), trailer. The trailer has a fixed size, so that the footer is found from
 * the end of the file: magic (8 bytes), length of the footer (u32), CRC-32 of the footer (u32), both little-endian.
 */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { ItemCounts } from '../contract.ts';

export interface Footer {
  v: 1;
  shard: number;
  generation: number;
  /** Global byte offsets in the input. */
  start: number;
  end: number;
  /** Number in its file of the line at `end`, 0 where it is not known: a reader that goes on from `end` needs it. */
  line: number;
  items: ItemCounts;
  resultsBytes: number;
  errorsBytes: number;
  /** Hex digest of the result and error lines. */
  sha256: string;
  firstError?: string;
}

/** The stored bytes are not what was written. Writers publish only whole, synced files, so the volume lost data. */
export class SegmentCorrupt extends Error {}

export const trailerBytes = 16;
const magic = Buffer.from('MILLSEG1', 'latin1');

export type Body = Pick<Footer, 'resultsBytes' | 'errorsBytes' | 'sha256'>;

export function describeBody(results: readonly Uint8Array[], errors: readonly Uint8Array[]): Body {
  const hash = createHash('sha256');
  for (const part of results) hash.update(part);
  for (const part of errors) hash.update(part);
  return { resultsBytes: lengthOf(results), errorsBytes: lengthOf(errors), sha256: hash.digest('hex') };
}

function lengthOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0);
}

export function encodeFooter(footer: Footer): Buffer {
  const json = Buffer.from(JSON.stringify(footer));
  const trailer = Buffer.alloc(trailerBytes);
  magic.copy(trailer);
  trailer.writeUInt32LE(json.length, 8);
  trailer.writeUInt32LE(crc32(json), 12);
  return Buffer.concat([json, trailer]);
}

/** Length of the footer before `trailer`. Throws SegmentCorrupt. */
export function footerLength(trailer: Buffer): number {
  if (trailer.length !== trailerBytes || !trailer.subarray(0, 8).equals(magic)) throw new SegmentCorrupt('it has no trailer');
  return trailer.readUInt32LE(8);
}

/** `fileBytes` is the size of the whole file. Throws SegmentCorrupt. */
export function decodeFooter(json: Buffer, trailer: Buffer, fileBytes: number): Footer {
  if (crc32(json) !== trailer.readUInt32LE(12)) throw new SegmentCorrupt('its footer does not match its checksum');
  const footer = JSON.parse(json.toString('utf8')) as Footer;
  if (footer.v !== 1) throw new SegmentCorrupt(`it has version ${String(footer.v)}, expected 1`);
  const expected = footer.resultsBytes + footer.errorsBytes + json.length + trailerBytes;
  if (expected !== fileBytes) throw new SegmentCorrupt(`it has ${fileBytes} bytes, its footer says ${expected}`);
  return footer;
}
