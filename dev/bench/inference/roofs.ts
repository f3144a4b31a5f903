import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type Feed, feedsOf } from '../../../inference-pod/engine/batch.ts';
import { formatResult } from '../../../inference-pod/engine/format.ts';
import { ItemScanner } from '../../../inference-pod/engine/item-scanner.ts';
import type { Item } from '../../../inference-pod/engine/items.ts';
import { openSession } from '../../../inference-pod/engine/session.ts';
import { median } from './table.ts';
import type { Workload } from './workloads.ts';

/** The kinds whose input is of one shape, so that every batch is full. */
export const hasRoof = ({ kind }: Workload): boolean => kind !== 'text';

/** Items per CPU-second of each part of the worker's work alone, and of all three one after the other. */
export interface Roofs {
  engine: number;
  parser: number;
  writer: number;
  all: number;
}

const sample = 4_096;
const batchSizes = [32, 64, 128, 256];
const rounds = 5;

/**
 * In this process, on this thread, with the data in memory; medians of five rounds after one that warms up. Of the engine
 * the batch size counts that is best here.
 */
export async function measureRoofs({ folder }: Workload, scratch: string): Promise<Roofs> {
  const { signature, run } = await openSession(join(folder, 'model.onnx'), 'cpu');
  const bytes = readFileSync(join(folder, 'in.jsonl'));
  const lines: [number, number][] = [];
  for (let at = 0; at < bytes.length && lines.length < sample; ) {
    const end = bytes.indexOf(10, at);
    lines.push([at, end]);
    at = end + 1;
  }
  const scanner = ItemScanner.for(signature);
  let items: Item[] = [];
  const parse = (): void => {
    scanner?.clear();
    items = lines.map(([from, to]) => {
      const item = scanner?.scan(bytes, from, to);
      if (item === undefined) throw new Error('the input is not in the usual form');
      return item;
    });
  };
  parse();
  const batchesOf = (size: number): Feed[][] => Array.from({ length: Math.floor(items.length / size) }, (_, at) => feedsOf(items.slice(at * size, (at + 1) * size).map((item) => ({ item })), signature));
  let engine = 0;
  for (const size of batchSizes) {
    const batches = batchesOf(size);
    if (batches.length === 0) continue;
    const seconds = await cost(async () => {
      for (const batch of batches) await run(batch, []);
    });
    engine = Math.max(engine, (batches.length * size) / seconds);
  }
  const writeSize = batchSizes[0] as number;
  const answers: (Feed | undefined)[] = [];
  for (const batch of batchesOf(writeSize)) answers.push((await run(batch, []))[0]);
  const path = join(scratch, 'roof.jsonl');
  const write = (): void => {
    const file = openSync(path, 'w');
    const hash = createHash('sha256');
    let text: string[] = [];
    const flush = (): void => {
      const block = Buffer.from(text.join(''));
      hash.update(block);
      writeSync(file, block);
      text = [];
    };
    for (const [at, answer] of answers.entries()) {
      if (answer === undefined) continue;
      const outputs = signature.outputs.map((one) => ({ port: one, dims: answer.dims.slice(1), data: answer.data }));
      for (let row = 0; row < writeSize; row++) text.push(formatResult(items[at * writeSize + row]?.id, { file: '', line: 1, offset: 0 }, outputs, row));
      if (text.length >= 512) flush();
    }
    flush();
    fsyncSync(file);
    closeSync(file);
  };
  const parser = lines.length / (await cost(parse));
  const writer = (answers.length * writeSize) / (await cost(write));
  rmSync(path);
  return { engine, parser, writer, all: 1 / (1 / engine + 1 / parser + 1 / writer) };
}

/** CPU-seconds of this thread. */
async function cost(work: () => void | Promise<void>): Promise<number> {
  const seconds: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const before = process.threadCpuUsage();
    await work();
    const { user, system } = process.threadCpuUsage(before);
    if (round > 0) seconds.push((user + system) / 1e6);
  }
  return median(seconds);
}
