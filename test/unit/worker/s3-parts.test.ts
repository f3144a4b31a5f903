import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { leastPartBytes, mostParts, planParts } from '../../../inference-pod/stores/s3/part-plan.ts';

const MiB = 1024 * 1024;

describe('the parts of a multipart upload', () => {
  test('take all pieces in their order, and keep to the limits of S3', () => {
    const length = fc.oneof(fc.integer({ min: 1, max: 4096 }), fc.integer({ min: 1, max: 24 * MiB }), fc.constantFrom(leastPartBytes - 1, leastPartBytes, leastPartBytes + 1));
    const lengths = fc.oneof(
      fc.array(length, { maxLength: 200 }),
      // Outputs of up to about a terabyte, where the number of parts is what limits.
      fc.tuple(fc.integer({ min: 1, max: 60_000 }), length).map(([count, each]) => Array.from({ length: count }, () => each)),
    );
    fc.assert(
      fc.property(lengths, (pieces) => {
        const parts = planParts(pieces);
        let at = 0;
        const wrong = parts.filter(({ pieces: count, bytes, copied }, index) => {
          let sum = 0;
          for (const end = at + count; at < end; at++) sum += pieces[at] as number;
          return sum !== bytes || copied !== (count === 1 && bytes >= leastPartBytes) || (index < parts.length - 1 && bytes < leastPartBytes);
        });
        expect(wrong).toEqual([]);
        expect(at).toBe(pieces.length);
        expect(parts.length).toBeLessThanOrEqual(mostParts);
      }),
      { numRuns: 100 },
    );
  });

  test('hold little in memory: what is sent is hardly more than the least that a part may have', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 8 * MiB }), { minLength: 1, maxLength: 500 }), (pieces) => {
        for (const { bytes, copied } of planParts(pieces)) if (!copied) expect(bytes).toBeLessThan(leastPartBytes + 8 * MiB);
      }),
    );
  });

  test.each([
    ['nothing', [], []],
    ['one small piece', [10], [{ pieces: 1, bytes: 10, copied: false }]],
    ['a large piece, which is copied, and a rest, which is sent', [6 * MiB, 10], [{ pieces: 1, bytes: 6 * MiB, copied: true }, { pieces: 1, bytes: 10, copied: false }]],
    ['a large piece behind a small one, sent together', [10, 6 * MiB], [{ pieces: 2, bytes: 6 * MiB + 10, copied: false }]],
  ])('of %s', (_name, lengths, parts) => expect(planParts(lengths)).toEqual(parts));
});
