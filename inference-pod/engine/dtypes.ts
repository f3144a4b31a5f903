/** Element types as ONNX Runtime names them, and how each is held and checked. */

export type Dtype =
  | 'float32'
  | 'float64'
  | 'float16'
  | 'int8'
  | 'uint8'
  | 'int16'
  | 'uint16'
  | 'int32'
  | 'uint32'
  | 'int64'
  | 'uint64'
  | 'bool'
  | 'string';

export type NumberArray =
  | Float32Array
  | Float64Array
  | Float16Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array;
export type BigArray = BigInt64Array | BigUint64Array;
export type Elements = NumberArray | BigArray | string[];

interface ArrayType {
  new (length: number): NumberArray | BigArray;
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): NumberArray | BigArray;
}

interface Traits {
  /** Bytes of one element; 0 for strings. */
  bytes: number;
  array?: ArrayType;
  kind: 'float' | 'integer' | 'big' | 'bool' | 'string';
  least: number | bigint;
  most: number | bigint;
}

const integer = (array: ArrayType, bytes: number, least: number, most: number): Traits => ({ array, bytes, kind: 'integer', least, most });
// `most` of a float is the largest double that still rounds to a finite value of the type.
const float = (array: ArrayType, bytes: number, most: number): Traits => ({ array, bytes, kind: 'float', least: -most, most });

export const traits: Readonly<Record<Dtype, Traits>> = {
  float32: float(Float32Array, 4, 3.4028235677973362e38),
  float64: float(Float64Array, 8, Number.MAX_VALUE),
  float16: float(Float16Array, 2, 65519.999),
  int8: integer(Int8Array, 1, -128, 127),
  uint8: integer(Uint8Array, 1, 0, 255),
  int16: integer(Int16Array, 2, -32768, 32767),
  uint16: integer(Uint16Array, 2, 0, 65535),
  int32: integer(Int32Array, 4, -2147483648, 2147483647),
  uint32: integer(Uint32Array, 4, 0, 4294967295),
  int64: { array: BigInt64Array, bytes: 8, kind: 'big', least: -(2n ** 63n), most: 2n ** 63n - 1n },
  uint64: { array: BigUint64Array, bytes: 8, kind: 'big', least: 0n, most: 2n ** 64n - 1n },
  bool: { array: Uint8Array, bytes: 1, kind: 'bool', least: 0, most: 1 },
  string: { bytes: 0, kind: 'string', least: 0, most: 0 },
};

export function isDtype(name: string): name is Dtype {
  return Object.hasOwn(traits, name);
}

export function allocate(dtype: Dtype, length: number): Elements {
  const array = traits[dtype].array;
  return array ? new array(length) : new Array<string>(length).fill('');
}

/** `length` elements from the first of `elements` on, beyond its own end where there are more. */
export function viewOf(elements: NumberArray | BigArray, length: number): NumberArray | BigArray {
  return new (elements.constructor as ArrayType)(elements.buffer, elements.byteOffset, length);
}

/** All elements of `source` into `target` from index `to`. Both are of one dtype. */
export function copyElements(target: Elements, to: number, source: Elements): void {
  if (Array.isArray(target)) for (let i = 0; i < source.length; i++) target[to + i] = (source as string[])[i] as string;
  else (target as Uint8Array).set(source as Uint8Array, to);
}
