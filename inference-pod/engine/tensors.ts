import { allocate, type BigArray, type Elements, type NumberArray, traits } from './dtypes.ts';
import { ItemError } from './item-error.ts';
import type { Port } from './signature.ts';

/** One input of one item, flat in row-major order. */
export interface Row {
  dims: readonly number[];
  data: Elements;
}

/** An integer beyond 2^53 was read as a double: parse the line again with `exactIntegers`. */
export class NeedsExactIntegers extends Error {}

/** A JSON.parse reviver that gives integers beyond 2^53 as BigInt, from their source text. */
export function exactIntegers(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
  const source = context?.source;
  return source !== undefined && /^-?\d+$/.test(source) ? BigInt(source) : value;
}

const maxRank = 32;
/** More elements than the longest line has room for: the arrays cannot be of equal length. */
const maxElements = 2 ** 23;

/**
 * Nested arrays, or `{dtype, shape, b64}` with little-endian elements, as the elements that `port` takes.
 * Throws ItemError, or NeedsExactIntegers.
 */
export function readTensor(where: string, value: unknown, port: Port): Row {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return readEncoded(where, value, port);
  const dims = dimsOf(value);
  checkDims(where, dims, port);
  if (sizeOf(dims) > maxElements) throw new ItemError('InvalidItem', `${where}: arrays of one depth differ in length`);
  const data = allocate(port.dtype, sizeOf(dims));
  if (dims.length === 0) fill(data, 0, [value], port, where, true);
  else fillNested(data, 0, value as unknown[], dims, 0, port, where);
  return { dims, data };
}

export function sizeOf(dims: readonly number[]): number {
  let size = 1;
  for (const dim of dims) size *= dim;
  return size;
}

function dimsOf(value: unknown): number[] {
  const dims: number[] = [];
  for (let inner = value; Array.isArray(inner) && dims.length < maxRank; inner = inner[0]) dims.push(inner.length);
  return dims;
}

function checkDims(where: string, dims: readonly number[], port: Port): void {
  const fits = dims.length === port.shape.length && port.shape.every((size, axis) => size === null || size === dims[axis]);
  if (!fits) throw new ItemError('InvalidItem', `${where}: expected ${port.text}, got [${dims.join(',')}]`);
}

function fillNested(
  data: Elements,
  at: number,
  list: readonly unknown[],
  dims: readonly number[],
  axis: number,
  port: Port,
  where: string,
): number {
  if (axis === dims.length - 1) return fill(data, at, list, port, where, false);
  const size = dims[axis + 1] as number;
  let next = at;
  for (let i = 0; i < list.length; i++) {
    const inner = list[i];
    if (!Array.isArray(inner) || inner.length !== size) {
      const got = Array.isArray(inner) ? inner.length : kindOf(inner);
      throw new ItemError('InvalidItem', `${where}[${i}]: expected an array of ${size} as its neighbours are, got ${got}`);
    }
    next = fillNested(data, next, inner, dims, axis + 1, port, `${where}[${i}]`);
  }
  return next;
}

function fill(data: Elements, start: number, list: readonly unknown[], port: Port, where: string, scalar: boolean): number {
  const { kind, least, most } = traits[port.dtype];
  const refuse = (i: number): never => {
    const value = list[i];
    const got = typeof value === 'number' || typeof value === 'bigint' ? String(value) : kindOf(value);
    throw new ItemError('InvalidItem', `${scalar ? where : `${where}[${i}]`}: expected ${port.dtype}, got ${got}`);
  };
  let at = start;
  if (kind === 'float') {
    const into = data as NumberArray;
    for (let i = 0; i < list.length; i++) {
      let value = list[i];
      if (typeof value === 'bigint') value = Number(value);
      if (typeof value !== 'number' || value < least || value > most) return refuse(i);
      into[at++] = value;
    }
  } else if (kind === 'integer') {
    const into = data as NumberArray;
    for (let i = 0; i < list.length; i++) {
      const value = list[i];
      if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) return refuse(i);
      into[at++] = value;
    }
  } else if (kind === 'big') {
    const into = data as BigArray;
    for (let i = 0; i < list.length; i++) {
      let value = list[i];
      if (typeof value === 'number') {
        if (!Number.isSafeInteger(value)) {
          if (Number.isInteger(value) && Math.abs(value) < 2 ** 65) throw new NeedsExactIntegers();
          return refuse(i);
        }
        value = BigInt(value);
      }
      if (typeof value !== 'bigint' || value < least || value > most) return refuse(i);
      into[at++] = value;
    }
  } else if (kind === 'bool') {
    for (let i = 0; i < list.length; i++) {
      const value = list[i];
      if (typeof value !== 'boolean') return refuse(i);
      (data as Uint8Array)[at++] = value ? 1 : 0;
    }
  } else {
    for (let i = 0; i < list.length; i++) {
      const value = list[i];
      if (typeof value !== 'string') return refuse(i);
      // As UTF-8 it would turn into another character without a word.
      if (!value.isWellFormed()) throw new ItemError('InvalidItem', `${scalar ? where : `${where}[${i}]`}: expected ${port.dtype}, got half of a surrogate pair`);
      (data as string[])[at++] = value;
    }
  }
  return at;
}

function readEncoded(where: string, value: object, port: Port): Row {
  const { dtype, shape, b64 } = value as { dtype?: unknown; shape?: unknown; b64?: unknown };
  const refuse = (message: string): never => {
    throw new ItemError('InvalidItem', `${where}: ${message}`);
  };
  if (dtype !== port.dtype) return refuse(`expected dtype "${port.dtype}", got ${typeof dtype === 'string' ? `"${dtype}"` : kindOf(dtype)}`);
  if (!Array.isArray(shape) || !shape.every((size): size is number => Number.isSafeInteger(size) && size >= 0)) {
    return refuse(`shape: expected an array of whole numbers, got ${kindOf(shape)}`);
  }
  checkDims(where, shape, port);
  if (typeof b64 !== 'string') return refuse(`b64: expected base64 text, got ${kindOf(b64)}`);
  const { array, bytes, kind } = traits[port.dtype];
  if (array === undefined) return refuse('strings are given as nested arrays, not as b64');
  const expected = sizeOf(shape) * bytes;
  const decoded = Buffer.from(b64, 'base64');
  // Node skips characters that are not base64; comparing both lengths leaves no room for any.
  const unpadded = Math.ceil((expected * 4) / 3);
  const clean = b64.length === unpadded || b64.length === Math.ceil(expected / 3) * 4;
  if (decoded.length !== expected || !clean) {
    return refuse(`b64: expected ${expected} bytes in base64 for ${port.dtype} [${shape.join(',')}], got ${decoded.length}`);
  }
  const data = allocate(port.dtype, sizeOf(shape)) as NumberArray | BigArray;
  new Uint8Array(data.buffer).set(decoded);
  if (kind === 'bool' && (data as Uint8Array).some((byte) => byte > 1)) return refuse('b64: a bool is one byte, 0 or 1');
  return { dims: shape, data };
}

export function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
