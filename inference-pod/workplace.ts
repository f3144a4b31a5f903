import { join } from 'node:path';
import type { Log } from '../kit/log.ts';
import { files, type WorkerSpec } from './contract.ts';
import { openPool } from './engine/open-pool.ts';
import { checkModelUnchanged, findModel } from './model/model-file.ts';
import { openOutputFolder } from './output-folder.ts';
import { UnchangedFiles } from './planning/unchanged.ts';
import type { Workplace } from './runner.ts';

export interface WorkplaceOptions {
  spec: WorkerSpec;
  owner: string;
  sessions: number;
  log: Log;
  onCrash: (error: Error) => void;
}

/** Finds and loads the model, and opens the output folder. Throws FatalError. */
export async function openWorkplace({ spec, owner, sessions, log, onCrash }: WorkplaceOptions): Promise<Workplace> {
  const model = await findModel(spec.model.root, spec.model.path);
  const output = await openOutputFolder(spec.output.root, spec.output.path);
  const { maxSize, timeoutSeconds } = spec.batching;
  const opened = await openPool({ model: spec.model, file: model.real, maxSize, format: spec.input.format, sessions, runLimitMs: timeoutSeconds * 1_000, onCrash });
  await checkModelUnchanged(model, spec.model.path);
  if (opened.warning !== undefined) log.warn({ reason: opened.warning }, 'no GPU');
  log.info({ provider: opened.pool.provider, sessions: opened.pool.size, bytes: model.size }, 'model loaded');
  const unchanged = new UnchangedFiles(spec.input.root);
  const { size, sha256 } = model;
  return { ...opened, job: { spec, owner, log, output, state: join(output, files.state(spec.job.uid)), model: { size, sha256 }, unchanged } };
}
