import { Readable } from 'node:stream';
import { createGunzip, type Gunzip } from 'node:zlib';
import { errnoOf, FatalError, messageOf } from '../fatal.ts';
import { inputChanged } from '../stores/input-changed.ts';
import type { FileReader, InputStore } from '../stores/store.ts';
import type { Concatenation, InputFile } from './concatenation.ts';

const blockBytes = 256 * 1024;

/** Reads the text of a file of the input, and of its store nothing at or behind the global offset `end`. Throws FatalError when the file is gone. */
export async function openInput({ store, files, starts }: Concatenation, index: number, end: number): Promise<FileReader> {
  const file = files[index] as InputFile;
  return file.packed === undefined ? await store.open(file, Math.min(file.size, end - (starts[index] as number))) : new GzipReader(store, file);
}

/** Unpacks from the front; a position further back starts again. */
class GzipReader implements FileReader {
  readonly #store: InputStore;
  readonly #file: InputFile;
  #stream: Unpacking | undefined;
  /** What was unpacked last and where its first byte is. */
  #block: Uint8Array = Buffer.alloc(0);
  #at = 0;

  constructor(store: InputStore, file: InputFile) {
    this.#store = store;
    this.#file = file;
  }

  async read(into: Uint8Array, position: number): Promise<void> {
    if (this.#stream === undefined || position < this.#at) {
      await this.close();
      this.#stream = new Unpacking(this.#store, this.#file);
      this.#block = Buffer.alloc(0);
      this.#at = 0;
    }
    for (let done = 0; done < into.length; ) {
      const from = position + done - this.#at;
      if (from >= this.#block.length) {
        this.#at += this.#block.length;
        const next = await this.#stream.next();
        if (next === undefined) throw inputChanged(this.#file.path, `unpacked to ${this.#file.size} bytes and is shorter`);
        this.#block = next;
        continue;
      }
      const part = this.#block.subarray(from, from + into.length - done);
      into.set(part, done);
      done += part.length;
    }
  }

  async close(): Promise<void> {
    await this.#stream?.close();
    this.#stream = undefined;
  }
}

/** The unpacked blocks of a gzip file, in order. Throws FatalError when it is no whole gzip file. */
export class Unpacking {
  readonly #path: string;
  readonly #source: Readable;
  readonly #gunzip: Gunzip;
  readonly #blocks: AsyncIterator<Buffer>;
  /** Ends when the source has let go of the file. */
  readonly #closed: Promise<void>;

  /** `onPacked` sees the bytes of the file itself. */
  constructor(store: InputStore, file: InputFile, onPacked?: (bytes: Buffer) => void) {
    this.#path = file.path;
    this.#source = Readable.from(storedBlocks(store, file, onPacked), { highWaterMark: 1 });
    this.#gunzip = createGunzip({ chunkSize: blockBytes });
    this.#source.on('error', (error) => this.#gunzip.destroy(error));
    this.#closed = new Promise((resolve) => this.#source.once('close', resolve));
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

  async close(): Promise<void> {
    this.#source.destroy();
    this.#gunzip.destroy();
    await this.#closed;
  }
}

async function* storedBlocks(store: InputStore, file: InputFile, onBlock?: (bytes: Buffer) => void): AsyncGenerator<Buffer> {
  const size = file.packed as number;
  const reader = await store.open(file, size);
  try {
    for (let at = 0; at < size; at += blockBytes) {
      // A new one each time: unpacking may still look at the last.
      const block = Buffer.allocUnsafeSlow(Math.min(blockBytes, size - at));
      await reader.read(block, at);
      onBlock?.(block);
      yield block;
    }
  } finally {
    await reader.close();
  }
}
