import { type FinishResult, files, type GenerationRange, type ItemCounts, type PlanResult, type WorkerSpec } from '../contract.ts';
import type { ModelFile } from '../model/model-file.ts';
import type { OutputStore } from '../stores/store.ts';

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

export async function findManifest(store: OutputStore, jobUid: string): Promise<Found> {
  const found = await store.read(files.manifest);
  if (found === undefined) return { kind: 'none' };
  let value: Partial<Manifest> | null;
  try {
    value = JSON.parse(found.bytes.toString('utf8')) as Partial<Manifest> | null;
  } catch {
    return { kind: 'other', whose: 'something other than Millrace' };
  }
  if (value?.job?.uid === jobUid && value.v === 1) return { kind: 'ours', manifest: value as Manifest };
  const job = value?.job;
  return { kind: 'other', whose: job ? `job ${job.namespace}/${job.name} (UID ${job.uid})` : 'something other than Millrace' };
}

export function finishResult({ items, results, errors }: Manifest, store: OutputStore): FinishResult {
  return {
    items,
    results: store.shown(files.results),
    errors: store.shown(files.errors),
    manifest: store.shown(files.manifest),
    resultsBytes: results.bytes,
    errorsBytes: errors.bytes,
  };
}
