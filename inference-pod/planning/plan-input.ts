import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { files, type PlanResult } from '../contract.ts';
import { makeFolder } from '../durable.ts';
import { errnoOf, FatalError } from '../fatal.ts';
import { findManifest } from '../finishing/manifest.ts';
import { type Job, loadPlan } from '../job.ts';
import { whileWriting } from '../output-folder.ts';
import { type Concatenation, concatenate } from '../reading/concatenation.ts';
import { shardBytes } from './cut.ts';
import { findInputFiles } from './input-files.ts';
import { type Plan, planResult, storePlan } from './plan-file.ts';
import { type Scan, scanBoundaries, scanWhole } from './scan.ts';

/** Up to this size the input is read once before the shards are cut, which gives exact counts and line numbers. */
const scannedBytes = 1024 ** 3;

/**
 * The plan lease: finds the input, cuts it into shards and stores the plan; a plan that is stored already is adopted.
 * Throws FatalError for everything about input and output that no retry can mend.
 */
export async function planInput(job: Job, signal: AbortSignal, scanLimit = scannedBytes): Promise<PlanResult> {
  const manifest = await findManifest(job.output, job.spec.job.uid);
  if (manifest.kind === 'ours') return manifest.manifest.plan;
  const adopted = await adoptPlan(job);
  if (adopted) return adopted;
  if (!job.spec.output.overwrite) await refuseOthersOutput(job, manifest);

  const ignored = new Set([files.results, files.errors, files.manifest].map((name) => join(job.output, name)));
  const input = concatenate(await findInputFiles(job.spec.input.root, job.spec.input.path, ignored));
  const size = shardBytes(input.total, job.spec.sharding);
  const scan = input.total <= scanLimit ? await scanWhole(input, size, signal) : await scanBoundaries(input, size, signal);
  const plan = planOf(job, input, scan);
  const stored = await whileWriting(job.spec.output.path, async () => {
    await makeFolder(job.state);
    return await storePlan(job.state, plan, job.owner);
  });
  if (stored) return planResult(plan);
  const first = await adoptPlan(job);
  if (first === undefined) throw new Error('the plan was there and is gone');
  return first;
}

async function adoptPlan(job: Job): Promise<PlanResult | undefined> {
  const stored = await loadPlan(job);
  if (stored === undefined) return undefined;
  await job.unchanged.check(stored.plan.files);
  return planResult(stored.plan);
}

async function refuseOthersOutput(job: Job, manifest: Awaited<ReturnType<typeof findManifest>>): Promise<void> {
  const { path } = job.spec.output;
  const advice = 'set spec.output.overwrite or name another folder';
  if (manifest.kind === 'other') throw new FatalError('OutputExists', `spec.output.volume.path "${path}" holds the results of ${manifest.whose}; ${advice}`);
  for (const name of [files.results, files.errors]) {
    try {
      await access(join(job.output, name));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') continue;
      throw error;
    }
    throw new FatalError('OutputExists', `spec.output.volume.path "${path}" holds a ${name} that this job did not write; ${advice}`);
  }
}

function planOf(job: Job, input: Concatenation, { shards, items, exact, sha256 }: Scan): Plan {
  return {
    job: job.spec.job.uid,
    exact,
    items,
    bytes: input.total,
    model: { size: job.model.size, sha256: job.model.sha256 },
    files: input.files.map(({ path, size, mtimeMs }, index) => {
      const digest = sha256?.[index];
      return { path, size, mtimeMs, ...(digest === undefined ? {} : { sha256: digest }) };
    }),
    shards,
  };
}
