import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../kit/log.ts';
import type { WorkerSpec } from './contract.ts';
import { errnoOf, FatalError } from './fatal.ts';
import type { ModelFile } from './model/model-file.ts';
import { type Plan, type PlannedFile, readPlan } from './planning/plan-file.ts';
import type { UnchangedFiles } from './planning/unchanged.ts';
import { type Concatenation, concatenate, type InputFile } from './reading/concatenation.ts';

/** What all leases of one worker process share: where things are, and what is known of the input. */
export interface Job {
  spec: WorkerSpec;
  /** Random per process; names temporary files. */
  owner: string;
  log: Log;
  /** Real path of the output folder. */
  output: string;
  /** Folder of the plan and the segments. */
  state: string;
  model: ModelFile;
  /** Items must not share a batch, because their results would depend on each other. */
  alone: boolean;
  unchanged: UnchangedFiles;
}

export interface PlannedInput {
  plan: Plan;
  input: Concatenation;
}

/** The stored plan and the input that it describes, or undefined before the plan. Throws FatalError when the model is another. */
export async function loadPlan(job: Job): Promise<PlannedInput | undefined> {
  const plan = await readPlan(job.state);
  if (plan === undefined) return undefined;
  checkModel(job, plan.model);
  const base = await realpath(job.spec.input.root).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
    throw new FatalError('InputNotFound', `input: the input volume is not mounted at ${job.spec.input.root}`);
  });
  return { plan, input: concatenate(plan.files.map((file) => inputFile(file, base))) };
}

function inputFile({ path, size, mtimeMs, unpacked }: PlannedFile, base: string): InputFile {
  const file = { path, real: join(base, path), size, mtimeMs };
  return unpacked === undefined ? file : { ...file, size: unpacked, packed: size };
}

function checkModel({ model, spec }: Job, planned: ModelFile): void {
  if (model.sha256 === planned.sha256) return;
  throw new FatalError(
    'ModelInvalid',
    `model changed: "${spec.model.path}" has SHA-256 ${model.sha256.slice(0, 12)}…, the job began with ${planned.sha256.slice(0, 12)}…; a job runs one model, start a new job for another`,
  );
}
