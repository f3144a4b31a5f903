import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { SegmentCorrupt } from '../segments/segment.ts';
import { type ShardFolder, segmentPath } from '../segments/store.ts';
import type { Footer } from '../segments/segment.ts';

const blockBytes = 1024 * 1024;

/** A file that is written front to back and digested on the way; durable after `finish`. */
export class OutputWriter {
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #hash: Hash = createHash('sha256');
  #bytes = 0;

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  static async open(path: string): Promise<OutputWriter> {
    return new OutputWriter(path, await open(path, 'wx'));
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      done += (await this.#handle.write(bytes, done, bytes.length - done, this.#bytes + done)).bytesWritten;
    }
    this.#hash.update(bytes);
    this.#bytes += bytes.length;
  }

  async finish(): Promise<{ bytes: number; sha256: string }> {
    await this.#handle.sync();
    return { bytes: this.#bytes, sha256: this.#hash.digest('hex') };
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** Copies the lines of one segment behind the others', and compares their digest. Throws SegmentCorrupt. */
export async function appendSegment(place: ShardFolder, footer: Footer, results: OutputWriter, errors: OutputWriter): Promise<void> {
  const path = segmentPath(place, footer.start);
  const hash = createHash('sha256');
  const handle = await open(path, 'r');
  try {
    await copy(handle, path, 0, footer.resultsBytes, results, hash);
    await copy(handle, path, footer.resultsBytes, footer.errorsBytes, errors, hash);
  } finally {
    await handle.close();
  }
  if (hash.digest('hex') !== footer.sha256) throw new SegmentCorrupt(`segment ${path} is corrupt: its lines do not match their digest`);
}

async function copy(from: FileHandle, path: string, start: number, length: number, to: OutputWriter, hash: Hash): Promise<void> {
  const block = Buffer.allocUnsafe(Math.min(blockBytes, length));
  for (let done = 0; done < length; ) {
    const { bytesRead } = await from.read(block, 0, Math.min(block.length, length - done), start + done);
    if (bytesRead === 0) throw new SegmentCorrupt(`segment ${path} is corrupt: it ends early`);
    const bytes = block.subarray(0, bytesRead);
    hash.update(bytes);
    await to.write(bytes);
    done += bytesRead;
  }
}
