import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonical, covers, deepEqual } from '../../../operator/runtime/equal.ts';

describe('covers', () => {
  it('lets the stored object have more, in lists of objects too', () => {
    expect(covers({ a: 1, b: 2 }, { a: 1 })).toBe(true);
    expect(covers({ ports: [{ port: 1, protocol: 'TCP' }] }, { ports: [{ port: 1 }] })).toBe(true);
    expect(covers({ a: {} }, { a: { b: undefined } })).toBe(true);
  });

  it('sees what is missing, different, or one more item', () => {
    expect(covers({}, { a: 1 })).toBe(false);
    expect(covers({ a: '1' }, { a: 1 })).toBe(false);
    expect(covers({ rules: [{}, {}] }, { rules: [{}] })).toBe(false);
    expect(covers({ a: [1] }, { a: { 0: 1 } })).toBe(false);
    expect(covers(undefined, {})).toBe(false);
  });
});

it('equal values have equal canonical text, and only they', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
      expect(canonical(a) === canonical(b)).toBe(JSON.stringify(a) === JSON.stringify(b) || deepEqual(a, b));
      expect(deepEqual(a, structuredClone(a))).toBe(true);
      expect(covers(a, a)).toBe(true);
    }),
  );
  expect(canonical({ b: 1, a: { d: 1, c: 2 } })).toBe('{"a":{"c":2,"d":1},"b":1}');
  expect(deepEqual({ a: 1, b: undefined }, { a: 1 })).toBe(true);
  expect(deepEqual({ a: 1 }, { a: 1, b: 2 })).toBe(false);
});
