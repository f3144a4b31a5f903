import { once } from 'node:events';
import { createWriteStream, readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { cacheDir, ensurePath, fileDigest } from '../../cluster/cache.ts';
import { random } from '../../simulate/random.ts';
import { type BenchModel, cnn, encoder, mlp, vocabulary } from './models.ts';

export const kinds = ['mlp', 'cnn', 'text'] as const;
export type Kind = (typeof kinds)[number];

/** A model and an input file, the same for the same kind and number of items on every machine. */
export interface Workload {
  kind: Kind;
  items: number;
  /** Holds `model.onnx`, `in.jsonl` and `expected.f32`. */
  folder: string;
  /** How many items a peer's run takes: what is usual, and close to the best of what was tried. */
  peerBatch: number;
  model: BenchModel;
  /** Outputs of one item. */
  width: number;
  /** Row by row. */
  expected: Float32Array;
}

interface Recipe {
  title: string;
  usualItems: number;
  peerBatch: number;
  width: number;
  dims: readonly number[] | undefined;
  model: () => BenchModel;
  /** The tensor of one item as JSON text. */
  tensor: (next: () => number) => string;
}

const decimals = (count: number) => (next: () => number): string => {
  const values = new Array<number>(count);
  for (let i = 0; i < count; i++) values[i] = Math.round(next() * 1e4) / 1e4;
  return values.join(',');
};

export const recipes: Record<Kind, Recipe> = {
  mlp: {
    title: '(a) MLP, 512 floats in, 16 out',
    usualItems: 100_000, peerBatch: 128, width: 16, dims: [512], model: mlp,
    tensor: (next) => `[${decimals(512)(next)}]`,
  },
  cnn: {
    title: '(b) CNN, 3x32x32 floats in, 10 out',
    usualItems: 5_000, peerBatch: 32, width: 10, dims: [3, 32, 32], model: cnn,
    tensor: (next) => `[${Array.from({ length: 3 }, () => `[${Array.from({ length: 32 }, () => `[${decimals(32)(next)}]`).join(',')}]`).join(',')}]`,
  },
  text: {
    title: '(c) text encoder, token ids of log-normal length in, 16 floats out',
    usualItems: 10_000, peerBatch: 32, width: 16, dims: undefined, model: encoder,
    tensor: (next) => {
      const normal = Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
      const length = Math.max(1, Math.min(512, Math.round(Math.exp(3.7 + 0.75 * normal))));
      return `[${Array.from({ length }, () => 1 + Math.floor(next() * (vocabulary - 1))).join(',')}]`;
    },
  },
};

/** Made once and kept in the cache folder. */
export async function workload(kind: Kind, items = recipes[kind].usualItems): Promise<Workload> {
  const recipe = recipes[kind];
  const version = fileDigest(join(import.meta.dirname, 'workloads.ts'), join(import.meta.dirname, 'models.ts'));
  const model = recipe.model();
  const folder = await ensurePath(join(cacheDir(), 'bench', `${kind}-${items}-${version}`), async (partial) => {
    await mkdir(partial, { recursive: true });
    await writeFile(join(partial, 'model.onnx'), model.bytes);
    await writeInput(join(partial, 'in.jsonl'), kind, model, items);
    await writeFile(join(partial, 'expected.f32'), await expected(partial, recipe, model));
  });
  const bytes = await readFile(join(folder, 'expected.f32'));
  return { kind, items, folder, peerBatch: recipe.peerBatch, model, width: recipe.width, expected: new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4) };
}

export const idOf = (kind: Kind, index: number): string => `${kind}-${String(index).padStart(7, '0')}`;

async function writeInput(path: string, kind: Kind, { input }: BenchModel, items: number): Promise<void> {
  const { tensor } = recipes[kind];
  const next = random(7);
  const out = createWriteStream(path);
  for (let first = 0; first < items; first += 256) {
    const lines = Array.from({ length: Math.min(256, items - first) }, (_, at) => `{"id": "${idOf(kind, first + at)}", "inputs": {"${input}": ${tensor(next)}}}\n`);
    if (!out.write(lines.join(''))) await once(out, 'drain');
  }
  out.end();
  await finished(out);
}

/** What every contestant's output is held against: JSON.parse and ONNX Runtime; texts are run one at a time. */
async function expected(folder: string, { dims, width }: Recipe, { input, output }: BenchModel): Promise<Float32Array> {
  const session = await InferenceSession.create(join(folder, 'model.onnx'), { intraOpNumThreads: 1 });
  const rows: number[] = [];
  let batch: number[][] = [];
  const run = async (): Promise<void> => {
    const values = batch.flat();
    const feed = dims ? new Tensor('float32', Float32Array.from(values), [batch.length, ...dims]) : new Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
    const answer = (await session.run({ [input]: feed }))[output] as Tensor;
    rows.push(...(answer.data as Float32Array));
    batch = [];
  };
  for (const line of linesOf(join(folder, 'in.jsonl'))) {
    batch.push((JSON.parse(line) as { inputs: Record<string, number[]> }).inputs[input]?.flat(3) ?? []);
    if (!dims || batch.length === 64) await run();
  }
  if (batch.length > 0) await run();
  if (rows.length % width !== 0) throw new Error(`the model gave ${rows.length} numbers, expected a multiple of ${width}`);
  return Float32Array.from(rows);
}

/** The lines of a file that is ASCII. */
export function* linesOf(path: string): Generator<string> {
  const bytes = readFileSync(path);
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(10, at);
    const stop = end < 0 ? bytes.length : end;
    if (stop > at) yield bytes.toString('latin1', at, stop);
    at = stop + 1;
  }
}
