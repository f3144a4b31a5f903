import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readRecord } from '../../inference-pod/engine/csv.ts';
import { scanWhole } from '../../inference-pod/planning/scan.ts';
import { type Concatenation, concatenate } from '../../inference-pod/reading/concatenation.ts';
import type { Format } from '../../inference-pod/reading/record-end.ts';
import { LineReader, type Position } from '../../inference-pod/reading/lines.ts';
import { VolumeInput } from '../../inference-pod/stores/volume/input.ts';

const signal = new AbortController().signal;
const maxLineBytes = 400;

interface Seen {
  text: string;
  header: string;
  file: number;
  offset: number;
  line: number;
  tooLong: number;
}

async function read(input: Concatenation, format: Format, from: Position, end: number, readBytes: number, limit = Number.POSITIVE_INFINITY): Promise<{ seen: Seen[]; position: Position }> {
  const reader = new LineReader(input, from, end, maxLineBytes, format, readBytes);
  const seen: Seen[] = [];
  try {
    for (let count = 0; count < limit; count++) {
      // As the worker reads, and now and then without what is in memory already.
      const line = (count % 3 === 0 ? undefined : reader.buffered()) ?? (await reader.next());
      if (line === undefined) break;
      const { bytes, file, offset, line: number, tooLong } = line;
      seen.push({ text: Buffer.from(bytes).toString('utf8'), header: reader.header, file, offset, line: number, tooLong });
    }
    return { seen, position: reader.position };
  } finally {
    await reader.close();
  }
}

async function withFiles(contents: readonly { bytes: Buffer; packed: boolean }[], work: (input: Concatenation) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-csv-'));
  try {
    const files = contents.map(({ bytes, packed }, index) => {
      const path = `f${index}`;
      const stored = packed ? gzipSync(bytes) : bytes;
      writeFileSync(join(folder, path), stored);
      return { path, size: stored.length, stamp: 0, ...(packed ? { packed: stored.length } : {}) };
    });
    await work(concatenate(new VolumeInput({ root: folder, path: '.', additionalPaths: [] }), files));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function inShards(input: Concatenation, format: Format, size: number, readBytes: number): Promise<{ seen: Seen[]; items: number; input: Concatenation }> {
  const scan = await scanWhole(input, size, signal, format);
  const seen: Seen[] = [];
  for (const { start, end, line } of scan.shards) seen.push(...(await read(scan.input, format, { offset: start, line }, end, readBytes)).seen);
  expect(scan.shards.map(({ start }) => start)).toEqual([...(scan.shards.length ? [0] : []), ...scan.shards.slice(0, -1).map(({ end }) => end)]);
  expect(scan.shards.at(-1)?.end ?? 0).toBe(scan.input.total);
  return { seen, items: scan.items, input: scan.input };
}

const cell = fc.array(fc.constantFrom('a', '1.5', ',', '"', '\n', '\r\n', '\r', ' ', 'é', '\u2028'), { maxLength: 5 }).map((parts) => parts.join(''));
const table = fc.integer({ min: 1, max: 4 }).chain((columns) =>
  fc.record({
    rows: fc.array(fc.array(cell, { minLength: columns, maxLength: columns }), { minLength: 1, maxLength: 8 }),
    quoteAll: fc.boolean(),
    lineEnd: fc.constantFrom('\n', '\r\n'),
    mark: fc.boolean(),
    lastEnd: fc.boolean(),
    packed: fc.boolean(),
  }),
);

/** As spreadsheets write it (RFC 4180). */
function encode({ rows, quoteAll, lineEnd, mark, lastEnd }: { rows: string[][]; quoteAll: boolean; lineEnd: string; mark: boolean; lastEnd: boolean }): string {
  const field = (text: string): string => (quoteAll || /[",\r\n]/.test(text) || text.trim() === '' ? `"${text.replaceAll('"', '""')}"` : text);
  return (mark ? '\ufeff' : '') + rows.map((row) => row.map(field).join(',')).join(lineEnd) + (lastEnd ? lineEnd : '');
}

describe('CSV, however it is cut into shards,', () => {
  test('gives every cell of every table back, with its place and its header', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(table, { minLength: 1, maxLength: 3 }), fc.integer({ min: 1, max: 80 }), fc.integer({ min: 1, max: 50 }), async (tables, size, readBytes) => {
        const texts = tables.map(encode);
        await withFiles(texts.map((text, index) => ({ bytes: Buffer.from(text), packed: (tables[index] as { packed: boolean }).packed })), async (stored) => {
          const { seen, items } = await inShards(stored, 'csv', size, readBytes);
          const expected = tables.flatMap(({ rows }, file) => rows.slice(1).map((row) => ({ file, row, header: rows[0] })));
          expect(seen.map(({ file, text, header }) => ({ file, row: readRecord(text), header: readRecord(header) }))).toEqual(expected);
          expect(items).toBe(expected.length);
          for (const { file, offset, line } of seen) {
            expect(line).toBe(Buffer.from(texts[file] as string).subarray(0, offset).toString('utf8').split('\n').length);
          }
        });
      }),
      { numRuns: 300 },
    );
  });

  test('is read the same whole, in shards, and with stops, even where its quotes make no sense', async () => {
    const piece = fc.constantFrom('a', 'bc', ',', '"', '""', '\n', '\n', '\r\n', ' ', 'x'.repeat(390));
    const content = fc.array(piece, { maxLength: 20 }).map((parts) => Buffer.from(`head,er\n${parts.join('')}`));
    await fc.assert(
      fc.asyncProperty(fc.array(content, { minLength: 1, maxLength: 3 }), fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 40 }), fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 8 }), async (contents, size, readBytes, stops) => {
        await withFiles(contents.map((bytes) => ({ bytes, packed: false })), async (stored) => {
          let shards: { seen: Seen[]; items: number };
          try {
            shards = await inShards(stored, 'csv', size, readBytes);
          } catch (error) {
            expect((error as Error).message).toMatch(/is never closed/);
            return;
          }
          const whole = (await read(stored, 'csv', { offset: 0, line: 1 }, stored.total, 1024)).seen;
          expect(shards.seen).toEqual(whole);
          expect(shards.items).toBe(whole.length);
          const stopped: Seen[] = [];
          let at: Position = { offset: 0, line: 1 };
          for (const count of [...stops, Number.POSITIVE_INFINITY]) {
            const part = await read(stored, 'csv', at, stored.total, readBytes, count);
            stopped.push(...part.seen);
            at = part.position;
          }
          expect(stopped).toEqual(whole);
        });
      }),
      { numRuns: 300 },
    );
  });
});

test('packed JSON Lines give the lines of the unpacked ones, one shard a file', async () => {
  const content = fc.array(fc.constantFrom('a', '{"id":1}', '\n', '\r\n', ' ', '\ufeff'), { maxLength: 20 }).map((parts) => Buffer.from(parts.join('')));
  await fc.assert(
    fc.asyncProperty(fc.array(fc.record({ bytes: content, packed: fc.boolean() }), { minLength: 1, maxLength: 4 }), fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 40 }), async (files, size, readBytes) => {
      let plain: Seen[] = [];
      await withFiles(files.map(({ bytes }) => ({ bytes, packed: false })), async (stored) => {
        plain = (await inShards(stored, 'jsonl', size, readBytes)).seen;
      });
      await withFiles(files, async (stored) => {
        const { seen, items, input } = await inShards(stored, 'jsonl', size, readBytes);
        expect(seen).toEqual(plain);
        expect(items).toBe(plain.length);
        expect(input.files.map((file) => file.size)).toEqual(files.map(({ bytes }) => bytes.length));
      });
    }),
    { numRuns: 150 },
  );
});
