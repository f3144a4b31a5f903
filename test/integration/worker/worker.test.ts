import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { env, type LeaseReport, leaseKey } from '../../../inference-pod/contract.ts';
import { SyncServer } from './sync-server.ts';
import { aSpec, aVolume, type Folder, root, startWorker, type WorkerProcess } from './worker-process.ts';

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

function start(...[spec, extra]: [Parameters<typeof startWorker>[0], Record<string, string>?]): WorkerProcess {
  const worker = startWorker(spec, url, extra);
  started.push(worker);
  return worker;
}

function someItems(count: number): string {
  return Array.from({ length: count }, (_, i) => (i % 50 === 9 ? `{"id":${i},"inputs":{"x":[1,2]}}\n` : `{"id":${i},"inputs":{"x":[${i},0.1,-1,0]}}\n`)).join('');
}

function lines(text: string): unknown[] {
  return text.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as unknown);
}

describe('a worker', () => {
  test('runs a whole job: every item once, in order, bad ones in errors.jsonl, the manifest last', async () => {
    volume.input('in.jsonl', someItems(1_000));
    const worker = start(aSpec(volume, 'affine.onnx'));
    expect(await worker.exit).toBe(0);
    const results = lines(volume.output('results.jsonl')) as { id: number; outputs: { y: number[] } }[];
    const errors = lines(volume.output('errors.jsonl')) as { id: number; line: number; code: string; message: string }[];
    expect(results.map(({ id }) => id)).toEqual(Array.from({ length: 1_000 }, (_, i) => i).filter((i) => i % 50 !== 9));
    expect(results[3]).toEqual({ id: 3, outputs: { y: [7, 1.2, -1, 1] } });
    expect(errors).toHaveLength(20);
    expect(errors[0]).toMatchObject({ id: 9, file: 'in.jsonl', line: 10, code: 'InvalidItem', message: 'inputs.x: expected float32 [4], got [2]' });
    expect(server.plan).toMatchObject({ items: 1_000, exact: true, files: 1 });
    expect(server.finish).toMatchObject({ items: { succeeded: 980, failed: 20 }, results: 'out/results.jsonl', manifest: 'out/manifest.json' });
    const manifest = JSON.parse(volume.output('manifest.json'));
    expect(manifest.results.sha256).toBe(createHash('sha256').update(volume.output('results.jsonl')).digest('hex'));
    expect(readdirSync(join(volume.path, 'out')).sort()).toEqual(['errors.jsonl', 'manifest.json', 'results.jsonl']);
  });

  test('says that the job is done when it is leased again after the commit', async () => {
    volume.input('in.jsonl', someItems(100));
    const spec = aSpec(volume, 'affine.onnx');
    expect(await start(spec).exit).toBe(0);
    const { plan, finish } = server;
    const done = new Map(server.done);
    server.plan = server.finish = undefined;
    server.done.clear();
    expect(await start(spec).exit).toBe(0);
    expect(server.plan).toEqual(plan);
    expect(server.finish).toEqual(finish);
    expect(server.done).toEqual(done);
  });

  test('gives the same bytes whether it is killed at random instants or not, alone or with others, on one thread or two', async () => {
    const quiet = aVolume();
    const digits = readFileSync(join(root, 'config/samples/data/digits.jsonl'));
    quiet.input('in.jsonl', digits);
    volume.input('in.jsonl', digits);
    // Other sharding may cut batches elsewhere; who runs them, and how often, may not.
    const sharding = { targetBytes: 64 * 1024, maxWorkers: 1 };
    expect(await start(aSpec(quiet, 'digits/model.onnx', { sharding })).exit).toBe(0);
    const expected = ['results.jsonl', 'errors.jsonl', 'manifest.json'].map(quiet.output);
    await server.close();
    server = new SyncServer();
    url = await server.listen();

    const spec = aSpec(volume, 'digits/model.onnx', { sharding });
    let seed = 7;
    let kills = 0;
    for (; kills < 6 && !server.finish; kills++) {
      const seen = server.requests.length;
      const pair = [start(spec), start(spec, { [env.cpuMillis]: '2000' })];
      const working = (): boolean => server.requests.slice(seen).some(({ leases }) => leases.some(({ items, plan }) => plan || items.succeeded > 0));
      await server.until(() => server.finish !== undefined || working(), 30_000);
      seed = (seed * 1103515245 + 12345) % 2 ** 31;
      await new Promise((resolve) => setTimeout(resolve, seed % 200));
      for (const { child } of pair) child.kill('SIGKILL');
      await Promise.all(pair.map(({ exit }) => exit));
      server.lose(undefined);
    }
    expect(kills).toBeGreaterThan(1);
    expect(await start(spec).exit).toBe(0);
    expect(['results.jsonl', 'errors.jsonl', 'manifest.json'].map(volume.output)).toEqual(expected);
  }, 120_000);

  test('goes on from the last checkpoint after kill -9, losing less than two of them', async () => {
    volume.input('in.jsonl', Array.from({ length: 1_600 }, (_, i) => `{"id":${i},"inputs":{"x":[${i},2,3,4]}}\n`).join(''));
    const spec = aSpec(volume, 'slow.onnx', { sharding: { targetBytes: 1 << 20, maxWorkers: 1 }, batching: { maxSize: 4, timeoutSeconds: 300 } });
    const first = start(spec);
    const inMidShard = (): LeaseReport | undefined => server.requests.at(-1)?.leases.find(({ state, items }) => state === 'running' && items.succeeded > 0);
    await server.until(() => inMidShard() !== undefined, 30_000);
    first.child.kill('SIGKILL');
    await first.exit;
    const before = inMidShard();
    server.lose(undefined);
    const second = start(spec);
    const of = server.requests[0]?.worker.incarnation;
    const again = (): LeaseReport[] => server.requests.filter(({ worker }) => worker.incarnation !== of).flatMap(({ leases }) => leases.filter(({ lease }) => before && leaseKey(lease) === leaseKey(before.lease)));
    await server.until(() => before === undefined || again().some(({ items }) => items.succeeded > 0), 30_000);
    // Its first word about the shard has everything in it that was durable before.
    if (before) expect(again().find(({ items }) => items.succeeded > 0)?.items.succeeded).toBeGreaterThanOrEqual(before.items.succeeded);
    expect(await second.exit).toBe(0);
    const results = lines(volume.output('results.jsonl')) as { id: number; outputs: { y: number[] } }[];
    expect(results.map(({ id }) => id)).toEqual(Array.from({ length: 1_600 }, (_, i) => i));
    expect(results[17]).toEqual({ id: 17, outputs: { y: [4, 17, 2, 3] } });
  }, 90_000);

  test('drains on SIGTERM: stores what is done, gives its leases back, exits 143', async () => {
    volume.input('in.jsonl', Array.from({ length: 4_000 }, (_, i) => `{"id":${i},"inputs":{"x":[${i},2,3,4]}}\n`).join(''));
    const spec = aSpec(volume, 'slow.onnx', { sharding: { targetBytes: 1 << 20, maxWorkers: 1 }, batching: { maxSize: 4, timeoutSeconds: 300 } });
    const worker = start(spec);
    await server.until(() => (server.requests.at(-1)?.leases.some(({ items }) => items.succeeded > 0) ?? false), 30_000);
    const before = Date.now();
    worker.child.kill('SIGTERM');
    expect(await worker.exit).toBe(143);
    expect(Date.now() - before).toBeLessThan(10_000);
    const last = server.requests.at(-1);
    expect(last?.draining).toBe(true);
    expect(last?.leases.map(({ state }) => state)).toEqual(last?.leases.map(() => 'released'));
    expect(existsSync(join(volume.path, 'out', 'results.jsonl'))).toBe(false);
  }, 60_000);

  test('starts no new batch while paused, and goes on afterwards', async () => {
    volume.input('in.jsonl', someItems(500));
    server.paused = true;
    server.plan = undefined;
    const worker = start(aSpec(volume, 'affine.onnx'));
    await server.until(() => server.requests.filter(({ leases }) => leases.some(({ lease }) => lease.kind === 'shard')).length > 2);
    expect(server.requests.at(-1)?.leases.every(({ items }) => items.succeeded === 0)).toBe(true);
    server.paused = false;
    server.wake();
    expect(await worker.exit).toBe(0);
  });

  test('exits with 75 when it is retired', async () => {
    volume.input('in.jsonl', someItems(10));
    server.override = () => ({ verdict: 'retired', leases: [] });
    expect(await start(aSpec(volume, 'affine.onnx')).exit).toBe(75);
  });

  test('stops a lease that is no longer listed, without a further segment', async () => {
    volume.input('in.jsonl', Array.from({ length: 2_000 }, (_, i) => `{"id":${i},"inputs":{"x":[${i},2,3,4]}}\n`).join(''));
    start(aSpec(volume, 'slow.onnx', { sharding: { targetBytes: 1 << 20, maxWorkers: 1 }, batching: { maxSize: 4, timeoutSeconds: 300 } }));
    await server.until(() => (server.requests.at(-1)?.leases.some(({ lease, items }) => lease.kind === 'shard' && items.succeeded > 0) ?? false), 30_000);
    server.override = () => ({ leases: [] });
    server.wake();
    await server.until(() => server.requests.at(-1)?.leases.length === 0);
    const state = join(volume.path, 'out', '.millrace', aSpec(volume, '').job.uid, '0', '0');
    const before = readdirSync(state);
    const seen = server.requests.length;
    await server.until(() => server.requests.length > seen + 2);
    expect(readdirSync(state)).toEqual(before);
  }, 60_000);

  test('ignores answers of an older term', async () => {
    volume.input('in.jsonl', someItems(10));
    server.term = 5;
    server.override = (request) => (request.term === 5 ? { term: 4, verdict: 'retired', leases: [] } : undefined);
    start(aSpec(volume, 'affine.onnx'));
    await server.until(() => server.requests.filter(({ term }) => term === 5).length > 2);
    server.override = undefined;
    expect(await started[0]?.exit).toBe(0);
  });

  test('keeps trying when the server refuses its token, and says so once', async () => {
    volume.input('in.jsonl', someItems(10));
    server.refuse = 403;
    const worker = start(aSpec(volume, 'affine.onnx'));
    while (worker.log().split('(403)').length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    server.refuse = 0;
    expect(await worker.exit).toBe(0);
    expect(worker.log().split('(403)')).toHaveLength(2);
  });

  test('does nothing and is done with an empty input', async () => {
    volume.input('in.jsonl', '');
    expect(await start(aSpec(volume, 'affine.onnx')).exit).toBe(0);
    expect(server.plan).toEqual({ shards: 0, items: 0, exact: true, bytes: 0, files: 1 });
    expect(volume.output('results.jsonl')).toBe('');
  });

  test('serves health, readiness and metrics', async () => {
    volume.input('in.jsonl', someItems(10));
    server.paused = true;
    const port = 20_000 + (process.pid % 20_000);
    start(aSpec(volume, 'affine.onnx'), { [env.healthPort]: String(port) });
    await server.until(() => server.requests.at(-1)?.load.engine?.provider === 'cpu');
    const get = async (path: string): Promise<string> => await (await fetch(`http://127.0.0.1:${port}${path}`)).text();
    expect(await get('/healthz')).toContain('ok');
    expect(await get('/readyz')).toContain('[+]model ok');
    expect(await get('/metrics')).toContain('millrace_worker_items_total');
  });
});

describe('a job that cannot be done ends with its own exit code and one sentence:', () => {
  const cases: [name: string, exit: number, code: string, message: RegExp, arrange: () => string | ReturnType<typeof aSpec>][] = [
    ['a spec that is no JSON', 64, 'SpecInvalid', /MILLRACE_SPEC is not valid JSON/, () => '{'],
    ['a path that leads out', 64, 'SpecInvalid', /input\.path is "\.\.\/x": it holds "\.\."/, () => JSON.stringify(aSpec(volume, 'affine.onnx', { input: { format: 'jsonl', root: volume.path, path: '../x', additionalPaths: [] } }))],
    ['a missing input', 66, 'InputNotFound', /"in\.jsonl" was not found/, () => aSpec(volume, 'affine.onnx')],
    ['a glob without matches', 66, 'InputNotFound', /"\*\.jsonl" matches no file/, () => aSpec(volume, 'affine.onnx', { input: { format: 'jsonl', root: volume.path, path: '*.jsonl', additionalPaths: [] } })],
    ['an input that is a link out of the volume', 65, 'InputInvalid', /leads out of its volume/, () => {
      symlinkSync('/etc/hostname', join(volume.path, 'in.jsonl'));
      return aSpec(volume, 'affine.onnx');
    }],
    ['a missing model', 67, 'ModelNotFound', /"none\.onnx" was not found/, () => aSpec(volume, 'none.onnx')],
    ['a model that is none', 68, 'ModelInvalid', /"not_onnx\.onnx" is not a usable ONNX model: Protobuf parsing failed/, () => aSpec(volume, 'not_onnx.onnx')],
    ['a truncated model', 68, 'ModelInvalid', /"truncated\.onnx" is not a usable ONNX model/, () => aSpec(volume, 'truncated.onnx')],
    ['an output without batch axis', 68, 'ModelInvalid', /output "version" has the shape \[\], expected a leading batch axis/, () => aSpec(volume, 'scalar_out.onnx')],
    ['CUDA where there is none', 69, 'AcceleratorUnavailable', /workers\.accelerator is "cuda"/, () => aSpec(volume, 'affine.onnx', { model: { ...aSpec(volume, 'affine.onnx').model, accelerator: 'cuda' } })],
    ['results of another job', 73, 'OutputExists', /holds a results\.jsonl that this job did not write; set spec\.output\.overwrite/, () => {
      volume.input('in.jsonl', someItems(10));
      mkdirSync(join(volume.path, 'out'));
      writeFileSync(join(volume.path, 'out/results.jsonl'), 'precious\n');
      return aSpec(volume, 'affine.onnx');
    }],
    ['an output folder that is a file', 74, 'OutputUnusable', /a part of the path is a file/, () => {
      volume.input('out', 'a file');
      return aSpec(volume, 'affine.onnx');
    }],
    ['an output volume that is not there', 74, 'OutputUnusable', /not mounted/, () => aSpec(volume, 'affine.onnx', { output: { root: '/nowhere', path: 'out', overwrite: false } })],
  ];
  test.each(cases)('%s', async (_name, exit, code, message, arrange) => {
    const worker = start(arrange());
    expect(await worker.exit).toBe(exit);
    expect(worker.terminationLog()).toEqual({ code, message: expect.stringMatching(message) as unknown });
    if (code !== 'SpecInvalid') expect(server.fatal).toMatchObject({ code });
  });

  test('an input that changes while the job runs', async () => {
    volume.input('in.jsonl', someItems(2_000));
    server.override = (request) => ({ leases: server.plan ? [] : [{ kind: 'plan' }], ...(request.leases.length ? {} : {}) });
    const worker = start(aSpec(volume, 'affine.onnx'));
    await server.until(() => server.plan !== undefined);
    volume.input('in.jsonl', someItems(1_999));
    server.override = undefined;
    server.wake();
    expect(await worker.exit).toBe(65);
    expect(worker.terminationLog()).toMatchObject({ code: 'InputInvalid', message: expect.stringMatching(/input changed: "in\.jsonl" had \d+ bytes/) as unknown });
  });

  test('but not an input whose time alone differs, as in every pod that mounts a ConfigMap', async () => {
    volume.input('in.jsonl', someItems(100));
    server.override = () => ({ leases: server.plan ? [] : [{ kind: 'plan' }] });
    const worker = start(aSpec(volume, 'affine.onnx'));
    await server.until(() => server.plan !== undefined);
    utimesSync(join(volume.path, 'in.jsonl'), 1, 1);
    server.override = undefined;
    server.wake();
    expect(await worker.exit).toBe(0);
  });

  test('the results of another job are replaced where the spec says so', async () => {
    volume.input('in.jsonl', someItems(10));
    expect(await start(aSpec(volume, 'affine.onnx')).exit).toBe(0);
    server.plan = server.finish = undefined;
    server.done.clear();
    volume.input('in.jsonl', someItems(5));
    const spec = aSpec(volume, 'affine.onnx');
    const again = { ...spec, job: { ...spec.job, uid: 'another' } };
    expect(await start(again).exit).toBe(73);
    server.fatal = undefined;
    server.lose(undefined);
    expect(await start({ ...again, output: { ...again.output, overwrite: true } }).exit).toBe(0);
    expect(lines(volume.output('results.jsonl'))).toHaveLength(5);
    expect(JSON.parse(volume.output('manifest.json')).job.uid).toBe('another');
  });
});
