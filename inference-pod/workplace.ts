import type { Log } from '../kit/log.ts';
import { files, type WorkerSpec } from './contract.ts';
import { describeEngine } from './engine/describe.ts';
import { openPool } from './engine/open-pool.ts';
import { poolSize } from './engine/pool-size.ts';
import { companionWarning } from './model/companions.ts';
import { checkModelUnchanged, findModel } from './model/model-file.ts';
import type { Workplace } from './runner.ts';
import type { S3Keys } from './s3-keys.ts';
import { openStores } from './stores/open-stores.ts';
import { openText } from './text/open-text.ts';

export interface WorkplaceOptions {
  spec: WorkerSpec;
  owner: string;
  keys: S3Keys;
  cpus: number;
  memoryBytes: number | undefined;
  log: Log;
  onCrash: (error: Error) => void;
}

/** Finds and loads the model, and opens the output folder. Throws FatalError. */
export async function openWorkplace({ spec, owner, keys, cpus, memoryBytes, log, onCrash }: WorkplaceOptions): Promise<Workplace> {
  const text = await openText(spec.model);
  const model = await findModel(spec.model.root, spec.model.path, text?.parts);
  const stores = await openStores(spec, keys, owner);
  const { timeoutSeconds } = spec.batching;
  const poolWanted = poolSize({ cpus, modelBytes: model.size, memoryBytes });
  const opened = await openPool({ model: spec.model, file: model.real, format: spec.input.format, ...(text === undefined ? {} : { text: text.settings }), size: poolWanted, runLimitMs: timeoutSeconds * 1_000, onCrash });
  await checkModelUnchanged(model, spec.model.path);
  if (opened.warning !== undefined) log.warn({ reason: opened.warning }, 'no GPU');
  const companions = companionWarning(model.operators);
  if (companions !== undefined) log.warn({ reason: companions }, 'no batches');
  const engine = describeEngine(opened.pool);
  log.info({ ...engine, bytes: model.size }, 'model loaded');
  const warnings = [opened.warning, companions].filter((warning) => warning !== undefined);
  const { size, sha256 } = model;
  const alone = companions !== undefined;
  return { pool: opened.pool, engine, warnings, memoryBytes, job: { spec, log, ...stores, state: files.state(spec.job.uid), model: { size, sha256 }, alone } };
}
