/** Writes small ONNX models (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), good and hostile ones alike. */

export const onnxTypes = {
  float32: 1, uint8: 2, int8: 3, uint16: 4, int16: 5, int32: 6, int64: 7, string: 8, bool: 9, float16: 10, float64: 11, uint32: 12, uint64: 13,
} as const;
export type OnnxType = keyof typeof onnxTypes;

/** Length-delimited bytes, text or message; a number is a varint. */
type Value = number | string | Uint8Array;
type Fields = readonly (readonly [number: number, value: Value])[];

export interface Port {
  name: string;
  type: OnnxType;
  shape: readonly (number | string)[];
}

export interface Node {
  op: string;
  inputs: readonly string[];
  outputs: readonly string[];
  domain?: string;
  attributes?: readonly Uint8Array[];
}

export interface Model {
  inputs: readonly Port[];
  outputs: readonly Port[];
  nodes: readonly Node[];
  /** From `tensor`, `externalTensor`. */
  constants?: readonly Uint8Array[];
  sparse?: readonly Uint8Array[];
  opset?: number;
  irVersion?: number;
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  // Negative numbers are ten bytes of two's complement.
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    bytes.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return Buffer.from(bytes);
}

export function message(fields: Fields): Buffer {
  return Buffer.concat(
    fields.flatMap(([number, value]) => {
      if (typeof value === 'number') return [varint(number * 8), varint(value)];
      const bytes = Buffer.from(value as string);
      return [varint(number * 8 + 2), varint(bytes.length), bytes];
    }),
  );
}

/** A constant with its elements, little-endian. */
export function tensor(name: string, type: OnnxType, dims: readonly number[], data: NodeJS.TypedArray): Buffer {
  return message([...dims.map((size) => [1, size] as const), [2, onnxTypes[type]], [8, name], [9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]]);
}

/** A constant whose elements are in another file. */
export function externalTensor(name: string, type: OnnxType, dims: readonly number[], entries: Record<string, string>): Buffer {
  const external = Object.entries(entries).map(([key, value]) => [13, message([[1, key], [2, value]])] as const);
  return message([...dims.map((size) => [1, size] as const), [2, onnxTypes[type]], [8, name], ...external, [14, 1]]);
}

export function sparseTensor(values: Uint8Array, indices: Uint8Array, dims: readonly number[]): Buffer {
  return message([[1, values], [2, indices], ...dims.map((size) => [3, size] as const)]);
}

export const attribute = {
  int: (name: string, value: number): Buffer => message([[1, name], [3, value], [20, 2]]),
  ints: (name: string, values: readonly number[]): Buffer => message([[1, name], ...values.map((value) => [8, value] as const), [20, 7]]),
  tensor: (name: string, value: Uint8Array): Buffer => message([[1, name], [5, value], [20, 4]]),
  graph: (name: string, value: Uint8Array): Buffer => message([[1, name], [6, value], [20, 5]]),
};

function port({ name, type, shape }: Port): Buffer {
  const dims = shape.map((size) => [1, message([typeof size === 'number' ? [1, size] : [2, size]])] as const);
  return message([[1, name], [2, message([[1, message([[1, onnxTypes[type]], [2, message(dims)]])]])]]);
}

function node({ op, inputs, outputs, domain, attributes = [] }: Node): Buffer {
  const named = domain === undefined ? [] : [[7, domain] as const];
  return message([...inputs.map((name) => [1, name] as const), ...outputs.map((name) => [2, name] as const), [4, op], ...attributes.map((one) => [5, one] as const), ...named]);
}

export function graph({ inputs, outputs, nodes, constants = [], sparse = [] }: Model): Buffer {
  return message([
    ...nodes.map((one) => [1, node(one)] as const),
    [2, 'g'],
    ...constants.map((one) => [5, one] as const),
    ...inputs.map((one) => [11, port(one)] as const),
    ...outputs.map((one) => [12, port(one)] as const),
    ...sparse.map((one) => [15, one] as const),
  ]);
}

export function onnxModel(model: Model): Buffer {
  return message([
    [1, model.irVersion ?? 10],
    [7, graph(model)],
    [8, message([[1, ''], [2, model.opset ?? 21]])],
    [8, message([[1, 'com.microsoft'], [2, 1]])],
  ]);
}
