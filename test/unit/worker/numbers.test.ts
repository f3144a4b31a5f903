import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatFloat16, formatFloat32, formatFloat64 } from '../../../inference-pod/engine/numbers.ts';

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
