import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ItemError } from '../../inference-pod/engine/item-error.ts';
import { ItemScanner } from '../../inference-pod/engine/item-scanner.ts';
import { type Item, parseItem } from '../../inference-pod/engine/items.ts';
import { type Signature, signatureOf } from '../../inference-pod/engine/signature.ts';

const out = [{ name: 'y', isTensor: true, type: 'float32', shape: ['N'] }];
const input = (name: string, type: string, ...shape: (number | string)[]) => ({ name, isTensor: true, type, shape: ['N', ...shape] });
const signatures: Record<string, Signature> = {
  'float32 [3]': signatureOf([input('x', 'float32', 3)], out),
  'float32 [L]': signatureOf([input('x', 'float32', 'L')], out),
  'float32 [2,L]': signatureOf([input('x', 'float32', 2, 'L')], out),
  'float32 []': signatureOf([input('x', 'float32')], out),
  'float64 [L]': signatureOf([input('x', 'float64', 'L')], out),
  'float16 [L]': signatureOf([input('x', 'float16', 'L')], out),
  'int64 [L]': signatureOf([input('x', 'int64', 'L')], out),
  'uint8 [L]': signatureOf([input('x', 'uint8', 'L')], out),
  'int64 [L] and float32 []': signatureOf([input('ids', 'int64', 'L'), input('ñ', 'float32')], out),
};

/** What the general way makes of a line, with every element's bits. */
function general(line: string, signature: Signature): Item | ItemError {
  try {
    return parseItem(line, signature);
  } catch (error) {
    if (error instanceof ItemError) return error;
    throw error;
  }
}

const bitsOf = ({ id, rows }: Item): unknown => ({ id, rows: rows.map(({ dims, data }) => ({ dims, bits: ArrayBuffer.isView(data) ? Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex') : data })) });

/** Scans the line between others, as in a chunk. True when it was taken. */
function scanAlike(text: string, signature: Signature): boolean {
  const scanner = ItemScanner.for(signature) as ItemScanner;
  const line = text.toWellFormed();
  const bytes = Buffer.from(line);
  const [before, behind] = [Buffer.from('{"id":1'), Buffer.from('23]}} ')];
  const scanned = scanner.scan(Buffer.concat([before, bytes, behind]), before.length, before.length + bytes.length);
  const alone = scanner.scan(bytes, 0, bytes.length);
  const first = scanner.scan(Buffer.concat([bytes, bytes]), 0, bytes.length);
  const expected = general(line, signature);
  for (const item of [scanned, alone, first]) {
    if (item === undefined) continue;
    if (expected instanceof ItemError) throw new Error(`${line} was read, expected ${expected.message}`);
    expect(bitsOf(item)).toEqual(bitsOf(expected));
  }
  expect([scanned, first].map((item) => item === undefined)).toEqual([alone === undefined, alone === undefined]);
  return scanned !== undefined;
}

const digits = (least: number, most: number) => fc.array(fc.integer({ min: 0, max: 9 }), { minLength: least, maxLength: most }).map((list) => list.join(''));
/** Anything that looks like a number, and much that JSON does not allow. */
const numberText = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
  fc.float({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
  fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n }).map(String),
  fc.integer({ min: -300, max: 300 }).map(String),
  fc.tuple(fc.constantFrom('', '-', '-', '+'), digits(0, 24), fc.constantFrom('', '.', '..'), digits(0, 24), fc.constantFrom('', 'e', 'E', 'e+', 'e-'), digits(0, 3)).map((parts) => parts.join('')),
  fc.constantFrom('0', '-0', '-0.0', '00', '01', '1.', '.5', '1e', '1e400', '-1e-400', '3.4028235677973362e38', '3.4028235677973366e38', '3.4028236e38', '65519.99', '65520', '9007199254740993', '9223372036854775808', 'null', 'true', '"1"', '[]', '[1]'),
);

/** Decimals that lie next to the middle between two float32 values, where rounding twice goes wrong. */
const nearMiddles = fc.tuple(fc.float({ noNaN: true, noDefaultInfinity: true, min: Math.fround(1e-18), max: Math.fround(1e18) }), fc.integer({ min: 9, max: 21 }), fc.integer({ min: -2, max: 2 })).map(([value, precision, nudge]) => {
  const bits = new Uint32Array(new Float32Array([value]).buffer);
  const above = new Float32Array(new Uint32Array([(bits[0] as number) + 1]).buffer)[0] as number;
  const middle = (value + above) / 2;
  return (middle * (1 + nudge * 2 ** -50)).toPrecision(precision);
});

const space = fc.constantFrom('', '', '', ' ', '\t', ' \r');
const nested = (element: fc.Arbitrary<string>) => fc.oneof(
  element,
  fc.array(element, { maxLength: 4 }).map((list) => `[${list.join(',')}]`),
  fc.tuple(space, fc.array(element, { minLength: 3, maxLength: 3 }), space).map(([a, list, b]) => `[${a}${list.join(`${b},${a}`)}${b}]`),
  fc.tuple(fc.array(element, { minLength: 1, maxLength: 3 }), fc.array(element, { minLength: 1, maxLength: 3 })).map(([a, b]) => `[[${a.join(', ')}],[${b.join(',')}]]`),
);
const idText = fc.oneof(fc.string({ unit: 'binary' }).map((text) => JSON.stringify(text)), fc.string().map((text) => `"${text}"`), numberText, fc.constantFrom('"a"', '"ñ"', '7', '-0', '1e2', 'null', '{}'));

const line = (names: readonly string[]) => fc.tuple(idText, fc.array(nested(fc.oneof(numberText, nearMiddles)), { minLength: 2, maxLength: 2 }), fc.integer({ min: 0, max: 5 }), space, fc.constantFrom('', '', '', ' ', ',', '}', 'x')).map(([id, tensors, form, gap, tail]) => {
  const inputs = `"inputs"${gap}:${gap}{${names.map((name, index) => `"${name}":${gap}${tensors[index]}`).join(',')}}`;
  const whole = [`{"id":${id},${gap}${inputs}}`, `{${inputs}${gap},"id": ${id}}`, `{${inputs}}`, `{"id":${id},${inputs},"more":1}`, `{"id":${id},"id":2,${inputs}}`, `{"id":${id},${inputs},${inputs}}`][form] as string;
  return `${whole}${tail}`;
});

describe('items read straight from their bytes', () => {
  test.each(Object.entries(signatures))('are those that JSON.parse gives, to the bit, or are left to it: %s', (_, signature) => {
    fc.assert(fc.property(line(signature.inputs.map(({ name }) => name)), (text) => void scanAlike(text, signature)), { numRuns: 2_000 });
  });

  test('whatever is cut off, doubled or changed in a line', () => {
    const signature = signatures['float32 [L]'] as Signature;
    fc.assert(
      fc.property(line(['x']), fc.nat(), fc.nat(), fc.constantFrom('', ' ', ',', '"', '\\', '0', '-', '.', 'e', '[', ']', '{', '}', '\u0000', '\u00e9', '\u2028'), (text, from, length, put) => {
        const at = from % (text.length + 1);
        scanAlike(`${text.slice(0, at)}${put}${text.slice(at + (length % 4))}`, signature);
      }),
      { numRuns: 6_000 },
    );
  });

  test.each([
    ['{"id":"a","inputs":{"x":[1,2.5,-3e-2]}}', 'float32 [3]'],
    ['{"inputs": {"x": [0.3745401203632355, 0.1, -0.0]}, "id": 17}\r', 'float32 [3]'],
    ['{"id":"ñandú 日本","inputs":{"x":[[1,2],[3,4]]}}', 'float32 [2,L]'],
    ['{"id":1,"inputs":{"x":5}}', 'float32 []'],
    ['{"id":1,"inputs":{"x":[1e300,0.1]}}', 'float64 [L]'],
    ['{"id":1,"inputs":{"ñ":1.5,"ids":[123456789012345,-1,0]}}', 'int64 [L] and float32 []'],
  ])('%s is in the usual form', (text, name) => {
    expect(scanAlike(text, signatures[name] as Signature)).toBe(true);
  });

  test('a line without content is not read on into the next', () => {
    const bytes = Buffer.from('{"inputs":{"x":[1,2,3]}}');
    for (const signature of Object.values(signatures)) expect(ItemScanner.for(signature)?.scan(bytes, 0, 0)).toBeUndefined();
  });

  test('are left to JSON.parse when the model takes strings or truths', () => {
    expect(ItemScanner.for(signatureOf([input('x', 'string', 'L')], out))).toBeUndefined();
    expect(ItemScanner.for(signatureOf([input('x', 'bool', 'L')], out))).toBeUndefined();
  });
});
