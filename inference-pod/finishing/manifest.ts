import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type FinishResult, files, type GenerationRange, type ItemCounts, type PlanResult, type WorkerSpec } from '../contract.ts';
import { errnoOf } from '../fatal.ts';
import type { ModelFile } from '../model/model-file.ts';

/** `manifest.json`: the commit of a job. Its results are complete if and only if it is there. */
export interface Manifest {
  v: 1;
  job: WorkerSpec['job'];
  items: ItemCounts;
  results: OutputFile;
  errors: OutputFile;
  model: ModelFile & { path: string };
  input: {
    format: string;
    path: string;
    files: number;
    bytes: number;
    /** Digest over path, size and, where the plan knows it, digest of each file. */
    fingerprint: string;
  };
  plan: PlanResult;
  generations: GenerationRange[];
  /** Bytes of input, succeeded and failed items of each shard. */
  shards: (readonly [bytes: number, succeeded: number, failed: number])[];
}

export interface OutputFile {
  path: string;
  bytes: number;
  sha256: string;
}

/** What stands as `manifest.json`: ours, another job's, something else, or nothing. */
export type Found = { kind: 'none' } | { kind: 'ours'; manifest: Manifest } | { kind: 'other'; whose: string };

export async function findManifest(outputFolder: string, jobUid: string): Promise<Found> {
  let text: string;
  try {
    text = await readFile(join(outputFolder, files.manifest), 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return { kind: 'none' };
    throw error;
  }
  let value: Partial<Manifest> | null;
  try {
    value = JSON.parse(text) as Partial<Manifest> | null;
  } catch {
    return { kind: 'other', whose: 'something other than Millrace' };
  }
  if (value?.job?.uid === jobUid && value.v === 1) return { kind: 'ours', manifest: value as Manifest };
  const job = value?.job;
  return { kind: 'other', whose: job ? `job ${job.namespace}/${job.name} (UID ${job.uid})` : 'something other than Millrace' };
}

export function finishResult({ items, results, errors }: Manifest, outputPath: string): FinishResult {
  const inVolume = (name: string): string => [...outputPath.split('/').filter((part) => part !== '' && part !== '.'), name].join('/');
  return {
    items,
    results: inVolume(files.results),
    errors: inVolume(files.errors),
    manifest: inVolume(files.manifest),
    resultsBytes: results.bytes,
    errorsBytes: errors.bytes,
  };
}
