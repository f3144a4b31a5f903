import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { env, type WorkerLoad, type WorkerSpec } from '../../../inference-pod/contract.ts';
import { centred, dynamicallyQuantised, hungry } from '../../support/models/companions.ts';
import { spinning } from '../../support/models/hostile.ts';
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

function specOf(model: Buffer, batching: Partial<WorkerSpec['batching']> = {}, changes: Partial<WorkerSpec> = {}): WorkerSpec {
  volume.input('m.onnx', model);
  const spec = aSpec(volume, 'm.onnx', { sharding: { targetBytes: 1 << 20, maxWorkers: 1 }, ...changes });
  return { ...spec, model: { root: volume.path, path: 'm.onnx', task: 'tensors', accelerator: 'cpu' }, batching: { ...spec.batching, ...batching } };
}

function start(spec: WorkerSpec, extra: Record<string, string> = {}): WorkerProcess {
  const worker = startWorker(spec, url, extra);
  started.push(worker);
  return worker;
}

const loads = (): WorkerLoad[] => server.requests.map(({ load }) => load);
const results = (): { id: number; outputs: { y: unknown } }[] => volume.output('results.jsonl').split('\n').slice(0, -1).map((line) => JSON.parse(line) as { id: number; outputs: { y: unknown } });

describe('a model whose items know of each other in a batch runs them one by one and says so:', () => {
  /** Small items beside one that is a thousand times larger. */
  const values = Array.from({ length: 40 }, (_, i) => (i === 5 ? 1_000 : (i % 7) + 0.5));

  test.each<[what: string, model: () => Buffer, answer: (value: number) => number[], warning: RegExp]>([
    ['dynamic quantisation, known by its operators', dynamicallyQuantised, (value) => [2 * value, 0, 0, 0], /^the model quantises dynamically \(DynamicQuantizeLinear, MatMulInteger\).*each is run alone/],
    ['anything else, by its first items', centred, () => [0, 0, 0, 0], /^an item's result depends on the items beside it in a batch: the first items of the input gave other results together than alone/],
  ])('%s', async (_what, model, answer, warning) => {
    volume.input('in.jsonl', values.map((value, id) => `{"id":${id},"inputs":{"x":[${value},0,0,0]}}\n`).join(''));
    expect(await start(specOf(model())).exit).toBe(0);
    results().forEach(({ outputs }, id) => {
      const expected = answer(values[id] as number);
      for (const [at, value] of (outputs.y as number[]).entries()) expect(value).toBeCloseTo(expected[at] as number, 3);
    });
    expect(loads().some((load) => warning.test(load.warning ?? ''))).toBe(true);
  });

  test('but not a model without such operators', async () => {
    volume.input('in.jsonl', values.map((value, id) => `{"id":${id},"inputs":{"x":[${value},0,0,0]}}\n`).join(''));
    const worker = start(aSpec(volume, 'affine.onnx'));
    expect(await worker.exit).toBe(0);
    expect(loads().every((load) => load.warning === undefined)).toBe(true);
    expect(worker.log()).toContain('"size":32');
  });
});

test('a batch that does not fit the memory is halved until it does, and every item has its result', async () => {
  const items = 48;
  const line = (id: number): string => `{"id":${id},"inputs":{"x":${id}}}\n`;
  volume.input('in.jsonl', line(0));
  const usual = start(specOf(hungry(1)));
  let mapped = 0;
  const timer = setInterval(() => {
    try {
      mapped = Number(/^VmPeak:\s+(\d+)/m.exec(readFileSync(`/proc/${usual.child.pid}/status`, 'utf8'))?.[1] ?? mapped);
    } catch {
      // It has ended.
    }
  }, 5);
  expect(await usual.exit).toBe(0);
  clearInterval(timer);
  server.plan = server.finish = undefined;
  server.done.clear();

  volume.input('in.jsonl', Array.from({ length: items }, (_, id) => line(id)).join(''));
  const spec = specOf(hungry(256), {}, { job: { uid: 'another', namespace: 'n', name: 'n' }, output: { root: volume.path, path: 'out', overwrite: true } });
  // Room for four or five of them beside what the process maps anyhow; the first run, which measures, has eight.
  const worker = startWorker(spec, url, {}, mapped + 5 * 262_144);
  started.push(worker);
  expect(await worker.exit, worker.log()).toBe(0);
  expect(results().map(({ id, outputs }) => [id, outputs.y])).toEqual(Array.from({ length: items }, (_, id) => [id, id]));
}, 90_000);

test('items of many lengths share runs with their like within a budget of tokens, and come out in order', async () => {
  const lengths = Array.from({ length: 400 }, (_, i) => 1 + ((i * 7919) % 13));
  volume.input('in.jsonl', lengths.map((length, id) => `{"id":${id},"inputs":{"ids":[${new Array<number>(length).fill(id)}],"scale":2}}\n`).join(''));
  const worker = start(aSpec(volume, 'mixed.onnx', { sharding: { targetBytes: 4_096, maxWorkers: 2 }, batching: { maxSize: 64, timeoutSeconds: 60, maxTokens: 40 } }));
  expect(await worker.exit).toBe(0);
  const lines = volume.output('results.jsonl').split('\n').slice(0, -1).map((line) => JSON.parse(line) as { id: number; outputs: { sum: number; scaled: number[] } });
  expect(lines.map(({ id, outputs }) => [id, outputs.sum, outputs.scaled.length])).toEqual(lengths.map((length, id) => [id, id * length, length]));
});

test('a model that does not return while its batch size is measured costs one more restart, not the job', async () => {
  volume.input('in.jsonl', Array.from({ length: 20 }, (_, id) => `{"id":${id},"inputs":{"x":${id === 3 ? 1e15 : id}}}\n`).join(''));
  const spec = specOf(spinning(), { timeoutSeconds: 1 });
  const exits: (number | string)[] = [];
  while (exits.at(-1) !== 0 && exits.length < 5) {
    exits.push(await start(spec).exit);
    server.lose(undefined);
  }
  expect(exits).toEqual(['SIGKILL', 'SIGKILL', 'SIGKILL', 0]);
  expect(results().map(({ id }) => id)).toEqual(Array.from({ length: 20 }, (_, id) => id).filter((id) => id !== 3));
}, 90_000);

test('the batch size of a job that is long enough is measured once, and stored for every worker', async () => {
  volume.input('in.jsonl', Array.from({ length: 20_000 }, (_, id) => `{"id":${id},"inputs":{"x":[1,2,3,4]}}\n`).join(''));
  const spec = aSpec(volume, 'slow.onnx', { sharding: { targetBytes: 1 << 20, maxWorkers: 1 }, batching: { maxSize: 64, timeoutSeconds: 60 } });
  const worker = start(spec, { [env.cpuMillis]: '2000' });
  await server.until(() => server.plan !== undefined && worker.log().includes('"measured"'), 60_000);
  const plan = JSON.parse(readFileSync(join(volume.path, 'out/.millrace', spec.job.uid, 'shards.json'), 'utf8')) as { batch: { size: number } };
  const measured = JSON.parse(/"measured":(\[[^\]]*\])/.exec(worker.log())?.[1] ?? '[]') as string[];
  const sizes = measured.map((text) => Number(text.split(':')[0]));
  // How far it goes depends on the machine: a run takes half a second at most.
  expect(sizes.length).toBeGreaterThan(2);
  expect(sizes).toEqual([1, 2, 4, 8, 16, 32, 64].slice(0, sizes.length));
  expect(sizes).toContain(plan.batch.size);
  expect(server.requests.at(-1)?.load.engine).toEqual({
    provider: 'cpu', device: expect.stringMatching(/\w/) as unknown, runtime: 'onnxruntime 1.30.0', node: process.versions.node, sessions: Math.min(2, availableParallelism()), threads: 1,
  });
  // Runs of the model take 5 ms per item or so, and there is more input than sessions.
  await server.until(() => server.requests.some(({ load }) => (load.runs?.count ?? 0) > 0 && (load.queueDepth ?? 0) > 0 && (load.cpus ?? 0) > 0), 60_000);
  const runs = loads().findLast((load) => load.runs !== undefined)?.runs as NonNullable<WorkerLoad['runs']>;
  expect(runs.p50).toBeGreaterThan(0.5);
  expect(runs.p50 <= runs.p90 && runs.p90 <= runs.p99).toBe(true);
  expect(loads().at(-1)?.failuresInARow).toBe(0);
}, 90_000);
