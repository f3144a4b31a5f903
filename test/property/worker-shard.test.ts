import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createLog } from '../../kit/log.ts';
import type { VolumeOutputPlace } from '../../inference-pod/contract.ts';
import type { Run } from '../../inference-pod/engine/batch.ts';
import { runChunk } from '../../inference-pod/engine/chunk-runner.ts';
import type { Sessions } from '../../inference-pod/engine/pool.ts';
import { signatureOf } from '../../inference-pod/engine/signature.ts';
import { finishJob } from '../../inference-pod/finishing/finish.ts';
import { Gate } from '../../inference-pod/gate.ts';
import type { Job } from '../../inference-pod/job.ts';
import { planInput } from '../../inference-pod/planning/plan-input.ts';
import { ChunkSize } from '../../inference-pod/reading/chunk-size.ts';
import { SpareBuffers } from '../../inference-pod/reading/spare-buffers.ts';
import { ShardRun } from '../../inference-pod/shard-run.ts';
import { VolumeInput } from '../../inference-pod/stores/volume/input.ts';
import { VolumeOutput } from '../../inference-pod/stores/volume/output.ts';

const signature = signatureOf(
  [{ name: 'x', isTensor: true, type: 'float32', shape: ['N', 2] }],
  [{ name: 'y', isTensor: true, type: 'float32', shape: ['N', 2] }],
);

/** y = x + the size of the batch: a model whose results show at once when batches are cut elsewhere. */
const batchSensitive: Run = async ([x]) => {
  const { dims, data } = x as { dims: readonly number[]; data: Float32Array };
  return [{ dims, data: data.map((value) => value + (dims[0] as number)) }];
};

/** What measuring sees, so that it takes the model for one that may run in batches. */
const wellBehaved: Run = async ([x]) => [x as { dims: readonly number[]; data: Float32Array }];

/** Sessions on this thread that take `turns` of the event loop for each chunk. */
function sessions(turns: () => number): Sessions {
  let free = 2;
  return {
    signature,
    depth: 2,
    acquire: async (rank, signal) => {
      while (free === 0) {
        signal.throwIfAborted();
        await new Promise((resolve) => setImmediate(resolve));
      }
      signal.throwIfAborted();
      free -= 1;
      return {
        giveBack: () => {
          free += 1;
        },
        run: async (chunk) => {
          for (let turn = turns(); turn > 0; turn--) await new Promise((resolve) => setImmediate(resolve));
          free += 1;
          const outcome = await runChunk(chunk, signature, rank < 0 ? wellBehaved : batchSensitive);
          // Nobody may look at it any more.
          chunk.bytes.fill(0xff);
          return { ...outcome, elapsedMs: turns() * 30, costMs: 1, runs: { ms: [1], failuresInARow: 0, anySucceeded: true }, spent: chunk.bytes.buffer };
        },
      };
    },
  };
}

async function aJob(folder: string, output: string, maxSize: number): Promise<Job> {
  const input = { root: folder, path: 'in.jsonl', additionalPaths: [] };
  const place = { root: folder, path: output };
  return {
    spec: {
      job: { uid: 'u', namespace: 'n', name: 'j' },
      model: { root: folder, path: 'm', task: 'tensors', accelerator: 'cpu' },
      input: { format: 'jsonl', ...input },
      output: { ...place, overwrite: false },
      sharding: { targetBytes: 300, maxWorkers: 1 },
      batching: { maxSize, timeoutSeconds: 300 },
    },
    log: createLog('test', 'silent'),
    input: new VolumeInput(input),
    output: await VolumeOutput.open(place, `o${Math.random()}`),
    state: '.millrace/u',
    model: { size: 1, sha256: 'm' },
    alone: false,
  };
}

interface Attempt {
  /** Clock steps in milliseconds: large ones make a checkpoint due. */
  steps: number[];
  turns: number[];
  /** Killed after this many turns of the event loop; -1: runs to its end. */
  killedAfter: number;
}

async function attempt(job: Job, shard: number, { steps, turns, killedAfter }: Attempt): Promise<boolean> {
  let now = 0;
  let step = 0;
  let turn = 0;
  const clock = { now: () => now, monotonic: () => (now += steps[step++ % steps.length] as number) };
  const run = new ShardRun({ kind: 'shard', shard, generation: 0 }, 0, {
    job,
    pool: sessions(() => turns[turn++ % turns.length] as number),
    gate: new Gate(),
    // A line or a few at a time, so that a shard has many chunks.
    chunkSize: new ChunkSize(20, 100, 1),
    spares: new SpareBuffers(),
    clock,
    onDurable: () => undefined,
    onRuns: () => undefined,
    onNews: () => undefined,
  });
  const running = run.run();
  if (killedAfter >= 0) {
    for (let left = killedAfter; left > 0; left--) await new Promise((resolve) => setImmediate(resolve));
    run.stop();
  }
  await running;
  return run.report().state === 'done';
}

const anAttempt: fc.Arbitrary<Attempt> = fc.record({
  steps: fc.array(fc.constantFrom(1, 1, 400, 2_000), { minLength: 1, maxLength: 6 }),
  turns: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 6 }),
  killedAfter: fc.oneof(fc.constant(-1), fc.integer({ min: 0, max: 150 })),
});

const line = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(fc.integer(), fc.integer({ min: -99, max: 99 })).map(([id, x]) => `{"id":${id},"inputs":{"x":[${x},1]}}`) },
  fc.constant(''),
  fc.constant('{"id":"bad","inputs":{"x":[1]}}'),
  fc.constant('no json'),
);

/** The job as another worker sees it. */
async function another(job: Job): Promise<Job> {
  return { ...job, output: await VolumeOutput.open(job.spec.output as VolumeOutputPlace, `o${Math.random()}`) };
}

async function complete(job: Job, attempts: readonly Attempt[], side: number): Promise<string[]> {
  const plan = await planInput({ job, pool: sessions(() => 1), memoryBytes: undefined, warnings: [] }, new AbortController().signal);
  const forever: Attempt = { steps: [100], turns: [0], killedAfter: -1 };
  for (let shard = 0; shard < plan.shards; shard++) {
    for (let first = 0; first < attempts.length; first += side) {
      const together = attempts.slice(first, first + side);
      await Promise.all(together.map(async (one) => attempt(await another(job), shard, one)));
    }
    expect(await attempt(job, shard, forever)).toBe(true);
  }
  const generations = plan.shards === 0 ? [] : [{ shards: plan.shards === 1 ? '0' : `0-${plan.shards - 1}`, generation: 0 }];
  const finishers = [job, await another(job)];
  const results = await Promise.all(finishers.slice(0, side).map((one) => finishJob(one, generations, new AbortController().signal)));
  for (const result of results) expect(result).toEqual(results[0]);
  return await Promise.all(['results.jsonl', 'errors.jsonl', 'manifest.json'].map((name) => readFile(job.output.address(name), 'utf8')));
}

describe('the stored result of a job', () => {
  test('is the same for any interruptions, checkpoints, speeds and writers side by side', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof({ weight: 9, arbitrary: fc.array(line, { minLength: 30, maxLength: 90 }) }, fc.array(line, { maxLength: 3 })),
        fc.integer({ min: 1, max: 4 }),
        fc.array(anAttempt, { minLength: 2, maxLength: 6 }),
        fc.integer({ min: 1, max: 3 }),
        async (lines, maxSize, attempts, side) => {
          const folder = mkdtempSync(join(tmpdir(), 'millrace-shard-'));
          try {
            writeFileSync(join(folder, 'in.jsonl'), lines.join('\n'));
            for (const output of ['quiet', 'rough']) mkdirSync(join(folder, output));
            const quiet = await complete(await aJob(folder, 'quiet', maxSize), [], 1);
            const rough = await complete(await aJob(folder, 'rough', maxSize), attempts, side);
            expect(rough).toEqual(quiet);
            const items = lines.filter((text) => text !== '');
            const bad = items.filter((text) => !text.includes(',1]'));
            expect(quiet[0]?.split('\n').length).toBe(items.length - bad.length + 1);
            expect(quiet[1]?.split('\n').length).toBe(bad.length + 1);
          } finally {
            rmSync(folder, { recursive: true, force: true });
          }
        },
      ),
      { numRuns: 25 },
    );
  }, 120_000);
});
