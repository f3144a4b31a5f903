/**
 * Elements as bytes, as the binary tensor data extension has them
 * (https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md): little-endian,
 * row-major; a BYTES element is its length in four bytes and then its bytes.
 */
import { isUtf8 } from 'node:buffer';
import { allocate, type Dtype, type Elements, traits } from '../engine/dtypes.ts';
import { bad } from './refusal.ts';

/** The `count` elements that `bytes` holds, in memory of their own. Throws Refusal; `where` names the tensor. */
export function readBinary(where: string, bytes: Buffer, dtype: Dtype, count: number): Elements {
  if (dtype === 'string') return readTexts(where, bytes, count);
  const expected = count * traits[dtype].bytes;
  if (bytes.length !== expected) throw bad(`${where}: expected ${expected} bytes of binary data for ${count} elements, got ${bytes.length}`);
  const data = allocate(dtype, count) as Exclude<Elements, string[]>;
  new Uint8Array(data.buffer).set(bytes);
  if (dtype === 'bool' && (data as Uint8Array).some((byte) => byte > 1)) throw bad(`${where}: expected bytes 0 and 1 for BOOL, got another`);
  return data;
}

function readTexts(where: string, bytes: Buffer, count: number): string[] {
  const texts: string[] = [];
  let at = 0;
  while (at < bytes.length) {
    const start = at + 4;
    const end = start <= bytes.length ? start + bytes.readUInt32LE(at) : Number.POSITIVE_INFINITY;
    if (end > bytes.length || texts.length === count) break;
    const text = bytes.subarray(start, end);
    if (!isUtf8(text)) throw bad(`${where}: expected UTF-8 in BYTES, element ${texts.length} is something else`);
    texts.push(text.toString('utf8'));
    at = end;
  }
  if (texts.length !== count || at !== bytes.length) {
    throw bad(`${where}: expected ${count} elements of BYTES in ${bytes.length} bytes, each with its length in four bytes before it; they end after ${texts.length}`);
  }
  return texts;
}

export function writeBinary(data: Elements): Buffer {
  if (!Array.isArray(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return Buffer.concat(data.flatMap((text) => {
    const bytes = Buffer.from(text, 'utf8');
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return [length, bytes];
  }));
}
