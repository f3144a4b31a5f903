import { describe, expect, test } from 'vitest';
import { type Dtype, traits } from '../../../inference-pod/engine/dtypes.ts';
import { type Port, signatureOf } from '../../../inference-pod/engine/signature.ts';
import { datatypes } from '../../../inference-pod/serving/datatypes.ts';
import { type InferRequest, parseInferRequest } from '../../../inference-pod/serving/infer-request.ts';
import { inferResponse, jsonLengthHeader } from '../../../inference-pod/serving/infer-response.ts';
import { modelMetadata } from '../../../inference-pod/serving/metadata.ts';
import { routeOf } from '../../../inference-pod/serving/routes.ts';

const value = (name: string, type: string, shape: (number | string)[]) => ({ name, isTensor: true, type, shape });
const signature = signatureOf([value('ids', 'int64', ['N', 'L']), value('scale', 'float32', ['N'])], [value('sum', 'int64', ['N']), value('scaled', 'float32', ['N', 'L'])]);
const model = { name: 'm', version: '1' };

const ids = { name: 'ids', shape: [2, 2], datatype: 'INT64', data: [1, 2, 3, 4] };
const scale = { name: 'scale', shape: [2], datatype: 'FP32', data: [0.5, 2] };
const parse = (request: unknown, blobs: Buffer = Buffer.alloc(0), of = signature): InferRequest => {
  const json = Buffer.from(typeof request === 'string' ? request : JSON.stringify(request));
  return parseInferRequest(Buffer.concat([json, blobs]), json.length, of, 8);
};
const refusal = (request: unknown, blobs?: Buffer): unknown => {
  try {
    parse(request, blobs);
    return undefined;
  } catch (error) {
    return error;
  }
};
const dtypes = Object.keys(datatypes) as Dtype[];
const one = (dtype: Dtype) => signatureOf([value('x', dtype, ['N', 3])], [value('y', dtype, ['N', 3])]);

describe('an inference request', () => {
  test('gives one feed per input in the order of the model, with its rows and id', () => {
    const { feeds, rows, id, outputs } = parse({ id: 'r-1', parameters: { unknown: 1 }, inputs: [{ ...scale, parameters: {} }, ids] });
    expect(feeds).toEqual([{ dims: [2, 2], data: BigInt64Array.of(1n, 2n, 3n, 4n) }, { dims: [2], data: Float32Array.of(0.5, 2) }]);
    expect([rows, id]).toEqual([2, 'r-1']);
    expect(outputs).toEqual([{ index: 0, binary: false }, { index: 1, binary: false }]);
  });

  test('has data that is flat or nested', () => {
    expect(parse({ inputs: [{ ...ids, data: [[1, 2], [3, 4]] }, scale] })).toEqual(parse({ inputs: [ids, scale] }));
  });

  test('keeps integers beyond 2^53 exact', () => {
    const text = JSON.stringify({ inputs: [ids, scale] }).replace('[1,2,3,4]', '[9223372036854775807,-9223372036854775808,9007199254740993,0]');
    expect(parse(text).feeds[0]?.data).toEqual(BigInt64Array.of(2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, 0n));
    expect(refusal(text.replace('9223372036854775807', '9223372036854775808'))).toMatchObject({ status: 400, message: 'inputs[0] ("ids").data[0]: expected int64, got 9223372036854775808' });
    expect(refusal(text.replace('9223372036854775807', '1e18'))).toMatchObject({ status: 400, message: 'inputs: integers beyond 2^53 are written in plain digits, without fraction or exponent' });
  });

  test('takes the outputs that are wanted, in their order, as JSON or binary data', () => {
    expect(parse({ inputs: [ids, scale], outputs: [{ name: 'scaled' }] }).outputs).toEqual([{ index: 1, binary: false }]);
    expect(parse({ inputs: [ids, scale], outputs: [{ name: 'scaled', parameters: { binary_data: true } }, { name: 'sum' }] }).outputs).toEqual([{ index: 1, binary: true }, { index: 0, binary: false }]);
    expect(parse({ inputs: [ids, scale], parameters: { binary_data_output: true }, outputs: [] }).outputs).toEqual([{ index: 0, binary: true }, { index: 1, binary: true }]);
  });

  test.each(dtypes)('carries %s in JSON and as binary data, in and out, without loss', (dtype) => {
    const of = one(dtype);
    const { kind, most, least } = traits[dtype];
    const values: unknown[] = kind === 'string' ? ['', 'añb\n', '日本'] : kind === 'bool' ? [true, false, true] : kind === 'float' ? [-0, 0.5, 1] : [String(least), String(most), '1'];
    const data = kind === 'integer' || kind === 'big' ? `[${values.join(',')}]` : JSON.stringify(values).replace('[0,', '[-0,');
    const text = `{"inputs":[{"name":"x","shape":[1,3],"datatype":"${datatypes[dtype]}","data":${data}}],"outputs":[{"name":"y"}]}`;
    const asked = parse(text, undefined, of);
    const answer = inferResponse(model, asked, asked.feeds, of);
    expect(answer.body.toString()).toBe(`{"model_name":"m","model_version":"1","outputs":[{"name":"y","datatype":"${datatypes[dtype]}","shape":[1,3],"data":${data}}]}`);

    const binary = inferResponse(model, { ...asked, outputs: [{ index: 0, binary: true }] }, asked.feeds, of);
    const blob = binary.body.subarray(Number(binary.headers[jsonLengthHeader]));
    const again = parse({ inputs: [{ name: 'x', shape: [1, 3], datatype: datatypes[dtype], parameters: { binary_data_size: blob.length } }] }, blob, of);
    expect(again.feeds).toEqual(asked.feeds);
  });

  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  test.each<[what: string, request: unknown, message: string | RegExp]>([
    ['no JSON', '{"inputs":', /^the request is not valid JSON: /],
    ['NaN', '{"inputs":[{"name":"ids","shape":[1,1],"datatype":"INT64","data":[NaN]}]}', /^the request is not valid JSON: /],
    ['an array', [], 'the request: expected an object {"inputs": […]}, got an array'],
    ['nothing in it', {}, 'inputs: expected an array of tensors, got nothing'],
    ['an id that is no text', { id: 7, inputs: [ids, scale] }, 'id: expected text of 1 to 256 characters, got a number'],
    ['parameters that are a list', { parameters: [], inputs: [ids, scale] }, 'parameters: expected an object, got an array'],
    ['an input that is missing', { inputs: [ids] }, 'inputs: expected "ids", "scale", "scale" is missing'],
    ['an input too much', { inputs: [ids, scale, { ...ids, name: 'mask' }] }, 'inputs[2].name: expected each of "ids", "scale" once, got "mask"'],
    ['an input twice', { inputs: [ids, ids] }, 'inputs[1].name: expected each of "ids", "scale" once, got "ids" again'],
    ['another type', { inputs: [{ ...ids, datatype: 'INT32' }, scale] }, 'inputs[0] ("ids").datatype: expected "INT64", got "INT32"'],
    ['another rank', { inputs: [ids, { ...scale, shape: [2, 1] }] }, 'inputs[1] ("scale").shape: expected [-1] with any whole number in the place of -1, got [2,1]'],
    ['a negative dimension', { inputs: [{ ...ids, shape: [-2, -2] }, scale] }, 'inputs[0] ("ids").shape: expected [-1,-1] with any whole number in the place of -1, got [-2,-2]'],
    ['a dimension that is no number', { inputs: [{ ...ids, shape: ['2', 2] }, scale] }, 'inputs[0] ("ids").shape: expected [-1,-1] with any whole number in the place of -1, got ["2",2]'],
    ['a shape whose product is no number', { inputs: [{ ...ids, shape: [2 ** 40, 2 ** 40] }, scale] }, /^inputs\[0\] \("ids"\)\.shape: expected \[-1,-1\]/],
    ['a shape beyond 2^53', '{"inputs":[{"name":"ids","shape":[18446744073709551616,0],"datatype":"INT64","data":[1]}]}', /^inputs\[0\] \("ids"\)\.shape: expected \[-1,-1\]/],
    ['a shape that is larger than the data', { inputs: [{ ...ids, shape: [2, 2 ** 40] }, scale] }, 'inputs[0] ("ids").data: expected 2199023255552 elements for the shape [2,1099511627776], got 4'],
    ['too few elements', { inputs: [{ ...ids, data: [1, 2, 3] }, scale] }, 'inputs[0] ("ids").data: expected 4 elements for the shape [2,2], got 3'],
    ['nested data of another shape', { inputs: [{ ...ids, data: [[1, 2, 3, 4]] }, scale] }, 'inputs[0] ("ids").data: expected INT64 [2,2], got [1,4]'],
    ['uneven nested data', { inputs: [{ ...ids, data: [[1, 2], [3]] }, scale] }, 'inputs[0] ("ids").data[1]: expected an array of 2 as its neighbours are, got 1'],
    ['data that is nested without end', `{"inputs":[{"name":"ids","shape":[2,2],"datatype":"INT64","data":${deep}}]}`, /^inputs\[0\] \("ids"\)\.data: expected INT64 \[2,2\], got \[1,1/],
    ['an element of another type', { inputs: [ids, { ...scale, data: [1, 'x'] }] }, 'inputs[1] ("scale").data[1]: expected float32, got a string'],
    ['null among the elements', { inputs: [ids, { ...scale, data: [1, null] }] }, 'inputs[1] ("scale").data[1]: expected float32, got null'],
    ['what float32 cannot hold', { inputs: [ids, { ...scale, data: [1, 1e39] }] }, 'inputs[1] ("scale").data[1]: expected float32, got 1e+39'],
    ['different numbers of rows', { inputs: [ids, { ...scale, shape: [1], data: [1] }] }, 'inputs: expected one number of rows in all of them, "ids" has 2, "scale" has 1'],
    ['no rows', { inputs: [{ ...ids, shape: [0, 2], data: [] }, { ...scale, shape: [0], data: [] }] }, 'inputs: expected 1 to 8 rows along the leading axis, got 0'],
    ['too many rows', { inputs: [{ ...ids, shape: [9, 0], data: [] }, { ...scale, shape: [9], data: Array(9).fill(0) }] }, 'inputs: expected 1 to 8 rows along the leading axis, got 9; send more requests instead'],
    ['an output that is not there', { inputs: [ids, scale], outputs: [{ name: 'y' }] }, 'outputs[0].name: expected one of "sum", "scaled", got "y"'],
    ['an output twice', { inputs: [ids, scale], outputs: [{ name: 'sum' }, { name: 'sum' }] }, 'outputs: expected each output once, one came again'],
    ['names of the prototype', { inputs: [{ ...ids, name: '__proto__' }, scale] }, 'inputs[0].name: expected each of "ids", "scale" once, got "__proto__"'],
    ['binary data that is not there', { inputs: [{ ...ids, data: undefined, parameters: { binary_data_size: 32 } }, scale] }, 'inputs[0] ("ids").parameters.binary_data_size: expected a whole number up to 0, which is what is left of the body, got 32'],
    ['data twice', { inputs: [{ ...ids, parameters: { binary_data_size: 0 } }, scale] }, 'inputs[0] ("ids"): has both data and parameters.binary_data_size, expected one of them'],
  ])('is refused with one sentence: %s', (_what, request, message) => {
    expect(refusal(request)).toMatchObject({ status: 400, message: typeof message === 'string' ? message : expect.stringMatching(message) as unknown });
  });

  test('is refused when its binary data has another size than the shape, or bytes are left', () => {
    const binary = { inputs: [{ ...ids, data: undefined, parameters: { binary_data_size: 24 } }, scale] };
    expect(refusal(binary, Buffer.alloc(24))).toMatchObject({ message: 'inputs[0] ("ids"): expected 32 bytes of binary data for 4 elements, got 24' });
    expect(refusal({ inputs: [ids, scale] }, Buffer.alloc(3))).toMatchObject({ message: 'the body has 3 bytes behind the JSON that no binary_data_size speaks for' });
  });

  test.each<[what: string, bytes: Buffer]>([
    ['length beyond the end', Buffer.from([255, 255, 255, 255, 65])],
    ['half a length', Buffer.from([0, 0, 0, 0, 0, 0])],
    ['too many', Buffer.alloc(16)],
    ['too few', Buffer.alloc(8)],
  ])('is refused when its binary text has a wrong layout: %s', (_what, bytes) => {
    const of = one('string');
    const request = { inputs: [{ name: 'x', shape: [1, 3], datatype: 'BYTES', parameters: { binary_data_size: bytes.length } }] };
    expect(() => parse(request, bytes, of)).toThrow(/^inputs\[0\] \("x"\): expected 3 elements of BYTES in \d+ bytes/);
  });

  test('of a model without batch axis has one row', () => {
    const of = signatureOf([value('x', 'float32', [1, 2])], [value('y', 'float32', [1, 2])]);
    expect(() => parse({ inputs: [{ name: 'x', shape: [2, 2], datatype: 'FP32', data: [1, 2, 3, 4] }] }, undefined, of)).toThrow('inputs: expected 1 row along the leading axis, got 2; send more requests instead');
  });
});

test('an output that JSON cannot carry is refused, and goes as binary data', () => {
  const of = one('float32');
  const asked = parse({ inputs: [{ name: 'x', shape: [1, 3], datatype: 'FP32', data: [1, 2, 3] }] }, undefined, of);
  const outputs = [{ dims: [1, 3], data: Float32Array.of(1, Number.NaN, Number.POSITIVE_INFINITY) }];
  expect(() => inferResponse(model, asked, outputs, of)).toThrow('outputs "y": the model gave NaN, which JSON cannot carry; ask for it as binary data (outputs[].parameters.binary_data)');
  expect(inferResponse(model, { ...asked, outputs: [{ index: 0, binary: true }] }, outputs, of).body.subarray(-12)).toEqual(Buffer.from(Float32Array.of(1, Number.NaN, Number.POSITIVE_INFINITY).buffer));
});

test('the metadata of a model names its tensors with -1 for free dimensions', () => {
  const tensor = (port: Partial<Port>, datatype: string, shape: number[]) => ({ name: port.name, datatype, shape });
  expect(modelMetadata(model, signature)).toEqual({
    name: 'm', versions: ['1'], platform: 'onnxruntime_onnx',
    inputs: [tensor({ name: 'ids' }, 'INT64', [-1, -1]), tensor({ name: 'scale' }, 'FP32', [-1])],
    outputs: [tensor({ name: 'sum' }, 'INT64', [-1]), tensor({ name: 'scaled' }, 'FP32', [-1, -1])],
  });
});

test.each<[path: string, route: unknown]>([
  ['/v2', { kind: 'server' }],
  ['/v2/health/live', { kind: 'live' }],
  ['/v2/health/ready', { kind: 'ready' }],
  ['/v2/models/a%20b', { kind: 'model', name: 'a b', version: undefined }],
  ['/v2/models/m/versions/3', { kind: 'model', name: 'm', version: '3' }],
  ['/v2/models/m/ready', { kind: 'modelReady', name: 'm', version: undefined }],
  ['/v2/models/m/versions/3/ready', { kind: 'modelReady', name: 'm', version: '3' }],
  ['/v2/models/m/infer', { kind: 'infer', name: 'm', version: undefined }],
  ['/v2/models/m/versions/3/infer', { kind: 'infer', name: 'm', version: '3' }],
  ['/v2/models/%/infer', { kind: 'infer', name: '%', version: undefined }],
  ['/v2/models', undefined],
  ['/v2/models/m/infer/x', undefined],
  ['/', undefined],
])('%s leads to %j', (path, route) => expect(routeOf(path)).toEqual(route));
