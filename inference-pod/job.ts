import type { Log } from '../kit/log.ts';
import type { WorkerSpec } from './contract.ts';
import { FatalError } from './fatal.ts';
import type { ModelFile } from './model/model-file.ts';
import { type Plan, type PlannedFile, readPlan } from './planning/plan-file.ts';
import { type Concatenation, concatenate, type InputFile } from './reading/concatenation.ts';
import type { Stores } from './stores/open-stores.ts';

/** What all leases of one worker process share. */
export interface Job extends Stores {
  spec: WorkerSpec;
  log: Log;
  /** Folder of the plan and the segments in the output. */
  state: string;
  model: ModelFile;
  /** Items must not share a batch, because their results would depend on each other. */
  alone: boolean;
}

export interface PlannedInput {
  plan: Plan;
  input: Concatenation;
}

/** The stored plan and the input that it describes, or undefined before the plan. Throws FatalError when the model is another. */
export async function loadPlan(job: Job): Promise<PlannedInput | undefined> {
  const plan = await readPlan(job.output, job.state);
  if (plan === undefined) return undefined;
  checkModel(job, plan.model);
  return { plan, input: concatenate(job.input, plan.files.map(inputFile)) };
}

function inputFile({ path, size, stamp, unpacked }: PlannedFile): InputFile {
  const file = { path, size, stamp };
  return unpacked === undefined ? file : { ...file, size: unpacked, packed: size };
}

function checkModel({ model, spec }: Job, planned: ModelFile): void {
  if (model.sha256 === planned.sha256) return;
  throw new FatalError(
    'ModelInvalid',
    `model changed: "${spec.model.path}" has SHA-256 ${model.sha256.slice(0, 12)}…, the job began with ${planned.sha256.slice(0, 12)}…; a job runs one model, start a new job for another`,
  );
}
