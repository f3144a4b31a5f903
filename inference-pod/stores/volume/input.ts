import { type FileHandle, open, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import type { VolumeInputPlace } from '../../contract.ts';
import { errnoOf, FatalError } from '../../fatal.ts';
import type { PlannedFile } from '../../planning/plan-file.ts';
import type { InputFile } from '../../reading/concatenation.ts';
import { inputChanged } from '../input-changed.ts';
import type { FileReader, InputStore } from '../store.ts';
import { findAllInputFiles } from './input-files.ts';
import { UnchangedFiles } from './unchanged.ts';

/** Files below the mount point of a volume. */
export class VolumeInput implements InputStore {
  readonly #place: VolumeInputPlace;
  readonly #unchanged: UnchangedFiles;
  #base: string | undefined;

  constructor(place: VolumeInputPlace) {
    this.#place = place;
    this.#unchanged = new UnchangedFiles(place.root);
  }

  get named(): string {
    return this.#place.path;
  }

  async find(written: ReadonlySet<string>): Promise<InputFile[]> {
    const { root, path, additionalPaths } = this.#place;
    return await findAllInputFiles(root, [path, ...additionalPaths], written);
  }

  async check(files: readonly PlannedFile[]): Promise<void> {
    await this.#unchanged.check(files);
  }

  async open(file: InputFile): Promise<FileReader> {
    this.#base ??= await this.#mounted();
    try {
      return new HandleReader(await open(join(this.#base, file.path), 'r'), file);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      throw inputChanged(file.path, 'is gone');
    }
  }

  async #mounted(): Promise<string> {
    const { root } = this.#place;
    try {
      return await realpath(root);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      throw new FatalError('InputNotFound', `input: the input volume is not mounted at ${root}`);
    }
  }
}

class HandleReader implements FileReader {
  readonly #handle: FileHandle;
  readonly #file: InputFile;

  constructor(handle: FileHandle, file: InputFile) {
    this.#handle = handle;
    this.#file = file;
  }

  async read(into: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < into.length; ) {
      const { bytesRead } = await this.#handle.read(into, done, into.length - done, position + done);
      if (bytesRead === 0) throw inputChanged(this.#file.path, `had ${this.#file.packed ?? this.#file.size} bytes and is shorter`);
      done += bytesRead;
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}
