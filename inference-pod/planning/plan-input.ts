import { files, type PlanResult } from '../contract.ts';
import { FatalError } from '../fatal.ts';
import { findManifest } from '../finishing/manifest.ts';
import { type Job, loadPlan } from '../job.ts';
import { layoutOf, UnusableHeader } from '../engine/csv-items.ts';
import type { Sessions } from '../engine/pool.ts';
import type { Signature } from '../engine/signature.ts';
import { type Concatenation, concatenate } from '../reading/concatenation.ts';
import { maxLineBytes } from '../reading/limits.ts';
import { LineReader } from '../reading/lines.ts';
import { Unreachable } from '../stores/store.ts';
import type { BatchPlan } from './batch-plan.ts';
import { shardBytes } from './cut.ts';
import { markPacked } from './mark-packed.ts';
import { measureBatch } from './measure-batch.ts';
import { type Plan, planResult, storePlan } from './plan-file.ts';
import { proveExclusive } from './prove-exclusive.ts';
import { type Scan, scanBoundaries, scanWhole } from './scan.ts';

/** Up to this size the input is read once before the shards are cut, which gives exact counts and line numbers. */
const scannedBytes = 1024 ** 3;

export interface PlanPlace {
  job: Job;
  pool: Sessions;
  memoryBytes: number | undefined;
  /** Gets what the user should know. */
  warnings: string[];
}

/**
 * The plan lease: finds the input, cuts it into shards and stores the plan; a plan that is stored already is adopted.
 * Throws FatalError for everything about input and output that no retry can mend.
 */
export async function planInput(place: PlanPlace, signal: AbortSignal, scanLimit = scannedBytes): Promise<PlanResult> {
  try {
    return await plan(place, signal, scanLimit);
  } catch (error) {
    // Later it may be down for a while; a job that begins has most likely the wrong address, or no way there.
    if (error instanceof Unreachable) throw new FatalError(error.code, `${error.message}; correct the endpoint, or let the Tenant's spec.network.egress allow it`);
    throw error;
  }
}

async function plan(place: PlanPlace, signal: AbortSignal, scanLimit: number): Promise<PlanResult> {
  const { job, pool } = place;
  const manifest = await findManifest(job.output, job.spec.job.uid);
  if (manifest.kind === 'ours') return manifest.manifest.plan;
  const adopted = await adoptPlan(job);
  if (adopted) return adopted;
  if (!job.spec.output.overwrite) await refuseOthersOutput(job, manifest);

  const written = new Set([files.results, files.errors, files.manifest].map((name) => job.output.address(name)));
  const { format } = job.spec.input;
  const found = concatenate(job.input, await markPacked(job.input, await job.input.find(written)));
  await proveExclusive(job);
  const size = shardBytes(found.total, job.spec.sharding);
  // Where a record ends can be told from anywhere in lines of JSON, and from the start alone in CSV and in packed files.
  const anywhere = format !== 'csv' && found.files.every(({ packed }) => packed === undefined);
  const scan = found.total <= scanLimit || !anywhere ? await scanWhole(found, size, signal, format) : await scanBoundaries(found, size, signal);
  const input = 'input' in scan ? (scan.input as Concatenation) : found;
  if (format === 'csv') await checkHeaders(input, pool.signature);
  const { batch, warning, sizes } = await measureBatch({ ...place, input, items: scan.items, signal });
  if (warning !== undefined) place.warnings.push(warning);
  job.log.info({ ...batch, ...(warning === undefined ? {} : { warning }), measured: sizes.map(({ size: tried, itemMs }) => `${tried}: ${itemMs.toPrecision(3)} ms`) }, 'batch size');
  const made = planOf(job, input, scan, batch);
  if (await storePlan(job.output, job.state, made)) return planResult(made);
  const first = await adoptPlan(job);
  if (first === undefined) throw new Error('the plan was there and is gone');
  return first;
}

async function adoptPlan(job: Job): Promise<PlanResult | undefined> {
  const stored = await loadPlan(job);
  if (stored === undefined) return undefined;
  await job.input.check(stored.plan.files);
  return planResult(stored.plan);
}

async function checkHeaders(input: Concatenation, signature: Signature): Promise<void> {
  for (const [index, { path, size }] of input.files.entries()) {
    if (size === 0) continue;
    const [start, end] = [input.starts[index] as number, input.starts[index + 1] as number];
    const reader = new LineReader(input, { offset: start, line: 1 }, end, maxLineBytes, 'csv');
    try {
      await reader.next();
      layoutOf(reader.header, signature);
    } catch (error) {
      if (!(error instanceof UnusableHeader)) throw error;
      throw new FatalError('InputInvalid', `input "${path}": ${error.message}`);
    } finally {
      await reader.close();
    }
  }
}

async function refuseOthersOutput(job: Job, manifest: Awaited<ReturnType<typeof findManifest>>): Promise<void> {
  const { field } = job.output;
  const advice = 'set spec.output.overwrite or name another folder';
  if (manifest.kind === 'other') throw new FatalError('OutputExists', `${field} holds the results of ${manifest.whose}; ${advice}`);
  for (const name of [files.results, files.errors]) {
    if ((await job.output.size(name)) === undefined) continue;
    throw new FatalError('OutputExists', `${field} holds a ${name} that this job did not write; ${advice}`);
  }
}

function planOf(job: Job, input: Concatenation, { shards, items, exact, sha256 }: Scan, batch: BatchPlan): Plan {
  return {
    job: job.spec.job.uid,
    exact,
    items,
    bytes: input.total,
    batch,
    model: { size: job.model.size, sha256: job.model.sha256 },
    files: input.files.map(({ path, size, packed, stamp }, index) => {
      const digest = sha256?.[index];
      return { path, size: packed ?? size, ...(packed === undefined ? {} : { unpacked: size }), stamp, ...(digest === undefined ? {} : { sha256: digest }) };
    }),
    shards,
  };
}
