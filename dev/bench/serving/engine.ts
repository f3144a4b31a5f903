/**
 * The engine alone, in a process of its own: rows per second of CPU at batch 1 and at the batch size given, and the answers
 * to the samples. Writes one JSON line.
 *
 *   node dev/bench/serving/engine.ts MODEL BATCH SECONDS
 */
import type { Feed } from '../../../inference-pod/engine/batch.ts';
import { openSession } from '../../../inference-pod/engine/session.ts';
import { inputs, outputs, sample, samples } from './model.ts';

const [model = '', batch = '32', seconds = '5'] = process.argv.slice(2);
const { run } = await openSession(model, 'cpu');

async function rowsPerCpuSecond(rows: number, forMs: number): Promise<number> {
  const data = new Float32Array(rows * inputs);
  for (let row = 0; row < rows; row++) data.set(sample(row % samples), row * inputs);
  const once = (): Promise<unknown> => run([{ dims: [rows, inputs], data }], [{ slot: 0 }]);
  await once();
  const cpu = process.cpuUsage();
  let done = 0;
  let spentMs = 0;
  // By CPU time, so that a busy machine makes it last longer and not measure less.
  while (spentMs < forMs || done === 0) {
    await once();
    done += rows;
    const { user, system } = process.cpuUsage(cpu);
    spentMs = (user + system) / 1_000;
  }
  return (done * 1_000) / spentMs;
}

const answers: number[][] = [];
for (let index = 0; index < samples; index++) {
  const [answer] = await run([{ dims: [1, inputs], data: sample(index) }], [{ slot: 0 }]);
  answers.push(Array.from((answer as Feed).data as Float32Array).slice(0, outputs));
}
// In turns, since other work of the machine may come and go.
const [single, batched]: [number[], number[]] = [[], []];
for (let turn = 0; turn < 3; turn++) {
  single.push(await rowsPerCpuSecond(1, Number(seconds) * 1_000));
  batched.push(await rowsPerCpuSecond(Number(batch), Number(seconds) * 1_000));
}
const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] as number;
process.stdout.write(`${JSON.stringify({ single: median(single), batched: median(batched), answers })}\n`);
