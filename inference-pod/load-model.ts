import type { Log } from '../kit/log.ts';
import type { WorkerEngine, WorkerSpec } from './contract.ts';
import { describeEngine } from './engine/describe.ts';
import { openPool } from './engine/open-pool.ts';
import type { SessionPool } from './engine/pool.ts';
import { poolSize } from './engine/pool-size.ts';
import { companionWarning } from './model/companions.ts';
import { checkModelUnchanged, findModel, type ModelFile } from './model/model-file.ts';
import type { Format } from './reading/record-end.ts';
import { openText } from './text/open-text.ts';

export interface LoadOptions {
  model: WorkerSpec['model'];
  format: Format;
  timeoutSeconds: number;
  cpus: number;
  memoryBytes: number | undefined;
  log: Log;
  onCrash: (error: Error) => void;
}

export interface LoadedModel {
  pool: SessionPool;
  engine: WorkerEngine;
  model: ModelFile;
  /** Items must not share a batch, because their results would depend on each other. */
  alone: boolean;
  /** What the user should know. */
  warnings: string[];
}

/** Finds the model and opens its sessions. Throws FatalError. */
export async function loadModel({ model: spec, format, timeoutSeconds, cpus, memoryBytes, log, onCrash }: LoadOptions): Promise<LoadedModel> {
  const text = await openText(spec);
  const found = await findModel(spec.root, spec.path, text?.parts);
  const size = poolSize({ cpus, modelBytes: found.size, memoryBytes });
  const { pool, warning } = await openPool({ model: spec, file: found.real, format, ...(text === undefined ? {} : { text: text.settings }), size, runLimitMs: timeoutSeconds * 1_000, onCrash });
  await checkModelUnchanged(found, spec.path);
  if (warning !== undefined) log.warn({ reason: warning }, 'no GPU');
  const companions = companionWarning(found.operators);
  if (companions !== undefined) log.warn({ reason: companions }, 'no batches');
  const engine = describeEngine(pool);
  log.info({ ...engine, bytes: found.size }, 'model loaded');
  const warnings = [warning, companions].filter((one) => one !== undefined);
  return { pool, engine, model: { size: found.size, sha256: found.sha256 }, alone: companions !== undefined, warnings };
}
