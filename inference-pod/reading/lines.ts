import { isUtf8 } from 'node:buffer';
import { FatalError } from '../fatal.ts';
import { type Concatenation, fileAt } from './concatenation.ts';
import { openInput } from './input-reader.ts';
import { type Format, RecordEnd } from './record-end.ts';
import type { FileReader } from '../stores/store.ts';

/** Where a reader stands: a global offset at the start of a line, and that line's number in its file (0: not known). */
export interface Position {
  offset: number;
  line: number;
}

/** A line that is not blank. `bytes` is valid until the next call, and has no line end and no byte order mark. */
export interface Line {
  bytes: Uint8Array;
  file: number;
  /** Byte offset of the line in its file. */
  offset: number;
  line: number;
  /** Length in bytes when the line was too long to be held; `bytes` is empty then. 0 otherwise. */
  tooLong: number;
  /** Bytes from the start of the line to the start of the next. */
  span: number;
}

export function isByteOrderMark(bytes: Uint8Array): boolean {
  return bytes.length >= 3 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
}

/** The white space of JSON apart from the newline: a line of these alone is no item. */
export function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x0d || byte === 0x09;
}

function isBlankLine(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at++) if (!isBlank(bytes[at] as number)) return false;
  return true;
}

/**
 * The lines in `[from, end)` of the input, split where `RecordEnd` says and at the ends of files, and nowhere else. A
 * line of CSV is a record, and may hold newlines. Memory is bounded by `maxLineBytes`, whatever the input. `end` is the
 * start of a line or the end of the input.
 */
export class LineReader {
  readonly #input: Concatenation;
  readonly #end: number;
  readonly #maxLineBytes: number;
  readonly #readBytes: number;
  #buffer: Buffer;
  /** Unread bytes are buffer[head, tail); buffer[head] is at the global offset `#at`. */
  #head = 0;
  #tail = 0;
  #at: number;
  #line: number;
  #file = -1;
  #reader: FileReader | undefined;
  readonly #format: Format;
  readonly #recordEnd: RecordEnd;
  #header = '';

  constructor(input: Concatenation, from: Position, end: number, maxLineBytes: number, format: Format = 'jsonl', readBytes = 1024 * 1024) {
    this.#input = input;
    this.#end = end;
    this.#maxLineBytes = maxLineBytes;
    this.#readBytes = readBytes;
    this.#format = format;
    this.#recordEnd = new RecordEnd(format);
    this.#buffer = Buffer.allocUnsafeSlow(readBytes);
    this.#at = from.offset;
    this.#line = from.line;
  }

  /** The start of the line that `next` looks at next. */
  get position(): Position {
    return { offset: this.#at, line: this.#line };
  }

  /** The first record of the file of the last line, where the format has a header; it is no item. */
  get header(): string {
    return this.#header;
  }

  /** What `next` will give, without waiting, when it is in memory and nothing is special about it; else undefined. */
  buffered(): Line | undefined {
    const fileStart = this.#input.starts[this.#file];
    const fileEnd = Math.min(this.#input.starts[this.#file + 1] ?? 0, this.#end);
    // A file starts with its header or a byte order mark.
    while (fileStart !== undefined && this.#at > fileStart && this.#at < fileEnd) {
      this.#recordEnd.reset();
      const found = this.#recordEnd.find(this.#buffer.subarray(this.#head, this.#tail));
      if (found < 0) return undefined;
      const line = this.#consume(this.#file, this.#at - fileStart, found, 1);
      if (line.tooLong > 0 || !isBlankLine(line.bytes)) return line;
    }
    return undefined;
  }

  /** The next line that is not blank, or undefined at the end. */
  async next(): Promise<Line | undefined> {
    for (;;) {
      if (this.#at >= this.#end) return undefined;
      const line = await this.#take();
      if (this.#format === 'csv' && line.offset === 0) {
        this.#header = headerText(line, this.#input);
        continue;
      }
      if (line.tooLong > 0 || !isBlankLine(line.bytes)) return line;
    }
  }

  async close(): Promise<void> {
    await this.#reader?.close();
    this.#reader = undefined;
  }

  async #take(): Promise<Line> {
    const file = await this.#enter();
    const fileStart = this.#input.starts[file] as number;
    const fileEnd = Math.min(this.#input.starts[file + 1] as number, this.#end);
    const offset = this.#at - fileStart;
    // A byte order mark would hide the quote behind it.
    let scanned = offset === 0 && this.#format === 'csv' ? await this.#markBytes(fileStart, fileEnd) : 0;
    this.#recordEnd.reset();
    for (;;) {
      const found = this.#recordEnd.find(this.#buffer.subarray(this.#head + scanned, this.#tail));
      if (found >= 0) return this.#consume(file, offset, scanned + found, 1);
      scanned = this.#tail - this.#head;
      if (this.#at + scanned >= fileEnd) return this.#consume(file, offset, scanned, 0);
      if (scanned > this.#maxLineBytes) return await this.#skip(file, offset, fileEnd, scanned);
      await this.#fill(fileStart, fileEnd);
    }
  }

  /** Consumes `length` bytes and the line end. */
  #consume(file: number, offset: number, length: number, lineEnd: 0 | 1): Line {
    let bytes: Uint8Array = this.#buffer.subarray(this.#head, this.#head + length);
    const span = length + lineEnd;
    this.#head += span;
    const line = this.#advance(span);
    if (offset === 0 && isByteOrderMark(bytes)) bytes = bytes.subarray(3);
    if (length > this.#maxLineBytes) return { bytes: bytes.subarray(0, 0), file, offset, line, tooLong: length, span };
    return { bytes, file, offset, line, tooLong: 0, span };
  }

  /** Goes to the end of a line that is too long, holding nothing of it. */
  async #skip(file: number, offset: number, fileEnd: number, scanned: number): Promise<Line> {
    const fileStart = this.#input.starts[file] as number;
    let length = scanned;
    let lineEnd = 0;
    this.#head += scanned;
    for (;;) {
      const found = this.#recordEnd.find(this.#buffer.subarray(this.#head, this.#tail));
      const held = found >= 0 ? found : this.#tail - this.#head;
      length += held;
      this.#head += held;
      if (found >= 0) {
        this.#head += 1;
        lineEnd = 1;
        break;
      }
      this.#head = this.#tail = 0;
      if (this.#at + length >= fileEnd) break;
      const count = Math.min(this.#readBytes, fileEnd - this.#at - length);
      await (this.#reader as FileReader).read(this.#buffer.subarray(0, count), this.#at + length - fileStart);
      this.#tail = count;
    }
    const line = this.#advance(length + lineEnd);
    return { bytes: this.#buffer.subarray(0, 0), file, offset, line, tooLong: length, span: length + lineEnd };
  }

  /** Moves on by `span` bytes; the number of the line that was passed. */
  #advance(span: number): number {
    const line = this.#line;
    this.#at += span;
    const fileEnd = this.#input.starts[this.#file + 1] as number;
    if (this.#at >= fileEnd) this.#line = 1;
    else if (line > 0) this.#line = line + 1 + this.#recordEnd.newlines;
    return line;
  }

  /** Opens the file that `#at` is in. */
  async #enter(): Promise<number> {
    const file = fileAt(this.#input, this.#at);
    if (file !== this.#file) {
      await this.close();
      this.#reader = await openInput(this.#input, file, this.#end);
      this.#file = file;
      this.#head = this.#tail = 0;
      if (this.#format === 'csv' && this.#at > (this.#input.starts[file] as number)) this.#header = await this.#readHeader(file);
    }
    return file;
  }

  async #readHeader(file: number): Promise<string> {
    const start = this.#input.starts[file] as number;
    const reader = new LineReader(this.#input, { offset: start, line: 1 }, this.#input.starts[file + 1] as number, this.#maxLineBytes, 'csv', this.#readBytes);
    try {
      return headerText(await reader.#take(), this.#input);
    } finally {
      await reader.close();
    }
  }

  /** Bytes of the byte order mark at the start of a file, which are made sure to be in the buffer. */
  async #markBytes(fileStart: number, fileEnd: number): Promise<number> {
    while (this.#tail - this.#head < 3 && this.#at + this.#tail - this.#head < fileEnd) await this.#fill(fileStart, fileEnd);
    return isByteOrderMark(this.#buffer.subarray(this.#head, this.#tail)) ? 3 : 0;
  }

  /** Reads on behind the unread bytes, moving them to the front or into a larger buffer first. */
  async #fill(fileStart: number, fileEnd: number): Promise<void> {
    const held = this.#tail - this.#head;
    if (this.#head > 0) this.#buffer.copyWithin(0, this.#head, this.#tail);
    if (held + this.#readBytes > this.#buffer.length) {
      // In few steps, the last of which holds the longest line: what is outgrown stays in memory until the next collection.
      const larger = Buffer.allocUnsafeSlow(Math.max(held + this.#readBytes, Math.min(this.#buffer.length * 4, this.#maxLineBytes + this.#readBytes)));
      this.#buffer.copy(larger, 0, 0, held);
      this.#buffer = larger;
    }
    this.#head = 0;
    const count = Math.min(this.#buffer.length - held, this.#readBytes, fileEnd - this.#at - held);
    await (this.#reader as FileReader).read(this.#buffer.subarray(held, held + count), this.#at + held - fileStart);
    this.#tail = held + count;
  }
}

/** Throws FatalError: without a header no line of the file can be read. */
function headerText({ bytes, file, tooLong }: Line, { files }: Concatenation): string {
  const refuse = (what: string): FatalError => new FatalError('InputInvalid', `input "${(files[file] as Concatenation['files'][number]).path}": its first line, the header, ${what}`);
  if (tooLong > 0) throw refuse(`has ${tooLong} bytes`);
  if (!isUtf8(bytes)) throw refuse('is not valid UTF-8');
  if (isBlankLine(bytes)) throw refuse('is blank; it must name the columns');
  return Buffer.from(bytes).toString('utf8');
}
