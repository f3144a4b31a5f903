import { createReadStream } from 'node:fs';
import { type FileHandle, open, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { VolumeOutputPlace } from '../../contract.ts';
import { errnoOf } from '../../fatal.ts';
import { Gone, type OutputStore, type OutputWriter } from '../store.ts';
import { createExclusively, makeFolder, publishExclusively, replaceDurably, unlinkIfThere } from './durable.ts';
import { openOutputFolder, whileWriting } from './output-folder.ts';

/** A folder on a volume that takes hard links. */
export class VolumeOutput implements OutputStore {
  readonly field: string;
  readonly #path: string;
  /** Real path of the folder. */
  readonly #folder: string;
  readonly #owner: string;

  private constructor(path: string, folder: string, owner: string) {
    this.field = `spec.output.volume.path "${path}"`;
    this.#path = path;
    this.#folder = folder;
    this.#owner = owner;
  }

  /** Makes the folder where it is absent. `owner` names temporary files: no other process may use it. Throws FatalError OutputUnusable. */
  static async open({ root, path }: VolumeOutputPlace, owner: string): Promise<VolumeOutput> {
    return new VolumeOutput(path, await openOutputFolder(root, path), owner);
  }

  shown(name: string): string {
    return [...this.#path.split('/').filter((part) => part !== '' && part !== '.'), name].join('/');
  }

  address(name: string): string {
    return join(this.#folder, name);
  }

  async openFolder(folder: string): Promise<void> {
    await this.#writing(() => makeFolder(this.address(folder)));
  }

  async create(name: string, parts: readonly Uint8Array[]): Promise<boolean> {
    return await this.#writing(() => createExclusively(this.address(name), parts, this.#owner));
  }

  async read(name: string, most = Number.POSITIVE_INFINITY): Promise<{ bytes: Buffer; size: number } | undefined> {
    let handle: FileHandle;
    try {
      handle = await open(this.address(name), 'r');
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
    try {
      const { size } = await handle.stat();
      const length = Math.min(size, most);
      return { bytes: await readAt(handle, size - length, length), size };
    } finally {
      await handle.close();
    }
  }

  async size(name: string): Promise<number | undefined> {
    try {
      return (await stat(this.address(name))).size;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  async *blocks(name: string): AsyncIterable<Uint8Array> {
    try {
      yield* createReadStream(this.address(name), { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>;
    } catch (error) {
      throw asGone(error);
    }
  }

  async list(folder: string): Promise<string[]> {
    try {
      return await readdir(this.address(folder));
    } catch (error) {
      throw asGone(error);
    }
  }

  async remove(name: string): Promise<void> {
    await this.#writing(() => unlinkIfThere(this.address(name)));
  }

  /** And the folder above, when it is empty then. */
  async removeFolder(folder: string): Promise<void> {
    const path = this.address(folder);
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
    await rmdir(dirname(path)).catch((error: unknown) => {
      const errno = errnoOf(error);
      if (errno !== 'ENOTEMPTY' && errno !== 'ENOENT' && errno !== 'EEXIST') throw error;
    });
  }

  async write(name: string, _lengths: readonly number[], scratch: string): Promise<OutputWriter> {
    const temporary = this.address(join(scratch, `.tmp-${this.#owner}-${basename(name)}`));
    return await this.#writing(() => FileWriter.open(this.address(name), temporary, (work) => this.#writing(work)));
  }

  async #writing<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await whileWriting(this.#path, work);
    } catch (error) {
      throw asGone(error);
    }
  }
}

/** A file that is written front to back under a temporary name. */
class FileWriter implements OutputWriter {
  readonly #target: string;
  readonly #temporary: string;
  readonly #handle: FileHandle;
  readonly #writing: <T>(work: () => Promise<T>) => Promise<T>;
  #bytes = 0;

  private constructor(target: string, temporary: string, handle: FileHandle, writing: <T>(work: () => Promise<T>) => Promise<T>) {
    this.#target = target;
    this.#temporary = temporary;
    this.#handle = handle;
    this.#writing = writing;
  }

  static async open(target: string, temporary: string, writing: <T>(work: () => Promise<T>) => Promise<T>): Promise<FileWriter> {
    await unlinkIfThere(temporary);
    return new FileWriter(target, temporary, await open(temporary, 'wx'), writing);
  }

  async write(bytes: Uint8Array): Promise<void> {
    await this.#writing(async () => {
      for (let done = 0; done < bytes.length; ) {
        done += (await this.#handle.write(bytes, done, bytes.length - done, this.#bytes + done)).bytesWritten;
      }
    });
    this.#bytes += bytes.length;
  }

  async finish(): Promise<void> {
    await this.#writing(() => this.#handle.sync());
  }

  async publish(replace: boolean): Promise<boolean> {
    return await this.#writing(async () => {
      if (!replace) return await publishExclusively(this.#temporary, this.#target);
      await replaceDurably(this.#temporary, this.#target);
      return true;
    });
  }

  async close(): Promise<void> {
    await this.#handle.close();
    await unlinkIfThere(this.#temporary);
  }
}

function asGone(error: unknown): unknown {
  return errnoOf(error) === 'ENOENT' ? new Gone((error as Error).message, { cause: error }) : error;
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(buffer, done, length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return buffer.subarray(0, done);
}
