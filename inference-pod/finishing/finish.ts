import { createHash } from 'node:crypto';
import { membersOf, parseRanges } from '../../kit/ranges.ts';
import { type FinishResult, files, type GenerationRange } from '../contract.ts';
import { FatalError, messageOf } from '../fatal.ts';
import { type Job, loadPlan } from '../job.ts';
import type { ShardRange } from '../planning/cut.ts';
import { type Plan, planResult, removePlan } from '../planning/plan-file.ts';
import { type ShardFolder, shardFolder } from '../segments/store.ts';
import { Gone } from '../stores/store.ts';
import { findPieces, JoinedFile, joinPieces, type Piece } from './join.ts';
import { findManifest, finishResult, type Manifest, type OutputFile } from './manifest.ts';

/**
 * The finish lease: joins all segments into `results.jsonl` and `errors.jsonl`, then creates `manifest.json`, which
 * commits the job, then removes the segments. Safe to repeat at any point, and against other finishers: what they
 * write is the same, and the manifest that is there first counts. Throws FatalError OutputExists.
 */
export async function finishJob(job: Job, generations: readonly GenerationRange[], signal: AbortSignal): Promise<FinishResult> {
  const committed = await findCommitted(job);
  if (committed) return await conclude(job, committed);
  try {
    return await conclude(job, await commit(job, generations, signal));
  } catch (error) {
    // Another finisher may have committed and removed the segments while this one read them.
    const found = signal.aborted ? undefined : await findCommitted(job);
    if (found === undefined) throw error;
    return await conclude(job, found);
  }
}

async function findCommitted(job: Job): Promise<Manifest | undefined> {
  const found = await findManifest(job.output, job.spec.job.uid);
  return found.kind === 'ours' ? found.manifest : undefined;
}

async function commit(job: Job, generations: readonly GenerationRange[], signal: AbortSignal): Promise<Manifest> {
  const planned = await loadPlan(job);
  if (planned === undefined) throw new Error('lease to finish, but the job has no plan');
  const { plan } = planned;
  const pieces: Piece[] = [];
  const items = { succeeded: 0, failed: 0 };
  const shards: Manifest['shards'] = [];
  for await (const shard of findPieces(shardsOf(job, plan, generations), signal)) {
    const { start, end } = plan.shards[shards.length] as ShardRange;
    shards.push([end - start, shard.succeeded, shard.failed]);
    items.succeeded += shard.succeeded;
    items.failed += shard.failed;
    pieces.push(...shard.pieces);
  }
  const results = await JoinedFile.open(job.output, files.results, pieces.map(({ resultsBytes }) => resultsBytes), job.state);
  try {
    const errors = await JoinedFile.open(job.output, files.errors, pieces.map(({ errorsBytes }) => errorsBytes), job.state);
    try {
      await joinPieces(pieces, results, errors, signal);
      const manifest: Manifest = {
        v: 1,
        job: job.spec.job,
        items,
        results: { path: files.results, ...results.describe() },
        errors: { path: files.errors, ...errors.describe() },
        model: { path: job.spec.model.path, ...plan.model },
        input: {
          format: job.spec.input.format,
          path: job.input.named,
          files: plan.files.length,
          bytes: plan.bytes,
          fingerprint: fingerprintOf(plan),
        },
        plan: { ...planResult(plan), ...(plan.exact ? {} : { items: items.succeeded + items.failed }) },
        generations: [...generations],
        shards,
      };
      signal.throwIfAborted();
      return await publish(job, manifest, results, errors);
    } finally {
      await errors.close();
    }
  } finally {
    await results.close();
  }
}

function* shardsOf(job: Job, plan: Plan, generations: readonly GenerationRange[]): Generator<{ place: ShardFolder; range: ShardRange }> {
  const generationOf = new Map<number, number>();
  for (const { shards, generation } of generations) {
    for (const shard of membersOf(parseRanges(shards))) generationOf.set(shard, generation);
  }
  for (const [shard, range] of plan.shards.entries()) {
    const generation = generationOf.get(shard);
    if (generation === undefined) throw new Error(`lease to finish names no generation for shard ${shard}`);
    yield { place: shardFolder(job.output, job.state, shard, generation), range };
  }
}

async function publish(job: Job, manifest: Manifest, results: JoinedFile, errors: JoinedFile): Promise<Manifest> {
  const { overwrite } = job.spec.output;
  const content = [Buffer.from(`${JSON.stringify(manifest)}\n`)];
  for (;;) {
    const found = await findManifest(job.output, job.spec.job.uid);
    if (found.kind === 'ours') return found.manifest;
    if (found.kind === 'other') {
      if (!overwrite) throw outputExists(job, `the results of ${found.whose}`);
      // Gone before the results change, so that it never speaks for others than its own.
      await job.output.remove(files.manifest);
    }
    await place(job, results, manifest.results);
    await place(job, errors, manifest.errors);
    if (await job.output.create(files.manifest, content)) return manifest;
  }
}

/** `joined` as `output.path`. One that is there already is taken as ours when it has the same content. */
async function place(job: Job, joined: JoinedFile, output: OutputFile): Promise<void> {
  if (await isThere(job, output)) return;
  if (!(await joined.publish(job.spec.output.overwrite)) && !(await isThere(job, output))) {
    throw outputExists(job, `a ${output.path} that this job did not write`);
  }
}

async function isThere({ output }: Job, { path, bytes, sha256 }: OutputFile): Promise<boolean> {
  if ((await output.size(path)) !== bytes) return false;
  const hash = createHash('sha256');
  try {
    for await (const block of output.blocks(path)) hash.update(block);
  } catch (error) {
    if (error instanceof Gone) return false;
    throw error;
  }
  return hash.digest('hex') === sha256;
}

function outputExists(job: Job, what: string): FatalError {
  return new FatalError('OutputExists', `${job.output.field} holds ${what}; set spec.output.overwrite or name another folder`);
}

function fingerprintOf({ files: planned }: Plan): string {
  const hash = createHash('sha256');
  for (const { path, size, sha256 } of planned) hash.update(`${JSON.stringify([path, size, sha256 ?? null])}\n`);
  return hash.digest('hex');
}

/**
 * Removes what was stored after the commit by a worker that did not know of it: where a store has no folders, the
 * removal of the state does not keep a late segment out. Does nothing before the commit.
 */
export async function sweep(job: Job): Promise<void> {
  if (await findCommitted(job)) await removeState(job);
}

/** The job is committed: its segments have done their work. */
async function conclude(job: Job, manifest: Manifest): Promise<FinishResult> {
  await removeState(job);
  return finishResult(manifest, job.output);
}

async function removeState(job: Job): Promise<void> {
  try {
    // First the plan: whoever has this job still to do then finds the manifest, and begins nothing anew.
    await removePlan(job.output, job.state);
    await job.output.removeFolder(job.state);
  } catch (error) {
    job.log.warn({ folder: job.state, reason: messageOf(error) }, 'segments could not be removed');
  }
}
