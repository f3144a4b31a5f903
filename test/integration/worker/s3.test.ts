import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { env, s3Env, type S3InputPlace, type S3OutputPlace, type WorkerSpec } from '../../../inference-pod/contract.ts';
import { slowItems, slowResults } from '../../support/e2e/slow.ts';
import { keys, keysEnv, makeFolder, type S3Server, startS3 } from '../../support/s3.ts';
import { SyncServer } from './sync-server.ts';
import { aSpec, aVolume, startWorker, type WorkerProcess } from './worker-process.ts';

let s3: S3Server;
let sync: SyncServer;
let url: string;
let started: WorkerProcess[];
/** Each test has a folder of its own in the bucket. */
let home: string;
let homes = 0;

beforeAll(async () => {
  s3 = await startS3();
}, 600_000);
afterAll(async () => {
  await s3.close();
});
beforeEach(async () => {
  sync = new SyncServer();
  url = await sync.listen();
  started = [];
  home = `home-${++homes}`;
});
afterEach(async () => {
  for (const { child } of started) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  await Promise.all(started.map(({ exit }) => exit));
  await sync.close();
});

/** Fails with what the worker said. */
async function done(worker: WorkerProcess): Promise<void> {
  const code = await worker.exit;
  expect(code, worker.log()).toBe(0);
}

function start(spec: WorkerSpec, extra: Record<string, string> = {}): WorkerProcess {
  const worker = startWorker(spec, url, { ...keysEnv, ...extra });
  started.push(worker);
  return worker;
}

/** A job over the object `in.jsonl` of the test's folder, with its output beside it. */
function aJob({ input = {}, output = {}, ...changes }: { input?: Partial<S3InputPlace>; output?: Partial<S3OutputPlace & { overwrite: boolean }> } & Partial<Omit<WorkerSpec, 'input' | 'output'>> = {}): WorkerSpec {
  return {
    ...aSpec(aVolume(), 'affine.onnx', changes),
    input: { format: 'jsonl', ...s3.place, key: `${home}/in.jsonl`, additionalKeys: [], ...input },
    output: { ...s3.place, prefix: `${home}/out/`, overwrite: false, ...output },
  };
}

const someItems = (count: number, first = 0): string =>
  Array.from({ length: count }, (_, i) => (i % 50 === 9 ? `{"id":${first + i},"inputs":{"x":[1,2]}}\n` : `{"id":${first + i},"inputs":{"x":[${i},0.1,-1,0]}}\n`)).join('');
const outputs = ['results.jsonl', 'errors.jsonl', 'manifest.json'];
const fromS3 = (name: string): string => s3.read(`${home}/out/${name}`);
const ids = (text: string): unknown[] => text.split('\n').filter((line) => line !== '').map((line) => (JSON.parse(line) as { id: unknown }).id);
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** What the same job gives on a volume. */
async function onVolume(content: string, changes: Partial<WorkerSpec> = {}): Promise<string[]> {
  const volume = aVolume();
  volume.input('in.jsonl', content);
  const server = new SyncServer();
  const worker = startWorker(aSpec(volume, 'affine.onnx', changes), await server.listen());
  await done(worker);
  await server.close();
  return outputs.map(volume.output);
}

describe('with input and output in S3, a worker', () => {
  test('writes the same bytes as to a volume, leaves nothing else, and tells no secret', async () => {
    const items = someItems(1_000);
    await s3.put(`${home}/in.jsonl`, items);
    const worker = start(aJob(), { [env.logLevel]: 'trace' });
    await done(worker);
    const [results, errors] = await onVolume(items);
    expect(fromS3('results.jsonl')).toBe(results);
    expect(fromS3('errors.jsonl')).toBe(errors?.replaceAll('"file":"in.jsonl"', `"file":"${home}/in.jsonl"`));
    expect(s3.keysBelow(`${home}/out`)).toEqual(outputs.map((name) => `${home}/out/${name}`).sort());
    expect(sync.finish).toMatchObject({ items: { succeeded: 980, failed: 20 }, results: `s3://data/${home}/out/results.jsonl`, manifest: `s3://data/${home}/out/manifest.json` });
    expect(JSON.parse(fromS3('manifest.json'))).toMatchObject({ results: { sha256: sha256(results ?? '') }, input: { path: `s3://data/${home}/in.jsonl`, files: 1 } });
    expect(worker.log()).not.toContain(keys.secretAccessKey);
  }, 240_000);

  test('gives the same bytes whether it is killed at random instants or not, with another one beside it', async () => {
    const items = someItems(20_000);
    const sharding = { targetBytes: 128 * 1024, maxWorkers: 1 };
    await s3.put(`${home}/in.jsonl`, items);
    const expected = await onVolume(items, { sharding });
    const spec = aJob({ sharding });
    let seed = 11;
    let kills = 0;
    for (; kills < 5 && !sync.finish; kills++) {
      const seen = sync.requests.length;
      const pair = [start(spec), start(spec)];
      const working = (): boolean => sync.requests.slice(seen).some(({ leases }) => leases.some(({ items: done, plan }) => plan || done.succeeded > 0));
      await sync.until(() => sync.finish !== undefined || working(), 60_000);
      seed = (seed * 1103515245 + 12345) % 2 ** 31;
      await new Promise((resolve) => setTimeout(resolve, seed % 300));
      for (const { child } of pair) child.kill('SIGKILL');
      await Promise.all(pair.map(({ exit }) => exit));
      sync.lose(undefined);
    }
    expect(kills).toBeGreaterThan(1);
    await done(start(spec));
    expect(fromS3('results.jsonl')).toBe(expected[0]);
    expect(fromS3('errors.jsonl').replaceAll(`${home}/`, '')).toBe(expected[1]);
    expect(s3.keysBelow(`${home}/out`)).toHaveLength(3);
    expect(s3.openUploads()).toBe(0);
  }, 300_000);

  test('that was frozen in mid-shard and comes back after the commit changes nothing and leaves nothing', async () => {
    const items = slowItems(800);
    await s3.put(`${home}/in.jsonl`, items.map((item) => `${JSON.stringify(item)}\n`).join(''));
    const base = aJob({ sharding: { targetBytes: 1 << 20, maxWorkers: 1 }, batching: { maxSize: 4, timeoutSeconds: 300 } });
    const spec = { ...base, model: { ...base.model, path: 'slow.onnx' } };
    const zombie = start(spec);
    await sync.until(() => sync.requests.some(({ leases }) => leases.some(({ state, items: done }) => state === 'running' && done.succeeded > 0)), 120_000);
    zombie.child.kill('SIGSTOP');
    sync.lose(undefined);
    await done(start(spec));
    zombie.child.kill('SIGCONT');
    await done(zombie);
    expect(fromS3('results.jsonl')).toBe(slowResults(800));
    expect(s3.keysBelow(`${home}/out`)).toHaveLength(3);
  }, 240_000);

  test('joins large results in parts, of which it copies the large ones within the store', async () => {
    const id = 'x'.repeat(2_000);
    const items = Array.from({ length: 9_000 }, (_, i) => `{"id":"${id}${i}","inputs":{"x":[${i},2,3,4]}}\n`).join('');
    await s3.put(`${home}/in.jsonl`, items);
    // Segments end at 8 MiB: each of the two shards has one that is copied, and a small one, sent with its neighbour.
    const worker = start(aJob({ sharding: { targetBytes: 9 * 1024 * 1024, maxWorkers: 1 } }));
    await done(worker);
    const results = fromS3('results.jsonl');
    expect(results.length).toBeGreaterThan(2 * 8 * 1024 * 1024);
    expect(ids(results)).toEqual(Array.from({ length: 9_000 }, (_, i) => `${id}${i}`));
    expect(JSON.parse(fromS3('manifest.json')).results).toEqual({ path: 'results.jsonl', bytes: results.length, sha256: sha256(results) });
    expect(s3.openUploads()).toBe(0);
  }, 180_000);

  test('reads folders, globs, packed objects and further keys, each object once, in the order of keys', async () => {
    await s3.put(`${home}/a/2.jsonl`, someItems(5, 20));
    await s3.put(`${home}/a/10.jsonl.gz`, gzipSync(someItems(5, 10)));
    await s3.put(`${home}/a/.hidden.jsonl`, someItems(5, 99));
    await s3.put(`${home}/b.jsonl`, someItems(5, 30));
    await s3.put(`${home}/b.txt`, someItems(5, 99));
    await s3.put(`${home}/empty.jsonl`, '');
    const spec = aJob({ input: { key: `${home}/a`, additionalKeys: [`${home}/*.jsonl`, `${home}/a/2.jsonl`] } });
    await done(start(spec));
    expect(ids(fromS3('results.jsonl'))).toEqual([10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 30, 31, 32, 33, 34]);
    expect(sync.plan).toMatchObject({ files: 4, items: 15, exact: true });
  }, 240_000);

  test('finds objects behind the first page of a listing, also such as have no ETag', async () => {
    const folder = makeFolder(s3, `${home}/many`);
    for (let i = 0; i < 1_010; i++) writeFileSync(join(folder, `${String(i).padStart(4, '0')}.${i < 990 ? 'txt' : 'jsonl'}`), `{"id":${i},"inputs":{"x":[1,2,3,4]}}\n`);
    await done(start(aJob({ input: { key: `${home}/many/*.jsonl` } })));
    expect(ids(fromS3('results.jsonl'))).toEqual(Array.from({ length: 20 }, (_, i) => 990 + i));
  }, 240_000);

  test('goes on when the server was away for a while', async () => {
    await s3.put(`${home}/in.jsonl`, someItems(3_000));
    const worker = start(aJob());
    await sync.until(() => sync.plan !== undefined, 60_000);
    await s3.stop();
    const seen = sync.requests.length;
    await sync.until(() => sync.requests.length > seen + 2, 60_000);
    await s3.start();
    await done(worker);
    expect(ids(fromS3('results.jsonl'))).toHaveLength(2_940);
  }, 240_000);

  test('may have its input on a volume and its output in S3, or the other way', async () => {
    const volume = aVolume();
    volume.input('in.jsonl', someItems(100));
    const there = { ...aSpec(volume, 'affine.onnx'), output: aJob().output };
    await done(start(there));
    const results = fromS3('results.jsonl');
    sync.plan = sync.finish = undefined;
    sync.done.clear();
    await s3.put(`${home}/in.jsonl`, someItems(100));
    await done(start({ ...aSpec(volume, 'affine.onnx'), input: aJob().input }));
    expect(volume.output('results.jsonl')).toBe(results);
  }, 240_000);

  test('replaces the results of another job only where the spec says so', async () => {
    await s3.put(`${home}/in.jsonl`, someItems(10));
    await done(start(aJob()));
    const again = (): void => {
      sync.plan = sync.finish = sync.fatal = undefined;
      sync.done.clear();
      sync.lose(undefined);
    };
    again();
    await s3.put(`${home}/in.jsonl`, someItems(5));
    const job = { ...aJob().job, uid: 'another' };
    const refused = start(aJob({ job }));
    expect(await refused.exit).toBe(73);
    expect(refused.terminationLog()).toMatchObject({ code: 'OutputExists', message: expect.stringMatching(/^spec\.output\.s3 "s3:\/\/data\/home-\d+\/out\/" holds the results of job /) as unknown });
    again();
    await done(start(aJob({ job, output: { overwrite: true } })));
    expect(ids(fromS3('results.jsonl'))).toHaveLength(5);
    expect(JSON.parse(fromS3('manifest.json')).job.uid).toBe('another');
  }, 240_000);

  test('refuses an input that changes while the job runs', async () => {
    await s3.put(`${home}/in.jsonl`, someItems(2_000));
    sync.override = () => ({ leases: sync.plan ? [] : [{ kind: 'plan' }] });
    const worker = start(aJob());
    await sync.until(() => sync.plan !== undefined, 60_000);
    await s3.put(`${home}/in.jsonl`, someItems(2_000, 7));
    sync.override = undefined;
    sync.wake();
    expect(await worker.exit).toBe(65);
    expect(worker.terminationLog()).toEqual({ code: 'InputInvalid', message: `input changed: "${home}/in.jsonl" was written to since the job began; inputs must stay as they are until the job is finished` });
  }, 240_000);
});

describe('a job in S3 that cannot be done ends with its own exit code and one sentence:', () => {
  const cases: [name: string, exit: number, code: string, message: RegExp, spec: () => WorkerSpec, extra?: Record<string, string>][] = [
    ['no such object', 66, 'InputNotFound', /^spec\.input\.s3\.key "home-\d+\/in\.jsonl" is no object and has none below it in bucket "data"/, () => aJob()],
    ['a glob without matches', 66, 'InputNotFound', /key "home-\d+\/\*\.jsonl" matches no object in bucket "data"/, () => aJob({ input: { key: `${home}/*.jsonl` } })],
    ['no such bucket', 66, 'InputNotFound', /^spec\.input\.s3\.bucket: there is no bucket "nowhere"; create it/, () => aJob({ input: { bucket: 'nowhere' } })],
    ['no such bucket for the output', 74, 'OutputUnusable', /^spec\.output\.s3\.bucket: there is no bucket "nowhere"/, () => aJob({ output: { bucket: 'nowhere' } })],
    ['an access key that nobody has', 77, 'AccessDenied', /^spec\.output\.s3\.credentialsSecret: its keys are not taken: .*; put valid AWS_ACCESS_KEY_ID/, () => aJob(), { [s3Env.output.accessKeyId]: 'nobody' }],
    ['a wrong secret key', 77, 'AccessDenied', /^spec\.input\.s3\.credentialsSecret: .*SignatureDoesNotMatch/, () => aJob(), { [s3Env.input.secretAccessKey]: 'wrong' }],
    ['another region', 65, 'InputInvalid', /^spec\.input\.s3\.region is "mars-1": .*us-east-1/, () => aJob({ input: { region: 'mars-1' } })],
    ['no credentials', 64, 'SpecInvalid', /^MILLRACE_OUTPUT_ACCESS_KEY_ID and MILLRACE_OUTPUT_SECRET_ACCESS_KEY are not set/, () => aJob(), { [s3Env.output.accessKeyId]: '' }],
    ['an endpoint where nobody listens', 66, 'InputNotFound', /^spec\.input\.s3: endpoint "http:\/\/127\.0\.0\.1:1" cannot be reached: ECONNREFUSED.*spec\.network\.egress/, () => aJob({ input: { endpoint: 'http://127.0.0.1:1' } })],
  ];
  test.each(cases)('%s', async (_name, exit, code, message, spec, extra) => {
    const worker = start(spec(), extra);
    expect(await worker.exit).toBe(exit);
    expect(worker.terminationLog()).toEqual({ code, message: expect.stringMatching(message) as unknown });
    expect(worker.log()).not.toContain(keys.secretAccessKey);
  }, 180_000);
});
