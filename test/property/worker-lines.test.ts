import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { scanBoundaries, scanWhole } from '../../inference-pod/planning/scan.ts';
import { type Concatenation, concatenate } from '../../inference-pod/reading/concatenation.ts';
import { LineReader, type Position } from '../../inference-pod/reading/lines.ts';
import { VolumeInput } from '../../inference-pod/stores/volume/input.ts';

const maxLineBytes = 24;
const signal = new AbortController().signal;

interface Seen {
  text: string;
  file: number;
  offset: number;
  line: number;
  tooLong: number;
}

/** The lines by the plainest code that can say what a line is. */
function reference(contents: readonly Buffer[]): Seen[] {
  return contents.flatMap((content, file) => {
    const seen: Seen[] = [];
    let offset = 0;
    content
      .toString('latin1')
      .split('\n')
      .forEach((raw, index) => {
        const text = offset === 0 ? raw.replace(/^\xef\xbb\xbf/, '') : raw;
        const tooLong = raw.length > maxLineBytes ? raw.length : 0;
        if (!/^[ \t\r]*$/.test(text) || tooLong > 0) seen.push({ text: tooLong > 0 ? '' : text, file, offset, line: index + 1, tooLong });
        offset += raw.length + 1;
      });
    return seen;
  });
}

async function read(input: Concatenation, from: Position, end: number, readBytes: number, limit = Number.POSITIVE_INFINITY): Promise<{ seen: Seen[]; position: Position }> {
  const reader = new LineReader(input, from, end, maxLineBytes, 'jsonl', readBytes);
  const seen: Seen[] = [];
  try {
    for (let count = 0; count < limit; count++) {
      // As the worker reads, and now and then without what is in memory already.
      const line = (count % 3 === 0 ? undefined : reader.buffered()) ?? (await reader.next());
      if (line === undefined) break;
      const { bytes, file, offset, line: number, tooLong } = line;
      seen.push({ text: Buffer.from(bytes).toString('latin1'), file, offset, line: number, tooLong });
    }
    return { seen, position: reader.position };
  } finally {
    await reader.close();
  }
}

async function withFiles(contents: readonly Buffer[], work: (input: Concatenation) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-lines-'));
  try {
    const files = contents.map((content, index) => {
      const path = `f${index}`;
      writeFileSync(join(folder, path), content);
      return { path, size: content.length, stamp: 0 };
    });
    await work(concatenate(new VolumeInput({ root: folder, path: '.', additionalPaths: [] }), files));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const piece = fc.constantFrom('a', '{"id":1}', '\n', '\n', '\n', '\r\n', '\r', ' ', '\t', '\u2028', '\ufeff', '\u0000', 'x'.repeat(23), 'y'.repeat(40));
const content = fc.array(piece, { maxLength: 14 }).map((pieces) => Buffer.from(pieces.join('')));
const files = fc.array(content, { minLength: 1, maxLength: 5 });

describe('however the input is cut into shards,', () => {
  test('every line is read once, at its place, with its number', async () => {
    await fc.assert(
      fc.asyncProperty(files, fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 40 }), async (contents, size, readBytes) => {
        await withFiles(contents, async (input) => {
          const expected = reference(contents);
          const { shards, items } = await scanWhole(input, size, signal);
          const seen: Seen[] = [];
          for (const { start, end, line } of shards) seen.push(...(await read(input, { offset: start, line }, end, readBytes)).seen);
          expect(seen).toEqual(expected);
          expect(items).toBe(expected.length);
          expect(shards.map(({ start }) => start)).toEqual([...(shards.length ? [0] : []), ...shards.slice(0, -1).map(({ end }) => end)]);
        });
      }),
      { numRuns: 300 },
    );
  });

  test('a large input, which is not read first, is cut at lines too; line numbers are right or absent', async () => {
    await fc.assert(
      fc.asyncProperty(files, fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 40 }), async (contents, size, readBytes) => {
        await withFiles(contents, async (input) => {
          const expected = reference(contents);
          const { shards } = await scanBoundaries(input, size, signal);
          const seen: Seen[] = [];
          for (const { start, end, line } of shards) seen.push(...(await read(input, { offset: start, line }, end, readBytes)).seen);
          expect(seen.map((line, index) => ({ ...line, line: line.line === 0 ? expected[index]?.line : line.line }))).toEqual(expected);
        });
      }),
      { numRuns: 300 },
    );
  });

  test('a reader that stops anywhere and goes on from its position misses and repeats nothing', async () => {
    await fc.assert(
      fc.asyncProperty(files, fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 8 }), fc.integer({ min: 1, max: 40 }), async (contents, stops, readBytes) => {
        await withFiles(contents, async (input) => {
          const seen: Seen[] = [];
          let at: Position = { offset: 0, line: 1 };
          for (const count of [...stops, Number.POSITIVE_INFINITY]) {
            const part = await read(input, at, input.total, readBytes, count);
            seen.push(...part.seen);
            at = part.position;
          }
          expect(seen).toEqual(reference(contents));
        });
      }),
      { numRuns: 300 },
    );
  });
});
