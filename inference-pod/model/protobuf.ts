import { readSync } from 'node:fs';

/** Bytes `[start, end)` of a file hold a protobuf message (https://protobuf.dev/programming-guides/encoding/). */
export interface Span {
  start: number;
  end: number;
}

/** `value` holds a varint; `span` the content of a length-delimited field. Fixed-size fields carry neither. */
export interface Field {
  number: number;
  value?: number;
  span?: Span;
}

/** The bytes are not what they must be. */
export class ProtobufFault extends Error {}

const windowBytes = 64 * 1024;

/** Reads the fields of messages in an open file by position, and skips what nobody asks for: weights are never read. */
export class ProtobufReader {
  readonly #descriptor: number;
  readonly #window = Buffer.alloc(windowBytes);
  #windowStart = 0;
  #windowEnd = 0;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  /** The fields of one message, in order. Throws ProtobufFault. */
  *fields({ start, end }: Span): Generator<Field> {
    let at = start;
    const varint = (): number => {
      let value = 0;
      for (let shift = 0; shift < 70; shift += 7) {
        if (at >= end) throw new ProtobufFault(`a number is cut off at byte ${at}`);
        const byte = this.#byte(at++);
        // Past 2^53 the value is inexact: no length or field number is that large, so that it is refused where it matters.
        value += (byte & 0x7f) * 2 ** shift;
        if (byte < 0x80) return value;
      }
      throw new ProtobufFault(`a number at byte ${at} has more than ten bytes`);
    };
    while (at < end) {
      const from = at;
      const tag = varint();
      const wire = tag % 8;
      const number = Math.floor(tag / 8);
      if (number < 1 || number >= 2 ** 29) throw new ProtobufFault(`there is no field at byte ${from}`);
      if (wire === 0) yield { number, value: varint() };
      else if (wire === 1 || wire === 5) {
        at += wire === 1 ? 8 : 4;
        if (at > end) throw new ProtobufFault(`a field is cut off at byte ${from}`);
        yield { number };
      } else if (wire === 2) {
        const length = varint();
        if (length > end - at) throw new ProtobufFault(`the field at byte ${from} has ${length} bytes, ${end - at} are left`);
        const span = { start: at, end: at + length };
        at += length;
        yield { number, span };
      } else throw new ProtobufFault(`the field at byte ${from} has the unknown wire type ${wire}`);
    }
  }

  /** Throws ProtobufFault when the text is longer than `most` bytes. */
  text({ start, end }: Span, most = 4096): string {
    if (end - start > most) throw new ProtobufFault(`a text at byte ${start} has ${end - start} bytes`);
    const bytes = Buffer.alloc(end - start);
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.#byte(start + i);
    return bytes.toString('utf8');
  }

  #byte(at: number): number {
    if (at < this.#windowStart || at >= this.#windowEnd) {
      this.#windowStart = at;
      this.#windowEnd = at + readSync(this.#descriptor, this.#window, 0, windowBytes, at);
      if (this.#windowEnd === at) throw new ProtobufFault(`the file ends at byte ${at}`);
    }
    return this.#window[at - this.#windowStart] as number;
  }
}
