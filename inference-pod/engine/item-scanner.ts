import { isUtf8 } from 'node:buffer';
import type { BigArray, NumberArray } from './dtypes.ts';
import { ElementRoom } from './element-room.ts';
import type { Item } from './items.ts';
import { isSpace, NumberScanner } from './number-scanner.ts';
import type { Port, Signature } from './signature.ts';
import type { Row } from './tensors.ts';

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

interface Reader {
  port: Port;
  /** The name between its quotes. */
  name: Buffer;
  numbers: NumberScanner;
  room: ElementRoom;
  /** Elements of an item; undefined where dimensions are free. */
  size: number | undefined;
}

const idName = Buffer.from('id');
const inputsName = Buffer.from('inputs');

/**
 * Reads items in their usual form, `{"id": …, "inputs": {name: nested numbers}}`, straight from their bytes: to the
 * same elements as by `JSON.parse`, at half the cost or less. Whatever else a line may hold, and every fault, is left to
 * `parseItem`, which says what is wrong.
 */
export class ItemScanner {
  readonly #readers: readonly Reader[];
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  #end = 0;

  /** Undefined when the model has inputs that are no numbers. */
  static for({ inputs }: Signature): ItemScanner | undefined {
    const readers: Reader[] = [];
    for (const port of inputs) {
      const numbers = NumberScanner.for(port.dtype);
      if (numbers === undefined || port.shape.includes(0)) return undefined;
      const size = port.shape.includes(null) ? undefined : port.shape.reduce<number>((product, dim) => product * (dim as number), 1);
      readers.push({ port, name: Buffer.from(port.name), numbers, room: new ElementRoom(port.dtype), size });
    }
    return new ItemScanner(readers);
  }

  private constructor(readers: readonly Reader[]) {
    this.#readers = readers;
  }

  /** The items scanned so far are not needed any more: their elements make room for those of others. */
  clear(): void {
    for (const { room } of this.#readers) room.clear();
  }

  /** The item in `bytes[start, end)`, or undefined: it is not in the usual form. The bytes behind it are looked at, and change nothing. */
  scan(bytes: Buffer, start: number, end: number): Item | undefined {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    let id: string | undefined;
    let rows: Row[] | undefined;
    if (!this.#take(openBrace)) return undefined;
    do {
      if (this.#takeName(idName)) {
        if (id !== undefined) return undefined;
        id = this.#id();
        if (id === undefined) return undefined;
      } else if (this.#takeName(inputsName)) {
        if (rows !== undefined) return undefined;
        rows = this.#inputs();
        if (rows === undefined) return undefined;
      } else return undefined;
    } while (this.#take(comma));
    if (!this.#take(closeBrace)) return undefined;
    while (this.#at < end && isSpace(bytes[this.#at])) this.#at++;
    if (this.#at !== end || rows === undefined) return undefined;
    return id === undefined ? { rows } : { id, rows };
  }

  #skipSpace(): void {
    while (isSpace(this.#bytes[this.#at])) this.#at++;
  }

  #take(byte: number): boolean {
    this.#skipSpace();
    if (this.#bytes[this.#at] !== byte) return false;
    this.#at++;
    return true;
  }

  /** `"name":` */
  #takeName(name: Buffer): boolean {
    this.#skipSpace();
    const start = this.#at;
    const bytes = this.#bytes;
    const end = start + 1 + name.length;
    if (bytes[start] !== quote || bytes[end] !== quote) return false;
    for (let i = 0; i < name.length; i++) if (bytes[start + 1 + i] !== name[i]) return false;
    this.#at = end + 1;
    if (this.#take(colon)) return true;
    this.#at = start;
    return false;
  }

  /** As JSON text. */
  #id(): string | undefined {
    this.#skipSpace();
    const bytes = this.#bytes;
    const start = this.#at;
    let at = start;
    if (bytes[at] === quote) {
      let ascii = true;
      for (at++; bytes[at] !== quote; at++) {
        const byte = bytes[at] as number;
        // Also ends where the bytes do.
        if (!(byte >= 0x20) || byte === backslash) return undefined;
        if (byte >= 0x80) ascii = false;
      }
      this.#at = at + 1;
      if (ascii) return bytes.toString('latin1', start, at + 1);
      const text = bytes.subarray(start, at + 1);
      return isUtf8(text) ? text.toString('utf8') : undefined;
    }
    if (bytes[at] === 0x2d) at++;
    const first = at;
    while ((bytes[at] as number) >= 0x30 && (bytes[at] as number) <= 0x39) at++;
    const digits = at - first;
    if (digits === 0 || digits > 15 || (bytes[first] === 0x30 && (digits > 1 || first > start))) return undefined;
    // A fraction or an exponent is seen as what may not follow.
    this.#at = at;
    return bytes.toString('latin1', start, at);
  }

  #inputs(): Row[] | undefined {
    if (!this.#take(openBrace)) return undefined;
    const rows = new Array<Row | undefined>(this.#readers.length).fill(undefined);
    for (let found = 0; found < rows.length; found++) {
      if (found > 0 && !this.#take(comma)) return undefined;
      const index = this.#readers.findIndex(({ name }) => this.#takeName(name));
      const reader = this.#readers[index];
      if (reader === undefined || rows[index] !== undefined) return undefined;
      rows[index] = this.#tensor(reader);
      if (rows[index] === undefined) return undefined;
    }
    return this.#take(closeBrace) ? (rows as Row[]) : undefined;
  }

  #tensor({ port, numbers, room, size }: Reader): Row | undefined {
    // A number and its comma take two bytes at least.
    const into = room.reserve(size ?? Math.max(1, (this.#end - this.#at + 1) >> 1));
    const dims = [...port.shape];
    const count = this.#nested(dims, 0, numbers, into, room.used);
    return count < 0 ? undefined : { dims: dims as number[], data: room.take(count) };
  }

  /** Reads one array of `axis` into `into[index…]`, and sets what is not known of `dims`. The number of elements, or -1. */
  #nested(dims: (number | null)[], axis: number, numbers: NumberScanner, into: NumberArray | BigArray, index: number): number {
    const single = axis === dims.length;
    if (!single && !this.#take(openBracket)) return -1;
    if (axis >= dims.length - 1) {
      this.#at = numbers.scan(this.#bytes, this.#at, into, index, single);
      if (this.#at < 0) return -1;
      if (single) return 1;
      if (this.#bytes[this.#at++] !== closeBracket) return -1;
      dims[axis] ??= numbers.count;
      return numbers.count === dims[axis] ? numbers.count : -1;
    }
    let elements = 0;
    let length = 0;
    do {
      const count = this.#nested(dims, axis + 1, numbers, into, index + elements);
      if (count < 0) return -1;
      elements += count;
      length++;
    } while (this.#take(comma));
    if (!this.#take(closeBracket)) return -1;
    dims[axis] ??= length;
    return length === dims[axis] ? elements : -1;
  }
}
