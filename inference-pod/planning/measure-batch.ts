import { timing } from '../contract.ts';
import type { Sessions } from '../engine/pool.ts';
import type { Job } from '../job.ts';
import type { Chunk, ChunkResult } from '../reading/chunk.ts';
import type { Concatenation } from '../reading/concatenation.ts';
import { readChunk } from '../reading/groups.ts';
import { maxLineBytes } from '../reading/limits.ts';
import { LineReader } from '../reading/lines.ts';
import type { Format } from '../reading/record-end.ts';
import { readEmbeddings } from '../text/openai-batch.ts';
import { type BatchPlan, candidates, choose, type Knowledge, leastRounds, measuringShare, unmeasured } from './batch-plan.ts';

const sampleLines = 256;
const sampleBytes = 4 * 1024 * 1024;
const firstLines = 8;
/** All measuring takes about this much at most. */
const budgetMs = 2 * timing.checkpointMs;
/** On a machine that is busy otherwise. */
const patienceMs = 10_000;
/** Items that differ by more than this, relative to their size, depend on their companions. */
const tolerance = 1e-4;

export interface Measured {
  batch: BatchPlan;
  /** What the user should know. */
  warning?: string;
  /** For the log. */
  sizes: { size: number; itemMs: number }[];
}

export interface MeasureOptions {
  job: Job;
  pool: Sessions;
  input: Concatenation;
  items: number;
  /** Memory that the process may have in all; absent: no limit. */
  memoryBytes: number | undefined;
  signal: AbortSignal;
}

/**
 * Finds the batch size with the first items of the input. Only the first attempt of a job measures: one that a model
 * without return or a lack of memory ended leaves a mark, and the next goes on with a small size.
 */
export async function measureBatch({ job, pool, input, items, memoryBytes, signal }: MeasureOptions): Promise<Measured> {
  const { signature } = pool;
  const known: Knowledge = { maxSize: signature.batched ? job.spec.batching.maxSize : 1, uniform: signature.uniform, itemMs: 0 };
  if (job.alone) return { batch: { size: 1, window: 1 }, sizes: [] };
  const sample = items === 0 ? undefined : await readSample(job, input);
  if (sample === undefined || !(await isFirst(job))) return { batch: unmeasured({ ...known, maxSize: Math.min(known.maxSize, firstLines) }), sizes: [] };

  const run = async (lines: number, size: number): Promise<ChunkResult> => {
    const slot = await pool.acquire(-1, signal);
    return await slot.run(cutOf(sample, lines, size, signature.uniform));
  };
  const all = sample.starts.length;
  const few = Math.min(firstLines, all);
  const together = await run(few, few);
  const warm = await run(few, 1);
  const warning = known.maxSize > 1 && few > 1 && differ(together, warm, job.spec.input.format) ? companionsMatter : undefined;
  if (warning !== undefined) return { batch: { size: 1, window: 1 }, warning, sizes: [] };
  known.itemMs = Math.min((await run(few, few)).costMs, warm.costMs) / few;
  const measured = candidates(known, all, items).map((size) => ({ size, itemMs: Number.POSITIVE_INFINITY }));
  if (measured.length === 0) return { batch: unmeasured(known), sizes: [] };
  const budget = Math.min(budgetMs, known.itemMs * items * measuringShare);
  const lines = Math.min(all, Math.max(1, Math.ceil(budget / (leastRounds * measured.length * known.itemMs))));
  const began = performance.now();
  // In turns, so that what else the machine does falls on all sizes alike; the least of each counts.
  for (let [round, spent] = [0, 0]; (round < leastRounds || spent < budget) && performance.now() - began < patienceMs; round++) {
    for (const [index, one] of measured.entries()) {
      const before = process.memoryUsage.rss();
      const whole = Math.max(one.size, lines - (lines % one.size));
      const { costMs } = await run(whole, one.size);
      one.itemMs = Math.min(one.itemMs, costMs / whole);
      spent += costMs;
      const after = process.memoryUsage.rss();
      // The next size takes twice as much, in every session.
      if (round === 0 && memoryBytes !== undefined && after + Math.max(0, after - before) * 2 * pool.depth > memoryBytes * 0.8) measured.length = index + 1;
    }
  }
  return { batch: choose(measured, known), sizes: measured };
}

const companionsMatter =
  "an item's result depends on the items beside it in a batch: the first items of the input gave other results together than alone, so that each is run alone; look for operators over the batch axis or dynamic quantisation in the model";

async function readSample(job: Job, input: Concatenation): Promise<Chunk | undefined> {
  const reader = new LineReader(input, { offset: 0, line: 1 }, input.total, maxLineBytes, job.spec.input.format);
  try {
    const limits = { lines: 1, bytes: Number.POSITIVE_INFINITY };
    return (await readChunk(reader, input, limits, { lines: sampleLines, bytes: sampleBytes }, { items: 1, tokens: tokensOf(job) }))?.chunk;
  } finally {
    await reader.close();
  }
}

export function tokensOf({ spec }: Job): number {
  return spec.batching.maxTokens ?? Number.POSITIVE_INFINITY;
}

async function isFirst(job: Job): Promise<boolean> {
  return await job.output.create(`${job.state}/measuring`, []);
}

/** The first `lines` of the sample as a chunk of their own with batches of `size`; one group where shapes vary, as in a window. */
function cutOf(sample: Chunk, lines: number, size: number, uniform: boolean): Chunk {
  const groups = uniform ? Array.from({ length: Math.ceil(lines / size) }, (_, index) => Math.min(lines, (index + 1) * size)) : [lines];
  return {
    ...sample,
    bytes: sample.bytes.slice(0, sample.ends[lines - 1]),
    starts: sample.starts.slice(0, lines),
    ends: sample.ends.slice(0, lines),
    tooLong: sample.tooLong.slice(0, lines),
    suspicion: sample.suspicion.slice(0, lines),
    groups: Uint32Array.from(groups),
    batch: { ...sample.batch, items: size },
  };
}

function differ(a: ChunkResult, b: ChunkResult, format: Format): boolean {
  const read = (line: string): unknown => (format === 'openai-batch' ? readEmbeddings(line) : JSON.parse(line));
  const values = ({ results }: ChunkResult): unknown[] => Buffer.from(results).toString('utf8').split('\n').slice(0, -1).map(read);
  return !near(values(a), values(b));
}

function near(a: unknown, b: unknown): boolean {
  if (typeof a === 'number' && typeof b === 'number') return Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(a));
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => near((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]));
}
