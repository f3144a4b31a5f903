import type { PlanResult } from '../contract.ts';
import type { ModelFile } from '../model/model-file.ts';
import type { OutputStore } from '../stores/store.ts';
import type { BatchPlan } from './batch-plan.ts';
import type { ShardRange } from './cut.ts';

/** A file of the input as it was when the job was planned. */
export interface PlannedFile {
  path: string;
  /** Bytes that are stored. */
  size: number;
  /** Bytes of text in a file that is packed. */
  unpacked?: number;
  /** As of `InputFile`. */
  stamp: number | string;
  sha256?: string;
}

/** What `shards.json` says: the same for every worker of the job, from the first plan on. */
export interface Plan {
  job: string;
  exact: boolean;
  items: number;
  files: readonly PlannedFile[];
  model: ModelFile;
  shards: readonly ShardRange[];
  bytes: number;
  batch: BatchPlan;
}

interface Stored {
  v: 1;
  job: string;
  exact: boolean;
  items: number;
  bytes: number;
  batch: BatchPlan;
  model: ModelFile;
  files: readonly PlannedFile[];
  /** Start and first line of each shard; a shard ends where the next one starts. */
  shards: readonly (readonly [start: number, line: number])[];
}

const name = 'shards.json';

/** Undefined when the job has not been planned. */
export async function readPlan(store: OutputStore, stateFolder: string): Promise<Plan | undefined> {
  const found = await store.read(`${stateFolder}/${name}`);
  if (found === undefined) return undefined;
  const { v, shards, ...plan } = JSON.parse(found.bytes.toString('utf8')) as Stored;
  if (v !== 1) throw new Error(`${name} has version ${String(v)}, expected 1`);
  return { ...plan, shards: shards.map(([start, line], index) => ({ start, line, end: shards[index + 1]?.[0] ?? plan.bytes })) };
}

/** False: another worker was first; its plan counts. */
export async function storePlan(store: OutputStore, stateFolder: string, plan: Plan): Promise<boolean> {
  const stored: Stored = { v: 1, ...plan, shards: plan.shards.map(({ start, line }) => [start, line]) };
  return await store.create(`${stateFolder}/${name}`, [Buffer.from(`${JSON.stringify(stored)}\n`)]);
}

export async function removePlan(store: OutputStore, stateFolder: string): Promise<void> {
  await store.remove(`${stateFolder}/${name}`);
}

export function planResult({ shards, items, exact, bytes, files }: Plan): PlanResult {
  return { shards: shards.length, items, exact, bytes, files: files.length };
}
