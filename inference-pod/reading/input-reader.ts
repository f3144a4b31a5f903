import { createReadStream, type ReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { createGunzip, type Gunzip } from 'node:zlib';
import { errnoOf, FatalError, messageOf } from '../fatal.ts';
import type { InputFile } from './concatenation.ts';

/** One open file of the input, read by position. */
export interface InputReader {
  /** Fills all of `into` from `position`; the caller stays within the file's size. Throws FatalError when the file is shorter. */
  read(into: Uint8Array, position: number): Promise<void>;
  close(): Promise<void>;
}

/** Throws FatalError when the file is gone. */
export async function openInput(file: InputFile): Promise<InputReader> {
  try {
    return file.packed === undefined ? new PlainReader(await open(file.real, 'r'), file) : new GzipReader(file);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    throw new FatalError('InputInvalid', `input changed: "${file.path}" is gone since the job began; inputs must stay as they are until the job is finished`);
  }
}

function shorter({ path, packed, size }: InputFile): FatalError {
  return new FatalError('InputInvalid', `input changed: "${path}" had ${packed ?? size} bytes when the job began and is shorter now; inputs must stay as they are until the job is finished`);
}

class PlainReader implements InputReader {
  readonly #handle: FileHandle;
  readonly #file: InputFile;

  constructor(handle: FileHandle, file: InputFile) {
    this.#handle = handle;
    this.#file = file;
  }

  async read(into: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < into.length; ) {
      const { bytesRead } = await this.#handle.read(into, done, into.length - done, position + done);
      if (bytesRead === 0) throw shorter(this.#file);
      done += bytesRead;
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** Unpacks from the front; a position further back starts again. */
class GzipReader implements InputReader {
  readonly #file: InputFile;
  #stream: Unpacking | undefined;
  /** What was unpacked last and where its first byte is. */
  #block: Uint8Array = Buffer.alloc(0);
  #at = 0;

  constructor(file: InputFile) {
    this.#file = file;
  }

  async read(into: Uint8Array, position: number): Promise<void> {
    if (this.#stream === undefined || position < this.#at) {
      await this.close();
      this.#stream = new Unpacking(this.#file);
      this.#block = Buffer.alloc(0);
      this.#at = 0;
    }
    for (let done = 0; done < into.length; ) {
      const from = position + done - this.#at;
      if (from >= this.#block.length) {
        this.#at += this.#block.length;
        const next = await this.#stream.next();
        if (next === undefined) throw shorter(this.#file);
        this.#block = next;
        continue;
      }
      const part = this.#block.subarray(from, from + into.length - done);
      into.set(part, done);
      done += part.length;
    }
  }

  async close(): Promise<void> {
    this.#stream?.close();
    this.#stream = undefined;
  }
}

/** The unpacked blocks of a gzip file, in order. Throws FatalError when it is no whole gzip file. */
export class Unpacking {
  readonly #path: string;
  readonly #source: ReadStream;
  readonly #gunzip: Gunzip;
  readonly #blocks: AsyncIterator<Buffer>;

  /** `onPacked` sees the bytes of the file itself. */
  constructor({ real, path }: Pick<InputFile, 'real' | 'path'>, onPacked?: (bytes: Buffer) => void) {
    this.#path = path;
    this.#source = createReadStream(real, { highWaterMark: 256 * 1024 });
    this.#gunzip = createGunzip({ chunkSize: 256 * 1024 });
    this.#source.on('error', (error) => this.#gunzip.destroy(error));
    if (onPacked) this.#source.on('data', (bytes) => onPacked(bytes as Buffer));
    this.#source.pipe(this.#gunzip);
    this.#blocks = (this.#gunzip as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  }

  async next(): Promise<Buffer | undefined> {
    try {
      const { done, value } = await this.#blocks.next();
      return done ? undefined : value;
    } catch (error) {
      if (!errnoOf(error)?.startsWith('Z_')) throw error;
      throw new FatalError('InputInvalid', `input "${this.#path}" is not a whole gzip file: ${messageOf(error)}; write it again, or give it unpacked`);
    }
  }

  close(): void {
    this.#source.destroy();
    this.#gunzip.destroy();
  }
}

/** Whether a file begins as gzip does (RFC 1952), which no line of text can. */
export async function isGzip(real: string): Promise<boolean> {
  const handle = await open(real, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(3), 0, 3, 0);
    return bytesRead === 3 && buffer[0] === 0x1f && buffer[1] === 0x8b && buffer[2] === 8;
  } finally {
    await handle.close();
  }
}
