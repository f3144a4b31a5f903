import fc from 'fast-check';
import { expect, it } from 'vitest';
import { LineSplitter } from '../../../operator/kube/lines.ts';

it('gives the same lines however the bytes are cut, in the middle of a character too', () => {
  const line = fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll('\n', ''));
  fc.assert(
    fc.property(fc.array(line), fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 }), (lines, sizes) => {
      const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''));
      const splitter = new LineSplitter(1_000_000);
      const got: string[] = [];
      for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
        const size = sizes[turn % sizes.length] ?? 1;
        got.push(...splitter.push(bytes.subarray(at, at + size)));
        at += size;
      }
      expect(got).toEqual(lines.filter((text) => text !== ''));
      expect(splitter.pending).toBe(0);
    }),
  );
});

it('does not grow without end', () => {
  const splitter = new LineSplitter(10);
  splitter.push(Buffer.from('12345'));
  expect(() => splitter.push(Buffer.from('678901'))).toThrow('longer than 10 bytes');
});
