import { describe, expect, test } from 'vitest';
import { layoutOf, readCsvItem, UnusableHeader } from '../../../inference-pod/engine/csv-items.ts';
import { ItemError } from '../../../inference-pod/engine/item-error.ts';
import { signatureOf, type ValueMetadata } from '../../../inference-pod/engine/signature.ts';

const tensor = (name: string, type: string, ...shape: (number | string)[]): ValueMetadata => ({ name, isTensor: true, type, shape: ['N', ...shape] });
const model = (...inputs: ValueMetadata[]): ReturnType<typeof signatureOf> => signatureOf(inputs, [tensor('y', 'float32')]);

const read = (header: string, record: string, ...inputs: ValueMetadata[]): ReturnType<typeof readCsvItem> => {
  const signature = model(...inputs);
  return readCsvItem(record, layoutOf(header, signature), signature);
};

function fault(header: string, record: string, ...inputs: ValueMetadata[]): ItemError {
  try {
    read(header, record, ...inputs);
  } catch (error) {
    if (error instanceof ItemError) return error;
    throw error;
  }
  throw new Error('the record was taken');
}

describe('a record of CSV', () => {
  test('gives scalars of every type from columns of their names, in any order, and passes over others', () => {
    const types = ['float32', 'float64', 'int64', 'uint64', 'int8', 'bool', 'string'];
    const { id, rows } = read('note,string,bool,int8,uint64,int64,float64,float32,id\r', '"a, b","say ""hi""",TRUE,-128,18446744073709551615,-9007199254740993,1e-300, .5 ,"x\n1"\r', ...types.map((type) => tensor(type, type)));
    expect(id).toBe('"x\\n1"');
    expect(rows.map(({ dims }) => dims)).toEqual(types.map(() => []));
    expect(rows.map(({ data }) => data)).toEqual([new Float32Array([0.5]), new Float64Array([1e-300]), new BigInt64Array([-9007199254740993n]), new BigUint64Array([2n ** 64n - 1n]), new Int8Array([-128]), new Uint8Array([1]), ['say "hi"']]);
  });

  test('gives a vector from all its columns where the model has one input', () => {
    expect(read('sepal,petal,id', '5.1,3.5,a', tensor('x', 'float32', 2)).rows).toEqual([{ dims: [2], data: new Float32Array([5.1, 3.5]) }]);
    expect(read('a,b,c', '1,2,3', tensor('x', 'int32', 'L')).rows).toEqual([{ dims: [3], data: new Int32Array([1, 2, 3]) }]);
  });

  test('gives a tensor from a column for each element', () => {
    const { rows } = read('s,m[1][0],m[0][0],m[0][1],m[1][1]', '7,3,1,2,4', tensor('m', 'int64', 2, 2), tensor('s', 'float32'));
    expect(rows).toEqual([{ dims: [2, 2], data: new BigInt64Array([1n, 2n, 3n, 4n]) }, { dims: [], data: new Float32Array([7]) }]);
  });

  test('gives a tensor from JSON in one cell, exact beyond 2^53, or as base64', () => {
    expect(read('ids', '"[9007199254740993, 2]"', tensor('ids', 'int64', 'L')).rows).toEqual([{ dims: [2], data: new BigInt64Array([9007199254740993n, 2n]) }]);
    const b64 = Buffer.from(new Float32Array([1, 2]).buffer).toString('base64');
    const cell = JSON.stringify({ dtype: 'float32', shape: [2], b64 }).replaceAll('"', '""');
    expect(read('x', `"${cell}"`, tensor('x', 'float32', 2)).rows).toEqual([{ dims: [2], data: new Float32Array([1, 2]) }]);
  });

  test('has no id where the cell is empty', () => {
    expect(read('id,x', ',1', tensor('x', 'float32')).id).toBeUndefined();
  });

  test.each([
    ['a,b', '1', 'expected 2 cells as the header has, got 1'],
    ['a,b', '1,2,3', 'expected 2 cells as the header has, got 3'],
    ['a,b', '1,', 'column "b": expected float32, got an empty cell'],
    ['a,b', '1,secret', 'column "b": expected float32, got text that is no number'],
    ['a,b', '1,0x10', 'column "b": expected float32, got text that is no number'],
    ['a,b', '1,NaN', 'column "b": expected float32, got text that is no number'],
    ['a,b', '1,4e38', 'column "b": expected float32, got 4e+38'],
    ['a,b', '1,"2"x', 'cell 2: expected a comma after the closing quote; quotes within quotes are doubled'],
    ['a,b', '1,"2', 'cell 2: the quote at its start is never closed'],
    ['x', '"[1,"', 'column "x": expected float32 [2] as JSON, got text that is none'],
    ['x', '[1]', 'column "x": expected float32 [2], got [1]'],
  ])('%s / %s is refused with one sentence', (header, record, message) => {
    expect(fault(header, record, tensor('x', 'float32', 2)).message).toBe(message);
  });

  test('is refused with its id where that can be read', () => {
    expect(fault('id,x', '7,a', tensor('x', 'int64'))).toMatchObject({ id: '"7"', code: 'InvalidItem', message: 'column "x": expected int64, got text that is no number' });
    expect(fault('x', '1.5', tensor('x', 'int64')).message).toBe('column "x": expected int64, got 1.5');
    expect(fault('x', '9223372036854775808', tensor('x', 'int64')).message).toBe('column "x": expected int64, got 9223372036854775808');
    expect(fault('x', 'yes', tensor('x', 'bool')).message).toBe('column "x": expected bool, got text other than true, false, 1 and 0');
  });
});

describe('a header is refused', () => {
  test.each<[header: string, message: string, inputs: ValueMetadata[]]>([
    ['a,a', 'its header has the column "a" twice', [tensor('x', 'float32', 2)]],
    ['a,b,c', 'its columns make a shape of [3], the input "x" is float32 [2]', [tensor('x', 'float32', 2)]],
    ['id,b,c,d', 'its columns without "id" make a shape of [3], the input "x" is float32 [2]', [tensor('x', 'float32', 2)]],
    ['x[0],x[2]', 'its columns "x[…]" are 2 for a shape of [3], expected 3', [tensor('x', 'float32', 'L')]],
    ['x[0][0]', 'its column "x[0][0]" has 2 indices, the input is float32 [2]', [tensor('x', 'float32', 2)]],
    ['x,z', 'its header has no column for the input "w" (int64 [3]): expected "w" or "w[0]" and so on, got "x", "z"', [tensor('x', 'float32'), tensor('w', 'int64', 3)]],
    ['a', 'its header has no column for the input "x" (float32 []): expected "x", got "a"', [tensor('x', 'float32')]],
    ['"a', 'its header cannot be read: cell 1: the quote at its start is never closed', [tensor('x', 'float32')]],
  ])('%s', (header, message, inputs) => {
    expect(() => layoutOf(header, model(...inputs))).toThrow(new UnusableHeader(message));
  });
});
