import { randomUUID } from 'node:crypto';
import { DeleteObjectCommand, DeleteObjectsCommand } from '@aws-sdk/client-s3';
import type { OutputStore, OutputWriter } from '../store.ts';
import { type Bucket, Changed } from './bucket.ts';
import { abortUpload, beginUpload, MultipartWriter, SmallWriter, type Upload } from './object-writer.ts';
import { planParts } from './part-plan.ts';
import { putObject } from './put-object.ts';

const blockBytes = 8 * 1024 * 1024;
/** Most keys of one request to delete. */
const deletedAtOnce = 1000;

/** Objects of a bucket below a prefix. */
export class S3Output implements OutputStore {
  readonly field: string;
  readonly #bucket: Bucket;
  readonly #prefix: string;

  /** `prefix` is '' or ends with "/". */
  constructor(bucket: Bucket, prefix: string) {
    this.field = `${bucket.access.field} "${bucket.address(prefix)}"`;
    this.#bucket = bucket;
    this.#prefix = prefix;
  }

  shown(name: string): string {
    return this.address(name);
  }

  address(name: string): string {
    return this.#bucket.address(this.#key(name));
  }

  /** There are no folders. */
  async openFolder(): Promise<void> {}

  async create(name: string, parts: readonly Uint8Array[]): Promise<boolean> {
    return await putObject(this.#bucket, this.#key(name), parts, false);
  }

  async read(name: string, most?: number): Promise<{ bytes: Buffer; size: number } | undefined> {
    return await this.#bucket.get(this.#key(name), most === undefined ? {} : { range: `-${most}` });
  }

  async size(name: string): Promise<number | undefined> {
    return (await this.#bucket.get(this.#key(name), { range: '0-0' }))?.size;
  }

  async *blocks(name: string): AsyncIterable<Uint8Array> {
    let stamp: string | undefined;
    for (let at = 0, size = 1; at < size; at += blockBytes) {
      const block = await this.#bucket.get(this.#key(name), { range: `${at}-${at + blockBytes - 1}`, ...(stamp === undefined ? {} : { stamp }) });
      if (block === undefined) throw new Changed(this.address(name));
      ({ size, stamp } = block);
      yield block.bytes;
    }
  }

  async list(folder: string): Promise<string[]> {
    const prefix = `${this.#key(folder)}/`;
    const names: string[] = [];
    for await (const { key } of this.#bucket.list(prefix)) names.push(key.slice(prefix.length));
    return names;
  }

  async remove(name: string): Promise<void> {
    const command = new DeleteObjectCommand({ Bucket: this.#bucket.access.bucket, Key: this.#key(name) });
    await this.#bucket.request((client, options) => client.send(command, options));
  }

  /** Ends the uploads that were begun there, too. */
  async removeFolder(folder: string): Promise<void> {
    let keys: string[] = [];
    for await (const { key } of this.#bucket.list(`${this.#key(folder)}/`)) {
      if (isUpload(key)) await this.#abort(key);
      keys.push(key);
      if (keys.length < deletedAtOnce) continue;
      await this.#delete(keys);
      keys = [];
    }
    if (keys.length > 0) await this.#delete(keys);
  }

  async write(name: string, lengths: readonly number[], scratch: string): Promise<OutputWriter> {
    const parts = planParts(lengths);
    const key = this.#key(name);
    if (parts.length <= 1) return new SmallWriter(this.#bucket, key);
    const upload = await beginUpload(this.#bucket, key);
    const mark = `${scratch}/upload-${randomUUID()}`;
    await this.create(mark, [Buffer.from(JSON.stringify(upload))]);
    return new MultipartWriter(this.#bucket, upload, parts, (origin) => this.#key(origin), () => this.remove(mark));
  }

  async #abort(key: string): Promise<void> {
    const mark = await this.#bucket.get(key);
    if (mark !== undefined) await abortUpload(this.#bucket, JSON.parse(mark.bytes.toString('utf8')) as Upload);
  }

  async #delete(keys: readonly string[]): Promise<void> {
    const command = new DeleteObjectsCommand({ Bucket: this.#bucket.access.bucket, Delete: { Objects: keys.map((Key) => ({ Key })), Quiet: true } });
    const { Errors = [] } = await this.#bucket.request((client, options) => client.send(command, options));
    if (Errors[0]) throw new Error(`${Errors.length} object(s) were not removed, the first for ${Errors[0].Code}: ${Errors[0].Message}`);
  }

  #key(name: string): string {
    return this.#prefix + name;
  }
}

const isUpload = (key: string): boolean => /\/upload-[0-9a-f-]+$/.test(key);
