import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ReadAhead } from '../../../inference-pod/stores/s3/read-ahead.ts';

const MiB = 1024 * 1024;
const file = Buffer.alloc(9 * MiB + 17);
for (let at = 0; at + 4 <= file.length; at += 4) file.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at);

function aReader(end = file.length): { reader: ReadAhead; asked: [start: number, end: number][] } {
  const asked: [number, number][] = [];
  const reader = new ReadAhead(async (from, to) => {
    asked.push([from, to]);
    return file.subarray(from, to);
  }, end);
  return { reader, asked };
}

describe('reading ahead', () => {
  test('gives the bytes of the file, wherever they are read and in whatever order', async () => {
    const read = fc.record({ goOn: fc.boolean(), at: fc.integer({ min: 0, max: file.length - 1 }), length: fc.oneof(fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1, max: 3 * MiB })) });
    await fc.assert(
      fc.asyncProperty(fc.array(read, { maxLength: 20 }), async (reads) => {
        const { reader, asked } = aReader();
        let next = 0;
        for (const { goOn, at, length } of reads) {
          const from = goOn ? next : at;
          const into = Buffer.alloc(Math.min(length, file.length - from));
          await reader.read(into, from);
          expect(into.equals(file.subarray(from, from + into.length))).toBe(true);
          next = from + into.length;
        }
        for (const [from, to] of asked) {
          expect(to).toBeGreaterThan(from);
          expect(to).toBeLessThanOrEqual(file.length);
        }
        await reader.close();
      }),
      { numRuns: 50 },
    );
  });

  test('asks for a first piece alone, and once it goes on for large ones ahead, up to the end and no further', async () => {
    const { reader, asked } = aReader(3 * MiB);
    const into = Buffer.alloc(256 * 1024);
    await reader.read(into, 0);
    expect(asked).toEqual([[0, 256 * 1024]]);
    for (let at = into.length; at < 3 * MiB; at += into.length) await reader.read(into, at);
    expect(asked.slice(1)).toEqual([
      [0.25 * MiB, 1.25 * MiB],
      [1.25 * MiB, 2.25 * MiB],
      [2.25 * MiB, 3 * MiB],
    ]);
  });

  test('fails where a block failed, and not before it is read', async () => {
    let calls = 0;
    const reader = new ReadAhead(async (from, to) => {
      if (++calls > 2) throw new Error('gone');
      return file.subarray(from, to);
    }, file.length);
    await reader.read(Buffer.alloc(10), 0);
    await reader.read(Buffer.alloc(MiB), 10);
    await expect(reader.read(Buffer.alloc(10), 10 + MiB)).rejects.toThrow('gone');
  });
});
