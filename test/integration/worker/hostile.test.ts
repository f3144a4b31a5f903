import { linkSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { WorkerSpec } from '../../../inference-pod/contract.ts';
import { slowToLoad, spinning, widening, withExternalData, withHiddenExternalData } from '../../support/models/hostile.ts';
import { onnxModel } from '../../support/models/onnx.ts';
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
  mkdirSync(join(volume.path, 'model'));
});

afterEach(async () => {
  for (const { child } of started) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  await Promise.all(started.map(({ exit }) => exit));
  await server.close();
});

const floats = (...values: number[]): Buffer => Buffer.from(new Float32Array(values).buffer);

/** A job that runs `model` from its own volume. */
function specOf(model: Buffer, changes: Partial<WorkerSpec> = {}): WorkerSpec {
  volume.input('model/m.onnx', model);
  return { ...aSpec(volume, 'model/m.onnx', changes), model: { root: volume.path, path: 'model/m.onnx', task: 'tensors', accelerator: 'cpu' } };
}

function start(spec: WorkerSpec, extra: Record<string, string> = {}): WorkerProcess {
  const worker = startWorker(spec, url, extra);
  started.push(worker);
  return worker;
}

function lines<T>(name: string): T[] {
  return volume.output(name).split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as T);
}

describe('weights outside the model file', () => {
  test('are taken from beside it, and their content is part of what the model is', async () => {
    const digest = async (weights: Buffer): Promise<string> => {
      volume.input('model/w.bin', weights);
      volume.input('in.jsonl', '{"inputs":{"x":[1,2,3,4]}}\n');
      const spec = specOf(withExternalData({ location: 'w.bin', offset: '0', length: '16' }));
      expect(await start({ ...spec, output: { ...spec.output, overwrite: true }, job: { ...spec.job, uid: `u${weights.readFloatLE(0)}` } }).exit).toBe(0);
      server.plan = server.finish = undefined;
      server.done.clear();
      return (JSON.parse(volume.output('manifest.json')) as { model: { sha256: string } }).model.sha256;
    };
    const first = await digest(floats(10, 20, 30, 40));
    expect(lines('results.jsonl')).toMatchObject([{ outputs: { y: [11, 22, 33, 44] } }]);
    expect(await digest(floats(1, 20, 30, 40))).not.toBe(first);
  });

  const outside = 'it leads out of the folder of the model';
  test.each<[what: string, location: string, why: string]>([
    ['a folder up', '../secret.bin', outside],
    ['an absolute path', '/etc/hostname', outside],
    ['a folder down', 'folder/w.bin', outside],
    ['a way round', './../model/w.bin', outside],
    ['an address in memory', '*/_ORT_MEM_ADDR_/*', outside],
    ['a symbolic link', 'symbolic.bin', 'it is a symbolic link'],
    ['a hard link', 'hard.bin', 'it is a hard link (the file has 2 names)'],
    ['a folder', 'folder', 'it is a folder'],
    ['nothing', 'none.bin', 'the file is not there'],
  ])('are refused where they are %s', async (_what, location, why) => {
    volume.input('secret.bin', floats(1, 2, 3, 4));
    mkdirSync(join(volume.path, 'model/folder'));
    volume.input('model/folder/w.bin', floats(1, 2, 3, 4));
    symlinkSync('../secret.bin', join(volume.path, 'model/symbolic.bin'));
    linkSync(join(volume.path, 'secret.bin'), join(volume.path, 'model/hard.bin'));
    volume.input('in.jsonl', '');
    const worker = start(specOf(withExternalData({ location })));
    expect(await worker.exit).toBe(68);
    expect(worker.terminationLog()).toEqual({
      code: 'ModelInvalid',
      message: `spec.model.path "model/m.onnx" takes weights from ${JSON.stringify(location)}: ${why}; external data must be a plain file beside the model`,
    });
  });

  test.each(['subgraph', 'attribute', 'sparse'] as const)('are found in a %s too', async (place) => {
    volume.input('in.jsonl', '');
    const worker = start(specOf(withHiddenExternalData({ location: '../secret.bin' }, place)));
    expect(await worker.exit).toBe(68);
    expect(worker.terminationLog()).toMatchObject({ message: expect.stringContaining(outside) as unknown });
  });

  test('that are too short are told as that', async () => {
    volume.input('model/w.bin', floats(1, 2));
    volume.input('in.jsonl', '');
    const worker = start(specOf(withExternalData({ location: 'w.bin' })));
    expect(await worker.exit).toBe(68);
    expect(worker.terminationLog()).toMatchObject({ code: 'ModelInvalid', message: expect.stringMatching(/is not a usable ONNX model: .*file_length: 8/) as unknown });
  });
});

describe('a model', () => {
  const identity = { inputs: [{ name: 'x', type: 'float32', shape: ['N'] }], outputs: [{ name: 'y', type: 'float32', shape: ['N'] }], nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }] } as const;
  test.each<[what: string, model: () => Buffer, message: RegExp]>([
    ['of a later opset', () => onnxModel({ ...identity, opset: 999 }), /is not a usable ONNX model: .*[Oo]pset/],
    ['of a later format', () => onnxModel({ ...identity, irVersion: 99 }), /is not a usable ONNX model: .*IR version/],
    ['with an operator that nobody has', () => onnxModel({ ...identity, nodes: [{ op: 'Conjure', inputs: ['x'], outputs: ['y'] }] }), /is not a usable ONNX model: .*Conjure/],
    ['without a graph', () => Buffer.from([8, 10]), /is not a usable ONNX model: .*it holds no graph/],
  ])('%s fails the job before any shard', async (_what, model, message) => {
    volume.input('in.jsonl', '{"inputs":{"x":1}}\n');
    const worker = start(specOf(model()));
    expect(await worker.exit).toBe(68);
    expect(worker.terminationLog()).toEqual({ code: 'ModelInvalid', message: expect.stringMatching(message) as unknown });
    expect(server.plan).toBeUndefined();
  });

  test('that is a link out of the volume is refused', async () => {
    volume.input('in.jsonl', '');
    symlinkSync('/etc/hostname', join(volume.path, 'model/link.onnx'));
    const spec = specOf(onnxModel(identity));
    const worker = start({ ...spec, model: { ...spec.model, path: 'model/link.onnx' } });
    expect(await worker.exit).toBe(68);
    expect(worker.terminationLog()).toEqual({ code: 'ModelInvalid', message: 'spec.model.path: "model/link.onnx" leads out of its volume through a symbolic link' });
  });

  test('that never returns for one item costs two restarts and that item', async () => {
    const items = Array.from({ length: 40 }, (_, i) => `{"id":${i},"inputs":{"x":${i === 13 ? 1e15 : i}}}\n`);
    volume.input('in.jsonl', items.join(''));
    const spec = specOf(spinning(), { sharding: { targetBytes: 1 << 20, maxWorkers: 1 }, batching: { maxSize: 8, timeoutSeconds: 1 } });
    const run = async (): Promise<{ exit: number | string; warning: string | undefined; log: string }> => {
      const seen = server.requests.length;
      const worker = start(spec);
      const exit = await worker.exit;
      server.lose(undefined);
      return { exit, warning: server.requests.slice(seen).at(-1)?.load.warning, log: worker.log() };
    };
    const first = await run();
    expect(first).toMatchObject({ exit: 'SIGKILL', log: expect.stringContaining('model run stuck') as unknown });
    expect(first.warning).toBe('a model run of 8 items (in.jsonl:12 to in.jsonl:19) did not return within 1 s (spec.batching.timeoutSeconds); the worker process restarts and runs them one by one');
    const second = await run();
    expect(second.warning).toBe('a model run of one item (in.jsonl:14) did not return within 1 s (spec.batching.timeoutSeconds); the worker process restarts and gives the item up');
    expect((await run()).exit).toBe(0);
    expect(lines<{ id: number; outputs: { y: number } }>('results.jsonl').map(({ id, outputs }) => [id, outputs.y])).toEqual(Array.from({ length: 40 }, (_, i) => [i, i]).filter(([i]) => i !== 13));
    expect(lines('errors.jsonl')).toEqual([
      { id: 13, file: 'in.jsonl', line: 14, offset: expect.any(Number) as unknown, code: 'TimedOut', message: 'the model did not return within spec.batching.timeoutSeconds when it ran this item alone' },
    ]);
  }, 90_000);

  test('whose output is giant fails for that item alone, without the memory that its text would take', async () => {
    volume.input('in.jsonl', [3, 9_000_000, 2, 5_000_000].map((size, i) => `{"id":${i},"inputs":{"x":0.123456,"size":${size}}}\n`).join(''));
    expect(await start(specOf(widening(), { batching: { maxSize: 1, timeoutSeconds: 60 } })).exit).toBe(0);
    expect(lines<{ id: number }>('results.jsonl').map(({ id }) => id)).toEqual([0, 2]);
    expect(lines<{ id: number; code: string; message: string }>('errors.jsonl').map(({ id, code, message }) => [id, code, message])).toEqual([
      [1, 'OutputTooLarge', 'outputs.y: the model gave float32 [9000000], the limit of a result is 16777216 bytes; have the model give less, such as the best k'],
      [3, 'OutputTooLarge', expect.stringMatching(/^the outputs take 4\d{7} characters, the limit of a result is 16777216 bytes/)],
    ]);
  });

  test('may still be loading at SIGTERM: the worker leaves with 143 and without a core dump', async () => {
    volume.input('in.jsonl', '');
    const worker = start(specOf(slowToLoad(10_000)));
    await server.until(() => server.requests.length > 0);
    worker.child.kill('SIGTERM');
    expect(await worker.exit).toBe(143);
    expect(worker.log()).not.toMatch(/terminate called|unexpected error/);
    expect(server.requests.at(-1)).toMatchObject({ draining: true, capacity: 0 });
  });
});

describe('memory', () => {
  /** Most resident memory of a worker that runs the job, in MB. */
  async function peak(spec: WorkerSpec): Promise<number> {
    const worker = start(spec);
    let most = 0;
    const timer = setInterval(() => {
      try {
        const [, kilobytes] = /^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${worker.child.pid}/status`, 'utf8')) ?? [];
        most = Math.max(most, Number(kilobytes ?? 0) / 1024);
      } catch {
        // It has ended.
      }
    }, 10);
    expect(await worker.exit).toBe(0);
    clearInterval(timer);
    return most;
  }

  test('stays flat on a line of 100 MB, which is told as too long', async () => {
    const spec = aSpec(volume, 'affine.onnx');
    volume.input('in.jsonl', '{"id":1,"inputs":{"x":[1,2,3,4]}}\n');
    const usual = await peak(spec);
    server.plan = server.finish = undefined;
    server.done.clear();
    writeFileSync(join(volume.path, 'in.jsonl'), Buffer.concat([Buffer.from('{"id":1,"inputs":{"x":[1,2,3,4]}}\n{"id":2,"inputs":{"x":['), Buffer.alloc(100e6, '1,'), Buffer.from(']}}\n{"id":3,"inputs":{"x":[1,2,3,4]}}')]));
    const most = await peak({ ...spec, job: { ...spec.job, uid: 'another' }, output: { ...spec.output, overwrite: true } });
    console.log(`peak resident memory: ${usual.toFixed(0)} MB usually, ${most.toFixed(0)} MB with a line of 100 MB`);
    expect(most - usual).toBeLessThan(80);
    expect(lines<{ id: number }>('results.jsonl').map(({ id }) => id)).toEqual([1, 3]);
    expect(lines('errors.jsonl')).toEqual([{ file: 'in.jsonl', line: 2, offset: 34, code: 'LineTooLong', message: 'the line has 100000026 bytes, the limit is 16777216' }]);
  });
});
