import { GetObjectCommand, type GetObjectCommandOutput, ListObjectsV2Command, type ListObjectsV2CommandOutput, S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import { sleep } from '../../../kit/backoff.ts';
import { asFault, codeOf, statusOf } from './faults.ts';
import type { S3Access } from './place.ts';

/** With the pauses between them that the SDK makes, about half a minute: as long as a server restarts. Then the worker does. */
const attempts = 10;
const connectMs = 5_000;
/** One attempt may take this long, and a second more for each MiB that goes with it. */
const answerMs = 30_000;
const longestMs = 300_000;
/** How often a body is asked for again that broke off. */
const bodyAttempts = 5;

export interface Stored {
  bytes: Buffer;
  /** Of the whole object. */
  size: number;
  stamp: string;
}

export interface Listed {
  key: string;
  size: number;
  stamp: string;
}

/** What the SDK is told of one request. */
interface RequestOptions {
  requestTimeout: number;
  abortSignal: AbortSignal;
}

/** One bucket: every request has its time limit, and every failure its sentence. */
export class Bucket {
  readonly access: S3Access;
  readonly #client: S3Client;
  /** The server has taken the keys once. */
  #known = false;

  constructor(access: S3Access) {
    this.access = access;
    const { region, endpoint, pathStyle, credentials } = access;
    const config: S3ClientConfig = {
      region,
      credentials,
      forcePathStyle: pathStyle,
      ...(endpoint === undefined ? {} : { endpoint }),
      maxAttempts: attempts,
      retryMode: 'standard',
      requestHandler: { connectionTimeout: connectMs, requestTimeout: answerMs, throwOnRequestTimeout: true, socketTimeout: answerMs },
      // Many servers other than AWS do not know the newer checksums.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    };
    this.#client = new S3Client(config);
  }

  /** `s3://bucket/key`. */
  address(key: string): string {
    return `s3://${this.access.bucket}/${key}`;
  }

  /**
   * One request; `bytes` go with it. Throws FatalError for what no retry can mend, but for `expected` error codes, which
   * come as they are.
   */
  async request<Answer>(
    send: (client: S3Client, options: RequestOptions) => Promise<Answer>,
    { bytes = 0, expected = [], signal }: { bytes?: number; expected?: readonly string[]; signal?: AbortSignal | undefined } = {},
  ): Promise<Answer> {
    const timeout = AbortSignal.timeout(longestMs + moreMs(bytes));
    try {
      const answer = await send(this.#client, {
        requestTimeout: answerMs + moreMs(bytes),
        abortSignal: signal === undefined ? timeout : AbortSignal.any([timeout, signal]),
      });
      this.#known = true;
      return answer;
    } catch (error) {
      signal?.throwIfAborted();
      if (statusOf(error) !== undefined && expected.includes(codeOf(error))) {
        this.#known = true;
        throw error;
      }
      throw asFault(error, this.access, this.#known);
    }
  }

  /**
   * Bytes `range` (as in the header: `0-9`, `-9`; all, when absent) of an object; undefined when there is no such
   * object. `stamp`: throws Changed when the object is another one now.
   */
  async get(key: string, { range, stamp, signal }: { range?: string; stamp?: string; signal?: AbortSignal } = {}): Promise<Stored | undefined> {
    for (let attempt = 1; ; attempt++) {
      let answer: GetObjectCommandOutput;
      try {
        const command = new GetObjectCommand({
          Bucket: this.access.bucket,
          Key: key,
          ...(range === undefined ? {} : { Range: `bytes=${range}` }),
          ...(stamp?.startsWith('"') ? { IfMatch: stamp } : {}),
        });
        answer = await this.request((client, options) => client.send(command, options), { signal, expected: ['NoSuchKey', 'InvalidRange', 'PreconditionFailed'] });
      } catch (error) {
        if (codeOf(error) === 'NoSuchKey') return undefined;
        if (codeOf(error) === 'InvalidRange') return { bytes: Buffer.alloc(0), size: 0, stamp: '' };
        if (codeOf(error) === 'PreconditionFailed') throw new Changed(key);
        throw error;
      }
      const is = stampOf(answer);
      if (stamp !== undefined && is !== stamp) throw new Changed(key);
      const size = Number(/\/(\d+)$/.exec(answer.ContentRange ?? '')?.[1] ?? answer.ContentLength);
      try {
        return { bytes: await bodyOf(answer, signal), size, stamp: is };
      } catch (error) {
        signal?.throwIfAborted();
        if (attempt >= bodyAttempts) throw asFault(error, this.access, this.#known);
        await sleep(200 * attempt, signal);
      }
    }
  }

  /** All objects whose key begins with `prefix`, in ascending byte order of the key. */
  async *list(prefix: string): AsyncGenerator<Listed> {
    for (let token: string | undefined; ; ) {
      const command = new ListObjectsV2Command({ Bucket: this.access.bucket, Prefix: prefix, ...(token === undefined ? {} : { ContinuationToken: token }) });
      const page: ListObjectsV2CommandOutput = await this.request((client, options) => client.send(command, options));
      for (const { Key, Size, ...object } of page.Contents ?? []) if (Key !== undefined) yield { key: Key, size: Size ?? 0, stamp: stampOf(object) };
      token = page.IsTruncated ? page.NextContinuationToken : undefined;
      if (token === undefined) return;
    }
  }
}

/** What a transfer of `bytes` may take on top. */
function moreMs(bytes: number): number {
  return Math.ceil(bytes / 1024);
}

/** The object is not the one that was asked for. */
export class Changed extends Error {}

/** The ETag, or the time of change where a server has none (files that were put below versitygw by hand). */
function stampOf({ ETag, LastModified }: { ETag?: string | undefined; LastModified?: Date | undefined }): string {
  return ETag || (LastModified?.toISOString() ?? '');
}

async function bodyOf({ Body, ContentLength }: GetObjectCommandOutput, signal: AbortSignal | undefined): Promise<Buffer> {
  const timeout = AbortSignal.timeout(answerMs + moreMs(ContentLength ?? 0));
  const stream = Body as unknown as NodeJS.ReadableStream & { destroy(error?: Error): void };
  const stop = AbortSignal.any([timeout, ...(signal === undefined ? [] : [signal])]);
  const onAbort = (): void => stream.destroy(new Error('the answer took too long'));
  stop.addEventListener('abort', onAbort);
  try {
    const parts: Buffer[] = [];
    for await (const part of stream) parts.push(part as Buffer);
    const bytes = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
    if (ContentLength !== undefined && bytes.length !== ContentLength) throw new Error(`the answer broke off after ${bytes.length} of ${ContentLength} bytes`);
    return bytes;
  } finally {
    stop.removeEventListener('abort', onAbort);
  }
}
