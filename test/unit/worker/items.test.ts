import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Dtype } from '../../../inference-pod/engine/dtypes.ts';
import { ItemError } from '../../../inference-pod/engine/item-error.ts';
import { parseItem } from '../../../inference-pod/engine/items.ts';
import { signatureOf, UnusableModel, type ValueMetadata } from '../../../inference-pod/engine/signature.ts';

const tensor = (name: string, type: string, shape: (number | string)[]): ValueMetadata => ({ name, isTensor: true, type, shape });
const model = (...inputs: ValueMetadata[]): ReturnType<typeof signatureOf> => signatureOf(inputs, [tensor('y', 'float32', ['N'])]);
const image = model(tensor('image', 'float32', ['N', 1, 2, 2]));
const one = (type: string, ...shape: (number | string)[]): ReturnType<typeof model> => model(tensor('x', type, ['N', ...shape]));

function fault(text: string, signature = image): ItemError {
  try {
    parseItem(text, signature);
  } catch (error) {
    if (error instanceof ItemError) return error;
    throw error;
  }
  throw new Error('the item was taken');
}

describe('an item', () => {
  test('is read in row-major order', () => {
    const { id, rows } = parseItem('{"id":"a","inputs":{"image":[[[1,2],[3,4.5]]]}}', image);
    expect(id).toBe('"a"');
    expect(rows).toEqual([{ dims: [1, 2, 2], data: new Float32Array([1, 2, 3, 4.5]) }]);
  });

  test('may have any size along a symbolic dimension', () => {
    expect(parseItem('{"inputs":{"x":[1,2,3]}}', one('int32', 'L')).rows[0]?.dims).toEqual([3]);
    expect(parseItem('{"inputs":{"x":[]}}', one('int32', 'L')).rows[0]?.dims).toEqual([0]);
  });

  test('may be a scalar where the model has only the batch axis', () => {
    expect(parseItem('{"inputs":{"x":7}}', one('int64')).rows[0]).toEqual({ dims: [], data: new BigInt64Array([7n]) });
  });

  test.each([
    ['a string', '"\\u00e9\\n"', '"é\\n"'],
    ['a number', '12', '12'],
    ['a number beyond 2^53', '9007199254740993', '9007199254740993'],
    ['a huge number', '-123456789012345678901234567890', '-123456789012345678901234567890'],
    ['a fraction', '1.5', '1.5'],
    ['a power', '1e30', '1e+30'],
  ])('keeps its id exactly: %s', (_name, written, kept) => {
    expect(parseItem(`{"id":${written},"inputs":{"x":1}}`, one('float32')).id).toBe(kept);
  });

  test.each(['null', 'true', '[1]', '{}', '1e400'])('is refused with the id %s', (id) => {
    expect(fault(`{"id":${id},"inputs":{"x":1}}`, one('float32')).message).toMatch(/^id: expected a string or a number/);
  });

  test('holds int64 and uint64 exactly to their limits, and nothing beyond', () => {
    const read = (text: string, type: string): unknown => parseItem(`{"inputs":{"x":[${text}]}}`, one(type, 'L')).rows[0]?.data;
    expect(read('9223372036854775807,-9223372036854775808,9007199254740993,1', 'int64')).toEqual(new BigInt64Array([2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, 1n]));
    expect(read('18446744073709551615', 'uint64')).toEqual(new BigUint64Array([2n ** 64n - 1n]));
    expect(fault('{"inputs":{"x":[9223372036854775808]}}', one('int64', 'L')).message).toBe('inputs.x[0]: expected int64, got 9223372036854775808');
    expect(fault('{"inputs":{"x":[-1]}}', one('uint64', 'L')).message).toBe('inputs.x[0]: expected uint64, got -1');
    expect(fault('{"inputs":{"x":[1e19]}}', one('uint64', 'L')).message).toMatch(/plain digits/);
  });

  test('is harmless with __proto__, toString and duplicate keys', () => {
    const { rows } = parseItem('{"__proto__":{"inputs":{"x":9}},"inputs":{"x":1,"x":2}}', one('float32'));
    expect(rows[0]?.data).toEqual(new Float32Array([2]));
    expect(({} as Record<string, unknown>)['inputs']).toBeUndefined();
    expect(fault('{"__proto__":{"inputs":{"x":9}}}', one('float32')).message).toBe('inputs: expected an object of tensors by name, got nothing');
    expect(fault('{"inputs":{}}', model(tensor('toString', 'float32', ['N']))).message).toBe('inputs: model needs "toString", item has none');
  });

  test.each([
    ['{"id":1,"inputs":{"image":[[[1,2],[3]]]}}', 'inputs.image[0][1]: expected an array of 2 as its neighbours are, got 1'],
    ['{"id":1,"inputs":{"image":[[[1,2],7]]}}', 'inputs.image[0][1]: expected an array of 2 as its neighbours are, got a number'],
    ['{"id":1,"inputs":{"image":[[[1,2,3],[3,4,5]]]}}', 'inputs.image: expected float32 [1,2,2], got [1,2,3]'],
    ['{"id":1,"inputs":{"image":[1,2]}}', 'inputs.image: expected float32 [1,2,2], got [2]'],
    ['{"id":1,"inputs":{"image":3}}', 'inputs.image: expected float32 [1,2,2], got []'],
    ['{"id":1,"inputs":{"image":[[[1,null],[3,4]]]}}', 'inputs.image[0][0][1]: expected float32, got null'],
    ['{"id":1,"inputs":{"image":[[[1,"2"],[3,4]]]}}', 'inputs.image[0][0][1]: expected float32, got a string'],
    ['{"id":1,"inputs":{"image":[[[1,4e38],[3,4]]]}}', 'inputs.image[0][0][1]: expected float32, got 4e+38'],
    ['{"id":1,"inputs":{"img":[1]}}', 'inputs: model needs "image", item has "img"'],
    ['{"id":1,"inputs":{"image":[[[1,2],[3,4]]],"more":1}}', 'inputs: model needs "image", item has "image", "more"'],
    ['{"id":1,"inputs":[1]}', 'inputs: expected an object of tensors by name, got an array'],
    ['{"id":1}', 'inputs: expected an object of tensors by name, got nothing'],
  ])('is refused with what was expected and what came: %s', (text, message) => {
    expect(fault(text)).toMatchObject({ code: 'InvalidItem', message, id: '1' });
  });

  test('is refused as JSON without quoting its data', () => {
    expect(fault('secret data')).toMatchObject({ code: 'InvalidJson', message: "not valid JSON: Unexpected token 's'" });
    expect(fault('{"a":1,')).toMatchObject({ code: 'InvalidJson' });
    expect(fault('[1]')).toMatchObject({ code: 'InvalidItem', message: 'expected an object {"id", "inputs"}, got an array' });
  });

  test('is refused with a NUL as it is, and with half a character as text', () => {
    const words = one('string', 'L');
    expect(fault('{"inputs":{"x":["a\0b"]}}', words).code).toBe('InvalidJson');
    expect(parseItem('{"inputs":{"x":["a\\u0000b"]}}', words).rows[0]?.data).toEqual(['a\0b']);
    expect(fault('{"inputs":{"x":["a","\\ud83d!"]}}', words)).toMatchObject({ code: 'InvalidItem', message: 'inputs.x[1]: expected string, got half of a surrogate pair' });
  });

  test('with arrays that pretend to be huge costs no memory', () => {
    const wide = `[[${'1,'.repeat(99_999)}1]${',0'.repeat(99_999)}]`;
    expect(fault(`{"inputs":{"x":${wide}}}`, one('float32', 'A', 'B')).message).toBe('inputs.x: arrays of one depth differ in length');
  });

  test('may carry its elements as base64, little-endian', () => {
    const b64 = Buffer.from(new Float32Array([1, 2, 3, 4.5]).buffer).toString('base64');
    const text = (tensorText: object): string => JSON.stringify({ inputs: { image: tensorText } });
    const good = { dtype: 'float32', shape: [1, 2, 2], b64 };
    expect(parseItem(text(good), image).rows[0]?.data).toEqual(new Float32Array([1, 2, 3, 4.5]));
    expect(fault(text({ ...good, dtype: 'float64' })).message).toBe('inputs.image: expected dtype "float32", got "float64"');
    expect(fault(text({ ...good, shape: [4] })).message).toBe('inputs.image: expected float32 [1,2,2], got [4]');
    expect(fault(text({ ...good, shape: 'no' })).message).toBe('inputs.image: shape: expected an array of whole numbers, got a string');
    expect(fault(text({ ...good, b64: b64.slice(4) })).message).toBe('inputs.image: b64: expected 16 bytes in base64 for float32 [1,2,2], got 13');
    expect(fault(text({ ...good, b64: `${b64.slice(0, 4)}?${b64.slice(4)}` })).message).toMatch(/expected 16 bytes/);
    expect(fault('{"inputs":{"x":{"dtype":"bool","shape":[1],"b64":"Ag=="}}}', one('bool', 1)).message).toBe('inputs.x: b64: a bool is one byte, 0 or 1');
  });

  test('takes every type that ONNX Runtime takes', () => {
    const read = (type: string, text: string): unknown => parseItem(`{"inputs":{"x":[${text}]}}`, one(type, 'L')).rows[0]?.data;
    expect(read('bool', 'true,false')).toEqual(new Uint8Array([1, 0]));
    expect(read('string', '"a","ñ"')).toEqual(['a', 'ñ']);
    expect(read('float16', '0.1')).toEqual(new Float16Array([0.1]));
    expect(read('float64', '1e300')).toEqual(new Float64Array([1e300]));
    for (const [type, text] of [['int8', '128'], ['uint8', '-1'], ['int16', '32768'], ['uint16', '65536'], ['int32', '2147483648'], ['uint32', '4294967296'], ['float16', '65520'], ['int32', '1.5'], ['bool', '1']] as const) {
      expect(fault(`{"inputs":{"x":[${text}]}}`, one(type, 'L')).message).toBe(`inputs.x[0]: expected ${type}, got ${type === 'bool' ? '1' : text}`);
    }
  });

  test('of any numbers round-trips through base64 and nested arrays alike', () => {
    fc.assert(
      fc.property(fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 8 }), (values) => {
        const data = new Float32Array(values);
        const signature = one('float32', 'L');
        const nested = parseItem(JSON.stringify({ inputs: { x: values.map((value) => (Object.is(value, -0) ? 0 : value)) } }), signature);
        const b64 = Buffer.from(data.buffer).toString('base64');
        const encoded = parseItem(JSON.stringify({ inputs: { x: { dtype: 'float32', shape: [values.length], b64 } } }), signature);
        expect(encoded.rows[0]?.data).toEqual(data);
        expect(nested.rows[0]?.data).toEqual(data.map((value) => value + 0));
      }),
    );
  });
});

describe('a model', () => {
  const out = tensor('y', 'float32', ['N', 2]);
  test('needs a leading batch axis on inputs and outputs, symbolic or 1', () => {
    const refuse = (inputs: ValueMetadata[], outputs: ValueMetadata[]) => (): unknown => signatureOf(inputs, outputs);
    const input = tensor('x', 'float32', ['N', 2]);
    expect(refuse([tensor('x', 'float32', [])], [out])).toThrow(new UnusableModel('input "x" has the shape [], expected a leading batch axis'));
    expect(refuse([tensor('x', 'float32', [8, 2])], [out])).toThrow('input "x" has the shape [8,2], expected its leading axis to be symbolic (the batch) or 1');
    expect(refuse([input], [tensor('y', 'float32', [])])).toThrow('output "y" has the shape []');
    expect(refuse([input], [{ name: 'y', isTensor: false }])).toThrow('output "y" is not a tensor');
    expect(refuse([tensor('x', 'int4', ['N'])], [out])).toThrow('input "x" has the type int4');
    expect(refuse([], [out])).toThrow('no inputs');
  });

  test('is run one item at a time when its batch axis is 1', () => {
    expect(signatureOf([tensor('x', 'float32', [1, 2])], [out]).batched).toBe(false);
    expect(signatureOf([tensor('x', 'float32', ['N', 2])], [out])).toMatchObject({ batched: true, uniform: true });
    expect(signatureOf([tensor('x', 'float32', ['N', 'L'])], [out]).uniform).toBe(false);
  });

  test('tells its types', () => {
    const dtype: Dtype = signatureOf([tensor('x', 'float16', ['N'])], [out]).inputs[0]?.dtype as Dtype;
    expect(dtype).toBe('float16');
  });
});
