import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatFloat16, formatFloat32, formatFloat64, mostCharacters, writeFloat32 } from '../../../inference-pod/engine/numbers.ts';

describe('numbers are written with the fewest digits that give them back:', () => {
  test.each([
    [0.1, '0.1'],
    [1 / 3, '0.33333334'],
    [3.4028235e38, '3.4028235e+38'],
    [1e-45, '1e-45'],
    [16777216, '16777216'],
    [-0, '-0'],
    [0, '0'],
    [100000, '100000'],
    [1.5, '1.5'],
    [1e-7, '1e-7'],
    [123456.79, '123456.79'],
  ])('float32 %d', (value, text) => {
    expect(formatFloat32(Math.fround(value))).toBe(text);
  });

  test('float32, any', () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (value) => {
        const text = formatFloat32(value);
        expect(Object.is(Math.fround(JSON.parse(text) as number), value)).toBe(true);
        expect(text.length).toBeLessThanOrEqual(String(value).length + 1);
      }),
      { numRuns: 20_000 },
    );
  });

  test('a decimal of six digits comes out of float32 as it went in', () => {
    fc.assert(
      fc.property(fc.integer({ min: -999_999, max: 999_999 }), fc.integer({ min: 0, max: 9 }), (digits, places) => {
        const value = Number(`${digits}e-${places}`);
        expect(Number(formatFloat32(Math.fround(value)))).toBe(value);
      }),
      { numRuns: 20_000 },
    );
  });

  test('float32 as bytes are those of float32 as text', () => {
    const bytes = Buffer.alloc(3 + mostCharacters + 1);
    const check = (value: number): void => {
      bytes.fill(0);
      const end = writeFloat32(value, bytes, 3);
      if (bytes.toString('latin1', 3, end) !== formatFloat32(value)) throw new Error(`${value} is written ${bytes.toString('latin1', 3, end)}, expected ${formatFloat32(value)}`);
      if (bytes[end] !== 0) throw new Error(`${value}: written too far`);
    };
    const any = fc.float({ noNaN: true, noDefaultInfinity: true });
    const usual = fc.tuple(fc.integer({ min: -999_999_999, max: 999_999_999 }), fc.integer({ min: 0, max: 16 })).map(([digits, places]) => Math.fround(digits / 10 ** places));
    fc.assert(fc.property(fc.oneof(any, usual), check), { numRuns: 50_000 });
    const bits = new Uint32Array(1);
    const float = new Float32Array(bits.buffer);
    const around = [...Array.from({ length: 15 }, (_, index) => 10 ** (index - 8)), ...Array.from({ length: 44 }, (_, index) => 2 ** (index - 22))];
    for (const middle of around) {
      for (let step = -50; step <= 50; step++) {
        float[0] = middle;
        bits[0] = (bits[0] as number) + step;
        check(float[0]);
        check(-float[0]);
      }
    }
  });

  test('float16, every finite one', () => {
    const bits = new Uint16Array(1);
    const half = new Float16Array(bits.buffer);
    for (bits[0] = 0; (bits[0] as number) < 0x7c00; bits[0]++) {
      const value = half[0] as number;
      if (Math.f16round(Number(formatFloat16(value))) !== value) throw new Error(`${value} is written ${formatFloat16(value)}`);
    }
    expect(formatFloat16(Math.f16round(0.1))).toBe('0.1');
    expect(formatFloat16(65504)).toBe('65504');
  });

  test('float64, any', () => {
    fc.assert(fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => Object.is(JSON.parse(formatFloat64(value)), value)));
  });
});
