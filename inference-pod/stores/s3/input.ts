import { matchesGlob } from 'node:path';
import { FatalError } from '../../fatal.ts';
import type { InputFile } from '../../reading/concatenation.ts';
import { inputChanged } from '../input-changed.ts';
import type { FileReader, InputStore } from '../store.ts';
import { type Bucket, Changed } from './bucket.ts';
import { ReadAhead } from './read-ahead.ts';

/** Objects of a bucket; every read says which one it means by its ETag. */
export class S3Input implements InputStore {
  readonly #bucket: Bucket;
  readonly #keys: readonly string[];

  constructor(bucket: Bucket, keys: readonly string[]) {
    this.#bucket = bucket;
    this.#keys = keys;
  }

  get named(): string {
    return this.#bucket.address(this.#keys[0] ?? '');
  }

  /** What one key names lies behind what the one before it names, in ascending byte order of the objects' keys. */
  async find(written: ReadonlySet<string>): Promise<InputFile[]> {
    const all = new Map<string, InputFile>();
    for (const key of this.#keys) {
      const found = (await this.#findOne(key, written)).sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
      for (const file of found) if (!all.has(file.path)) all.set(file.path, file);
    }
    return [...all.values()];
  }

  async open({ path, size, packed, stamp }: InputFile, end = packed ?? size): Promise<FileReader> {
    return new ReadAhead(async (start, stop, signal) => {
      try {
        const found = await this.#bucket.get(path, { range: `${start}-${stop - 1}`, stamp: String(stamp), signal });
        if (found === undefined) throw inputChanged(path, 'is gone');
        if (found.bytes.length !== stop - start) throw inputChanged(path, `had ${packed ?? size} bytes and has ${found.size}`);
        return found.bytes;
      } catch (error) {
        throw error instanceof Changed ? inputChanged(path, 'was written to') : error;
      }
    }, end);
  }

  /** Left to the reads. */
  async check(): Promise<void> {}

  async #findOne(key: string, written: ReadonlySet<string>): Promise<InputFile[]> {
    if (!key.endsWith('/')) {
      const object = await this.#bucket.get(key, { range: '0-0' });
      if (object !== undefined) {
        if (written.has(this.#bucket.address(key))) throw new FatalError('InputInvalid', `spec.input.s3.key "${key}" is an object that this job writes; name another input or output`);
        return [{ path: key, size: object.size, stamp: object.stamp }];
      }
    }
    const glob = /[*?[\]{}]/.test(key);
    const prefix = glob ? key.slice(0, key.search(/[*?[\]{}]/)) : key.endsWith('/') ? key : `${key}/`;
    const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    const found: InputFile[] = [];
    for await (const object of this.#bucket.list(prefix)) {
      // Objects that stand for folders, and what is hidden, as on volumes.
      if (object.key.endsWith('/') || object.key.slice(folder.length).split('/').some((part) => part.startsWith('.'))) continue;
      if (written.has(this.#bucket.address(object.key)) || (glob && !matchesGlob(object.key, key))) continue;
      found.push({ path: object.key, size: object.size, stamp: object.stamp });
    }
    if (found.length > 0) return found;
    const what = glob ? 'matches no object' : key.endsWith('/') ? 'has no object below it' : 'is no object and has none below it';
    throw new FatalError('InputNotFound', `spec.input.s3.key "${key}" ${what} in bucket "${this.#bucket.access.bucket}"; names that begin with a dot do not count`);
  }
}
