import { shorten } from '../fatal.ts';
import type { Feed } from '../engine/batch.ts';
import type { Elements } from '../engine/dtypes.ts';
import { ItemError } from '../engine/item-error.ts';
import type { Port, Signature } from '../engine/signature.ts';
import { exactIntegers, kindOf, NeedsExactIntegers, readTensor, sizeOf } from '../engine/tensors.ts';
import { readBinary } from './binary-tensor.ts';
import { datatypes } from './datatypes.ts';
import { bad } from './refusal.ts';

/** An inference request of the Open Inference Protocol (https://github.com/kserve/open-inference-protocol), checked against the model. */
export interface InferRequest {
  id: string | undefined;
  rows: number;
  /** One per input of the model, in its order, each with the batch axis. */
  feeds: Feed[];
  /** Outputs that are wanted, in order, and whether as binary data. */
  outputs: WantedOutput[];
}

export interface WantedOutput {
  /** Place among the outputs of the model. */
  index: number;
  binary: boolean;
}

type Fields = Record<string, unknown>;

const maxIdLength = 256;
const maxRank = 32;

/**
 * `body` is JSON, of which binary data may follow after the first `jsonLength` bytes. `maxRows` bounds the leading axis.
 * Throws Refusal with one sentence: which field, what came, what was expected.
 */
export function parseInferRequest(body: Buffer, jsonLength: number, signature: Signature, maxRows: number): InferRequest {
  const text = body.toString('utf8', 0, jsonLength);
  const binary = body.subarray(jsonLength);
  try {
    return readRequest(parseJson(text, false), binary, signature, maxRows);
  } catch (error) {
    if (!(error instanceof NeedsExactIntegers)) throw error;
  }
  try {
    return readRequest(parseJson(text, true), binary, signature, maxRows);
  } catch (error) {
    if (!(error instanceof NeedsExactIntegers)) throw error;
    throw bad('inputs: integers beyond 2^53 are written in plain digits, without fraction or exponent');
  }
}

function parseJson(text: string, exact: boolean): unknown {
  try {
    return exact ? JSON.parse(text, exactIntegers) : JSON.parse(text);
  } catch (error) {
    // V8 quotes the text after a comma; that is data, and can be long. What is nested too deep is no SyntaxError.
    const cause = error instanceof SyntaxError ? error.message.replace(/, (\.\.\.)?"[\s\S]*$/, '').replace(/ in JSON/, '') : 'it is nested too deep';
    throw bad(`the request is not valid JSON: ${cause}`);
  }
}

function readRequest(value: unknown, binary: Buffer, signature: Signature, maxRows: number): InferRequest {
  if (!isFields(value)) throw bad(`the request: expected an object {"inputs": […]}, got ${kindOf(value)}`);
  const id = own(value, 'id');
  if (id !== undefined && (typeof id !== 'string' || id.length === 0 || id.length > maxIdLength)) {
    throw bad(`id: expected text of 1 to ${maxIdLength} characters, got ${typeof id === 'string' ? `${id.length} characters` : kindOf(id)}`);
  }
  const parameters = parametersOf('parameters', value);
  const feeds = readInputs(own(value, 'inputs'), binary, signature);
  const [rows = 0] = feeds[0]?.dims ?? [];
  const uneven = feeds.findIndex(({ dims }) => dims[0] !== rows);
  if (uneven > 0) throw bad(`inputs: expected one number of rows in all of them, "${signature.inputs[0]?.name}" has ${rows}, "${signature.inputs[uneven]?.name}" has ${feeds[uneven]?.dims[0]}`);
  const most = signature.batched ? maxRows : 1;
  if (rows < 1 || rows > most) throw bad(`inputs: expected ${most === 1 ? '1 row' : `1 to ${most} rows`} along the leading axis, got ${rows}${rows > most ? '; send more requests instead' : ''}`);
  const outputs = readOutputs(own(value, 'outputs'), truth('parameters.binary_data_output', own(parameters, 'binary_data_output'), false), signature);
  return { id, rows, feeds, outputs };
}

function readInputs(inputs: unknown, binary: Buffer, signature: Signature): Feed[] {
  if (!Array.isArray(inputs)) throw bad(`inputs: expected an array of tensors, got ${kindOf(inputs)}`);
  const feeds = new Map<string, Feed>();
  let at = 0;
  for (const [index, input] of inputs.entries()) {
    if (!isFields(input)) throw bad(`inputs[${index}]: expected an object {"name", "shape", "datatype", "data"}, got ${kindOf(input)}`);
    const name = own(input, 'name');
    const port = signature.inputs.find((one) => one.name === name);
    if (port === undefined || feeds.has(port.name)) throw bad(`inputs[${index}].name: expected each of ${listOf(signature.inputs)} once, got ${typeof name === 'string' ? `${JSON.stringify(shorten(name, 100))}${port ? ' again' : ''}` : kindOf(name)}`);
    const where = `inputs[${index}] ("${port.name}")`;
    const dims = readShape(where, own(input, 'shape'), port);
    if (own(input, 'datatype') !== datatypes[port.dtype]) {
      const got = own(input, 'datatype');
      throw bad(`${where}.datatype: expected "${datatypes[port.dtype]}", got ${typeof got === 'string' ? JSON.stringify(shorten(got, 50)) : kindOf(got)}`);
    }
    const size = own(parametersOf(`${where}.parameters`, input), 'binary_data_size');
    if (size === undefined) feeds.set(port.name, { dims, data: readData(where, own(input, 'data'), dims, port) });
    else {
      if (own(input, 'data') !== undefined) throw bad(`${where}: has both data and parameters.binary_data_size, expected one of them`);
      if (!Number.isSafeInteger(size) || (size as number) < 0 || (size as number) > binary.length - at) {
        throw bad(`${where}.parameters.binary_data_size: expected a whole number up to ${binary.length - at}, which is what is left of the body, got ${typeof size === 'number' ? size : kindOf(size)}`);
      }
      feeds.set(port.name, { dims, data: readBinary(where, binary.subarray(at, at + (size as number)), port.dtype, sizeOf(dims)) });
      at += size as number;
    }
  }
  if (at !== binary.length) throw bad(`the body has ${binary.length - at} bytes behind the JSON that no binary_data_size speaks for`);
  const missing = signature.inputs.find(({ name }) => !feeds.has(name));
  if (missing !== undefined) throw bad(`inputs: expected ${listOf(signature.inputs)}, "${missing.name}" is missing`);
  return signature.inputs.map(({ name }) => feeds.get(name) as Feed);
}

function readShape(where: string, shape: unknown, port: Port): number[] {
  const expected = [-1, ...port.shape.map((size) => size ?? -1)];
  const isShape = Array.isArray(shape) && shape.length <= maxRank && shape.every((size): size is number => Number.isSafeInteger(size) && size >= 0);
  if (isShape && shape.length === expected.length && expected.every((size, axis) => size === -1 || size === shape[axis]) && Number.isSafeInteger(sizeOf(shape))) return shape;
  const got = Array.isArray(shape) ? shorten(JSON.stringify(shape, (_key, inner: unknown) => (typeof inner === 'bigint' ? String(inner) : inner)), 100) : kindOf(shape);
  throw bad(`${where}.shape: expected [${expected.join(',')}] with any whole number in the place of -1, got ${got}`);
}

/** `data` is flat in row-major order, or nested as the shape says. */
function readData(where: string, data: unknown, dims: readonly number[], port: Port): Elements {
  if (!Array.isArray(data)) throw bad(`${where}.data: expected an array, got ${kindOf(data)}`);
  const nested = Array.isArray(data[0]);
  const count = sizeOf(dims);
  if (!nested && data.length !== count) throw bad(`${where}.data: expected ${count} elements for the shape [${dims.join(',')}], got ${data.length}`);
  const shape = nested ? dims : [count];
  try {
    return readTensor(`${where}.data`, data, { name: port.name, dtype: port.dtype, shape, text: `${datatypes[port.dtype]} [${shape.join(',')}]` }).data;
  } catch (error) {
    if (error instanceof ItemError) throw bad(error.message);
    throw error;
  }
}

function readOutputs(outputs: unknown, binary: boolean, signature: Signature): WantedOutput[] {
  if (outputs === undefined) return signature.outputs.map((_, index) => ({ index, binary }));
  if (!Array.isArray(outputs)) throw bad(`outputs: expected an array, got ${kindOf(outputs)}`);
  const wanted = outputs.map((output: unknown, at): WantedOutput => {
    if (!isFields(output)) throw bad(`outputs[${at}]: expected an object {"name"}, got ${kindOf(output)}`);
    const name = own(output, 'name');
    const index = signature.outputs.findIndex((one) => one.name === name);
    if (index < 0) throw bad(`outputs[${at}].name: expected one of ${listOf(signature.outputs)}, got ${typeof name === 'string' ? JSON.stringify(shorten(name, 100)) : kindOf(name)}`);
    const where = `outputs[${at}].parameters`;
    return { index, binary: truth(`${where}.binary_data`, own(parametersOf(where, output), 'binary_data'), binary) };
  });
  if (new Set(wanted.map(({ index }) => index)).size !== wanted.length) throw bad('outputs: expected each output once, one came again');
  return wanted.length === 0 ? signature.outputs.map((_, index) => ({ index, binary })) : wanted;
}

/** Parameters that are not known are ignored, as the protocol has it. */
function parametersOf(where: string, value: Fields): Fields {
  const parameters = own(value, 'parameters');
  if (parameters === undefined) return {};
  if (!isFields(parameters)) throw bad(`${where}: expected an object, got ${kindOf(parameters)}`);
  return parameters;
}

function truth(where: string, value: unknown, otherwise: boolean): boolean {
  if (value === undefined) return otherwise;
  if (typeof value !== 'boolean') throw bad(`${where}: expected true or false, got ${kindOf(value)}`);
  return value;
}

function listOf(ports: readonly Port[]): string {
  return shorten(ports.map(({ name }) => JSON.stringify(name)).join(', '), 200);
}

function own(value: Fields, key: string): unknown {
  return Object.hasOwn(value, key) ? value[key] : undefined;
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
