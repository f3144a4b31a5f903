import { gzipSync } from 'node:zlib';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { WorkerSpec } from '../../../inference-pod/contract.ts';
import { traits } from '../../../inference-pod/engine/dtypes.ts';
import { onnxModel, type OnnxType, onnxTypes } from '../../support/models/onnx.ts';
import { SyncServer } from './sync-server.ts';
import { aSpec, aVolume, type Folder, startWorker, type WorkerProcess } from './worker-process.ts';

let server: SyncServer;
let url: string;
let volume: Folder;
let started: WorkerProcess[];

beforeEach(async () => {
  server = new SyncServer();
  url = await server.listen();
  volume = aVolume();
  started = [];
});

afterEach(async () => {
  for (const { child } of started) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  await Promise.all(started.map(({ exit }) => exit));
  await server.close();
});

type Input = Partial<WorkerSpec['input']>;

async function run(model: string, input: Input, changes: Partial<WorkerSpec> = {}): Promise<WorkerProcess & { code: number | string }> {
  const spec = aSpec(volume, model, changes);
  const worker = startWorker({ ...spec, input: { ...spec.input, ...input } }, url);
  started.push(worker);
  return { ...worker, code: await worker.exit };
}

const lines = (name: string): string[] => volume.output(name).split('\n').filter((line) => line !== '');
const json = (name: string): unknown[] => lines(name).map((line) => JSON.parse(line) as unknown);

describe('CSV', () => {
  test('with quoted newlines gives the same results in one shard and in many, on the real model', async () => {
    const rows = Array.from({ length: 300 }, (_, i) => `${i % 7 === 0 ? `"first\nline ""${i}"""` : `row ${i}`},${i},"${i / 4}",${-i},${i % 50 === 9 ? 'oops' : 1},"a, ""b""\r\n c"`);
    volume.input('in.csv', `\ufeffid,x[0],x[1],x[2],x[3],remark\r\n${rows.join('\r\n')}`);
    const whole = await run('affine.onnx', { format: 'csv', path: 'in.csv' }, { sharding: { targetBytes: 1 << 20, maxWorkers: 1 } });
    expect(whole.code).toBe(0);
    const expected = [volume.output('results.jsonl'), volume.output('errors.jsonl')];
    expect(JSON.parse(expected[0]?.split('\n')[0] ?? '')).toEqual({ id: 'first\nline "0"', outputs: { y: [1, 1, 1, 3] } });
    expect(lines('results.jsonl')).toHaveLength(294);
    expect(json('errors.jsonl')[0]).toMatchObject({ id: 'row 9', line: 22, code: 'InvalidItem', message: 'column "x[3]": expected float32, got text that is no number' });
    expect(server.plan).toMatchObject({ items: 300, exact: true });
    server.plan = server.finish = undefined;
    server.done.clear();
    const changes: Partial<WorkerSpec> = { sharding: { targetBytes: 60, maxWorkers: 2 }, output: { root: volume.path, path: 'out', overwrite: true }, job: { uid: 'another', namespace: 'n', name: 'n' } };
    expect((await run('affine.onnx', { format: 'csv', path: 'in.csv' }, changes)).code).toBe(0);
    expect((server.plan as unknown as { shards: number }).shards).toBeGreaterThan(100);
    expect([volume.output('results.jsonl'), volume.output('errors.jsonl')]).toEqual(expected);
  });

  test('feeds several inputs of several types', async () => {
    volume.input('in.csv', 'ids,scale\n"[4503599627370497,0]",0.5\n"[1,2,3]",2\n');
    expect((await run('mixed.onnx', { format: 'csv', path: 'in.csv' })).code).toBe(0);
    expect(lines('results.jsonl')).toEqual(['{"file":"in.csv","line":2,"outputs":{"sum":4503599627370497,"scaled":[2251799800000000,0]}}', '{"file":"in.csv","line":3,"outputs":{"sum":6,"scaled":[2,4,6]}}']);
  });

  test.each([
    ['a quote that is never closed', 'x\n1\n2\n"3\n4\n', /input "in\.csv": the quote that opens in the record at line 4 is never closed; quotes within quotes are doubled/],
    ['a header that does not go with the model', 'a,b\n1,2\n', /input "in\.csv": its columns make a shape of \[2\], the input "x" is float32 \[4\]/],
    ['no header', '\n1,2,3,4\n', /input "in\.csv": its first line, the header, is blank; it must name the columns/],
    ['a header that is not UTF-8', Buffer.from('61ff0a', 'hex'), /input "in\.csv": its first line, the header, is not valid UTF-8/],
  ])('with %s is refused before any shard', async (_what, content, message) => {
    volume.input('in.csv', content);
    const worker = await run('affine.onnx', { format: 'csv', path: 'in.csv' });
    expect(worker.code).toBe(65);
    expect(worker.terminationLog()).toEqual({ code: 'InputInvalid', message: expect.stringMatching(message) as unknown });
  });
});

describe('gzip', () => {
  const items = (from: number, count: number): string => Array.from({ length: count }, (_, i) => `{"id":${from + i},"inputs":{"x":[${from + i},0,0,0]}}\n`).join('');
  const ids = (): unknown[] => json('results.jsonl').map((line) => (line as { id: unknown }).id);

  test('is unpacked on the way, also in several members, beside files that are not packed', async () => {
    mkdirSync(join(volume.path, 'in'));
    volume.input('in/a.jsonl', items(0, 100));
    volume.input('in/b.jsonl.gz', Buffer.concat([gzipSync(items(100, 500)), gzipSync(items(600, 400))]));
    volume.input('in/c', items(1_000, 100));
    expect((await run('affine.onnx', { path: 'in' }, { sharding: { targetBytes: 1_000, maxWorkers: 2 } })).code).toBe(0);
    expect(ids()).toEqual(Array.from({ length: 1_100 }, (_, i) => i));
    expect(server.plan).toMatchObject({ items: 1_100, exact: true, files: 3, bytes: Buffer.byteLength(items(0, 1_100)) });
  });

  test.each([
    ['cut off', (whole: Buffer) => whole.subarray(0, whole.length - 20), /input "in\.gz" is not a whole gzip file: unexpected end of file; write it again, or give it unpacked/],
    ['damaged', (whole: Buffer) => Buffer.concat([whole.subarray(0, whole.length - 8), Buffer.alloc(8, 1)]), /input "in\.gz" is not a whole gzip file: incorrect data check/],
  ])('that is %s is refused before any shard', async (_what, spoil, message) => {
    volume.input('in.gz', spoil(gzipSync(items(0, 1_000))));
    const worker = await run('affine.onnx', { path: 'in.gz' });
    expect(worker.code).toBe(65);
    expect(worker.terminationLog()).toEqual({ code: 'InputInvalid', message: expect.stringMatching(message) as unknown });
  });

  test('that is a bomb is refused', async () => {
    volume.input('in.gz', gzipSync(Buffer.alloc(200 * 1024 * 1024, ' ')));
    const worker = await run('affine.onnx', { path: 'in.gz' });
    expect(worker.code).toBe(65);
    expect(worker.terminationLog()).toEqual({ code: 'InputInvalid', message: expect.stringMatching(/input "in\.gz" has \d+ bytes and unpacks to more than 67108864, which is taken for an attack/) as unknown });
  });

  test('goes on in mid-file after kill -9', async () => {
    const count = 1_600;
    volume.input('in.gz', gzipSync(Array.from({ length: count }, (_, i) => `{"id":${i},"inputs":{"x":[${i},2,3,4]}}\n`).join('')));
    const spec = aSpec(volume, 'slow.onnx', { batching: { maxSize: 4, timeoutSeconds: 300 } });
    const gz = { ...spec, input: { ...spec.input, path: 'in.gz' } };
    const first = startWorker(gz, url);
    started.push(first);
    await server.until(() => server.requests.at(-1)?.leases.some(({ items: done }) => done.succeeded > 0) ?? false, 40_000);
    first.child.kill('SIGKILL');
    await first.exit;
    server.lose(undefined);
    expect((await run('slow.onnx', { path: 'in.gz' }, { batching: spec.batching })).code).toBe(0);
    expect(ids()).toEqual(Array.from({ length: count }, (_, i) => i));
  }, 90_000);
});

test('several paths are read one behind the other, each in byte order, no file twice', async () => {
  mkdirSync(join(volume.path, 'b'));
  for (const name of ['z.jsonl', 'b/2.jsonl', 'b/1.jsonl', 'a1.jsonl', 'a2.jsonl']) volume.input(name, `{"id":"${name}","inputs":{"x":[0,0,0,0]}}\n`);
  expect((await run('affine.onnx', { path: 'z.jsonl', additionalPaths: ['b', 'a*.jsonl', 'b/1.jsonl'] })).code).toBe(0);
  expect(json('results.jsonl').map((line) => (line as { id: unknown }).id)).toEqual(['z.jsonl', 'b/1.jsonl', 'b/2.jsonl', 'a1.jsonl', 'a2.jsonl']);
});

describe('every type that ONNX Runtime takes goes through it and comes back exactly:', () => {
  const some: Record<OnnxType, string[]> = {
    float32: ['0.1', '-3.4028235e+38', '1e-45', '16777217', '-0'],
    float64: ['0.1', '1.7976931348623157e+308', '5e-324', '9007199254740993'],
    float16: ['0.1', '65504', '6e-8', '-0'],
    int8: ['-128', '127'], uint8: ['0', '255'], int16: ['-32768', '32767'], uint16: ['0', '65535'],
    int32: ['-2147483648', '2147483647'], uint32: ['0', '4294967295'],
    int64: ['-9223372036854775808', '9223372036854775807', '9007199254740993'],
    uint64: ['0', '18446744073709551615', '9007199254740993'],
    bool: ['true', 'false'],
    string: ['"é\\u2028"', '""'],
  };

  /** What must come back: rounded to the type, in the fewest digits that say so. */
  function shortest(type: OnnxType, text: string): string {
    if (type === 'float32') return text === '16777217' ? '16777216' : text;
    if (type === 'float64') return text === '9007199254740993' ? '9007199254740992' : text;
    return text === '"é\\u2028"' ? '"é\u2028"' : text;
  }

  test.each(Object.keys(onnxTypes) as OnnxType[])('%s', async (type) => {
    volume.input('m.onnx', onnxModel({ inputs: [{ name: 'x', type, shape: ['N', 'L'] }], outputs: [{ name: 'y', type, shape: ['N', 'L'] }], nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }] }));
    const values = some[type];
    const array = traits[type].array;
    const bytes = array && new array(values.length);
    values.forEach((text, at) => {
      if (bytes) (bytes as unknown as (number | bigint)[])[at] = type === 'int64' || type === 'uint64' ? BigInt(text) : type === 'bool' ? Number(text === 'true') : Number(text);
    });
    const b64 = bytes && `{"inputs":{"x":{"dtype":"${type}","shape":[${values.length}],"b64":"${Buffer.from(bytes.buffer).toString('base64')}"}}}\n`;
    volume.input('in.jsonl', `{"inputs":{"x":[${values.join(',')}]}}\n${b64 ?? ''}`);
    const model = { root: volume.path, path: 'm.onnx', task: 'tensors', accelerator: 'cpu' } as const;
    expect((await run('', {}, { model })).code).toBe(0);
    const expected = values.map((text) => shortest(type, text)).join(',');
    expect(lines('results.jsonl').map((line) => line.replace(/^.*"y":/, ''))).toEqual(Array.from({ length: b64 ? 2 : 1 }, () => `[${expected}]}}`));
  });
});
