/** A real S3 server, versitygw, whose buckets are folders of this machine. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer, connect, type AddressInfo } from 'node:net';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { ensureVersitygw } from '../../dev/cluster/index.ts';
import { s3Env, type S3Place } from '../../inference-pod/contract.ts';

export const keys = { accessKeyId: 'millrace-test', secretAccessKey: 'canary-of-the-secret-key' };
/** The environment of a worker whose input and output are on the server. */
export const keysEnv = Object.fromEntries(
  Object.values(s3Env).flatMap(({ accessKeyId, secretAccessKey }) => [[accessKeyId, keys.accessKeyId], [secretAccessKey, keys.secretAccessKey]]),
);

export interface S3Server {
  place: S3Place;
  /** Folder of the bucket: objects are files. */
  folder: string;
  put(key: string, content: string | Buffer): Promise<void>;
  /** Text of an object. */
  read(key: string): string;
  /** Keys below `prefix`, sorted. */
  keysBelow(prefix: string): string[];
  /** Multipart uploads that were begun and not ended. */
  openUploads(): number;
  /** Ends the server; its buckets stay for `start`. */
  stop(): Promise<void>;
  start(): Promise<void>;
  close(): Promise<void>;
}

export async function startS3(): Promise<S3Server> {
  const program = await ensureVersitygw();
  const root = mkdtempSync(join(tmpdir(), 'millrace-s3-'));
  const folder = join(root, 'data');
  const port = await freePort();
  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    child = spawn(program, ['--port', `127.0.0.1:${port}`, '--quiet', 'posix', root], {
      stdio: 'ignore',
      env: { ROOT_ACCESS_KEY_ID: keys.accessKeyId, ROOT_SECRET_ACCESS_KEY: keys.secretAccessKey },
    });
    await listening(port, child);
  };
  const stop = async (): Promise<void> => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child?.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  };
  await start();
  const place: S3Place = { bucket: 'data', region: 'us-east-1', endpoint: `http://127.0.0.1:${port}`, pathStyle: true };
  const client = new S3Client({ region: place.region, endpoint: `http://127.0.0.1:${port}`, forcePathStyle: true, credentials: keys });
  await client.send(new CreateBucketCommand({ Bucket: place.bucket }));
  const below = (path: string): string[] =>
    existsSync(path) ? readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1)).sort() : [];
  return {
    place,
    folder,
    put: async (key, content) => {
      await client.send(new PutObjectCommand({ Bucket: place.bucket, Key: key, Body: Buffer.from(content) }));
    },
    read: (key) => readFileSync(join(folder, key), 'utf8'),
    keysBelow: (prefix) => below(join(folder, prefix)),
    // Where versitygw keeps parts until they are put together.
    openUploads: () => below(join(folder, '.sgwtmp')).length,
    start,
    stop,
    close: async () => {
      client.destroy();
      await stop();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** Puts a file below the server by hand, as `put` does not: such objects have no ETag. */
export function makeFolder(server: S3Server, key: string): string {
  const path = join(server.folder, key);
  mkdirSync(path, { recursive: true });
  return path;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function listening(port: number, child: ChildProcess): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`versitygw ended with ${child.exitCode}`);
    const socket = connect(port, '127.0.0.1');
    const open = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    socket.destroy();
    if (open) return;
    if (Date.now() > deadline) throw new Error('versitygw does not listen after 30 s');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
