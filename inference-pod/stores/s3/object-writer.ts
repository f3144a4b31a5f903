import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import type { Origin, OutputWriter } from '../store.ts';
import type { Bucket } from './bucket.ts';
import { codeOf } from './faults.ts';
import type { Part } from './part-plan.ts';
import { putObject } from './put-object.ts';

interface Piece {
  bytes: Uint8Array;
  origin: Origin;
}

/** What is sent in one part is held until then; one that fits into one part is sent when it is published. */
export class SmallWriter implements OutputWriter {
  readonly #bucket: Bucket;
  readonly #key: string;
  readonly #pieces: Uint8Array[] = [];

  constructor(bucket: Bucket, key: string) {
    this.#bucket = bucket;
    this.#key = key;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#pieces.push(bytes);
  }

  async finish(): Promise<void> {}

  async publish(replace: boolean): Promise<boolean> {
    return await putObject(this.#bucket, this.#key, this.#pieces, replace);
  }

  async close(): Promise<void> {
    this.#pieces.length = 0;
  }
}

/** Names an upload that was begun, so that whoever cleans up can end it. */
export interface Upload {
  key: string;
  uploadId: string;
}

export async function beginUpload(bucket: Bucket, key: string): Promise<Upload> {
  const command = new CreateMultipartUploadCommand({ Bucket: bucket.access.bucket, Key: key });
  const { UploadId } = await bucket.request((client, options) => client.send(command, options));
  if (UploadId === undefined) throw new Error(`${bucket.access.field}: the server began a multipart upload without naming it`);
  return { key, uploadId: UploadId };
}

/** Nothing is left of its parts. One that is over is left as it is. */
export async function abortUpload(bucket: Bucket, { key, uploadId }: Upload): Promise<void> {
  const command = new AbortMultipartUploadCommand({ Bucket: bucket.access.bucket, Key: key, UploadId: uploadId });
  try {
    await bucket.request((client, options) => client.send(command, options), { expected: ['NoSuchUpload'] });
  } catch (error) {
    if (codeOf(error) !== 'NoSuchUpload') throw error;
  }
}

/** A multipart upload: large pieces are copied within the store, small ones are sent together. */
export class MultipartWriter implements OutputWriter {
  readonly #bucket: Bucket;
  readonly #upload: Upload;
  readonly #parts: readonly Part[];
  /** Full key of what an origin names. */
  readonly #keyOf: (name: string) => string;
  readonly #onClosed: () => Promise<void>;
  readonly #sent: { PartNumber: number; ETag: string }[] = [];
  #pieces: Piece[] = [];
  /** The part that is on its way while the next one is put together. */
  #sending: Promise<void> = Promise.resolve();
  #over = false;

  constructor(bucket: Bucket, upload: Upload, parts: readonly Part[], keyOf: (name: string) => string, onClosed: () => Promise<void>) {
    this.#bucket = bucket;
    this.#upload = upload;
    this.#parts = parts;
    this.#keyOf = keyOf;
    this.#onClosed = onClosed;
  }

  async write(bytes: Uint8Array, origin: Origin): Promise<void> {
    this.#pieces.push({ bytes, origin });
    const part = this.#parts[this.#sent.length];
    if (part === undefined) throw new Error('more pieces than were planned');
    if (this.#pieces.length < part.pieces) return;
    await this.#sending;
    const pieces = this.#pieces;
    const number = this.#sent.length + 1;
    this.#pieces = [];
    this.#sent.push({ PartNumber: number, ETag: '' });
    this.#sending = this.#send(part, pieces, number);
    this.#sending.catch(() => undefined);
  }

  async finish(): Promise<void> {
    await this.#sending;
    if (this.#pieces.length > 0 || this.#sent.length !== this.#parts.length) throw new Error('fewer pieces than were planned');
  }

  async publish(replace: boolean): Promise<boolean> {
    const { key, uploadId } = this.#upload;
    const command = new CompleteMultipartUploadCommand({
      Bucket: this.#bucket.access.bucket,
      Key: key,
      UploadId: uploadId,
      MultipartUpload: { Parts: this.#sent },
      ...(replace ? {} : { IfNoneMatch: '*' }),
    });
    try {
      await this.#bucket.request((client, options) => client.send(command, options), { expected: ['PreconditionFailed', 'NoSuchUpload'] });
      this.#over = true;
      return true;
    } catch (error) {
      // Something is there, or the answer to an earlier try was lost: the caller looks at what is there.
      if (codeOf(error) === 'PreconditionFailed' || codeOf(error) === 'NoSuchUpload') return false;
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#sending.catch(() => undefined);
    if (!this.#over) await abortUpload(this.#bucket, this.#upload);
    this.#over = true;
    await this.#onClosed();
  }

  async #send(part: Part, pieces: readonly Piece[], number: number): Promise<void> {
    const place = { Bucket: this.#bucket.access.bucket, Key: this.#upload.key, UploadId: this.#upload.uploadId, PartNumber: number };
    const etag = part.copied ? await this.#copy(place, pieces[0] as Piece) : await this.#put(place, pieces);
    if (etag === undefined) throw new Error(`${this.#bucket.access.field}: the server gave no ETag for a part`);
    (this.#sent[number - 1] as { ETag: string }).ETag = etag;
  }

  async #copy(place: PartPlace, { bytes, origin }: Piece): Promise<string | undefined> {
    const source = `${place.Bucket}/${this.#keyOf(origin.name)}`.split('/').map(encodeURIComponent).join('/');
    const range = `bytes=${origin.start}-${origin.start + bytes.length - 1}`;
    const command = new UploadPartCopyCommand({ ...place, CopySource: source, CopySourceRange: range });
    const answer = await this.#bucket.request((client, options) => client.send(command, options), { bytes: bytes.length });
    return answer.CopyPartResult?.ETag;
  }

  async #put(place: PartPlace, pieces: readonly Piece[]): Promise<string | undefined> {
    const body = Buffer.concat(pieces.map(({ bytes }) => bytes));
    const command = new UploadPartCommand({ ...place, Body: body });
    return (await this.#bucket.request((client, options) => client.send(command, options), { bytes: body.length })).ETag;
  }
}

type PartPlace = { Bucket: string; Key: string; UploadId: string; PartNumber: number };
