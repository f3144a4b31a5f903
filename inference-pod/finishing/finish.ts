import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { membersOf, parseRanges } from '../../kit/ranges.ts';
import { type FinishResult, files, type GenerationRange } from '../contract.ts';
import { createExclusively, publishExclusively, replaceDurably, unlinkIfThere } from '../durable.ts';
import { errnoOf, FatalError, messageOf } from '../fatal.ts';
import { type Job, loadPlan } from '../job.ts';
import { whileWriting } from '../output-folder.ts';
import { type Plan, planResult } from '../planning/plan-file.ts';
import { followChain, type ShardFolder, shardFolder } from '../segments/store.ts';
import { appendSegment, OutputWriter } from './join.ts';
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
    const manifest = await whileWriting(job.spec.output.path, () => commit(job, generations, signal));
    return await conclude(job, manifest);
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
  const generationOf = new Map<number, number>();
  for (const { shards, generation } of generations) {
    for (const shard of membersOf(parseRanges(shards))) generationOf.set(shard, generation);
  }
  const temporary = (name: string): string => join(job.state, `.tmp-${job.owner}-${name}`);
  for (const name of [files.results, files.errors]) await unlinkIfThere(temporary(name));
  const results = await OutputWriter.open(temporary(files.results));
  const errors = await OutputWriter.open(temporary(files.errors));
  try {
    const items = { succeeded: 0, failed: 0 };
    const shards: Manifest['shards'] = [];
    for (const [shard, range] of plan.shards.entries()) {
      const generation = generationOf.get(shard);
      if (generation === undefined) throw new Error(`lease to finish names no generation for shard ${shard}`);
      const counts = await appendShard(shardFolder(job.state, shard, generation), range, results, errors, signal);
      items.succeeded += counts.succeeded;
      items.failed += counts.failed;
      shards.push([range.end - range.start, counts.succeeded, counts.failed]);
    }
    const manifest: Manifest = {
      v: 1,
      job: job.spec.job,
      items,
      results: { path: files.results, ...(await results.finish()) },
      errors: { path: files.errors, ...(await errors.finish()) },
      model: { path: job.spec.model.path, ...plan.model },
      input: {
        format: job.spec.input.format,
        path: job.spec.input.path,
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
    await results.close();
    await errors.close();
    await unlinkIfThere(results.path);
    await unlinkIfThere(errors.path);
  }
}

async function appendShard(
  place: ShardFolder,
  range: { start: number; end: number },
  results: OutputWriter,
  errors: OutputWriter,
  signal: AbortSignal,
): Promise<{ succeeded: number; failed: number }> {
  const counts = { succeeded: 0, failed: 0 };
  const chain = await followChain(place, range);
  const reached = chain.at(-1)?.end ?? range.start;
  if (reached !== range.end) throw new Error(`lease to finish, but shard ${place.shard} is stored up to ${reached} of ${range.end}`);
  for (const footer of chain) {
    signal.throwIfAborted();
    await appendSegment(place, footer, results, errors);
    counts.succeeded += footer.items.succeeded;
    counts.failed += footer.items.failed;
  }
  return counts;
}

async function publish(job: Job, manifest: Manifest, results: OutputWriter, errors: OutputWriter): Promise<Manifest> {
  const { overwrite } = job.spec.output;
  const manifestPath = join(job.output, files.manifest);
  const content = [Buffer.from(`${JSON.stringify(manifest)}\n`)];
  for (;;) {
    const found = await findManifest(job.output, job.spec.job.uid);
    if (found.kind === 'ours') return found.manifest;
    if (found.kind === 'other') {
      if (!overwrite) throw outputExists(job, `the results of ${found.whose}`);
      // Gone before the results change, so that it never speaks for others than its own.
      await unlinkIfThere(manifestPath);
    }
    await place(job, results.path, manifest.results);
    await place(job, errors.path, manifest.errors);
    if (await createExclusively(manifestPath, content, job.owner)) return manifest;
  }
}

/** `temporary` as `output.path`. One that is there already is taken as ours when it has the same content. */
async function place(job: Job, temporary: string, output: OutputFile): Promise<void> {
  const target = join(job.output, output.path);
  if (await isThere(target, output)) return;
  if (job.spec.output.overwrite) {
    await replaceDurably(temporary, target);
  } else if (!(await publishExclusively(temporary, target)) && !(await isThere(target, output))) {
    throw outputExists(job, `a ${output.path} that this job did not write`);
  }
}

async function isThere(target: string, { bytes, sha256 }: OutputFile): Promise<boolean> {
  try {
    if ((await stat(target)).size !== bytes) return false;
    const hash = createHash('sha256');
    await pipeline(createReadStream(target, { highWaterMark: 1024 * 1024 }), hash);
    return hash.digest('hex') === sha256;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

function outputExists(job: Job, what: string): FatalError {
  return new FatalError('OutputExists', `output.path "${job.spec.output.path}" holds ${what}; set spec.output.overwrite or name another folder`);
}

function fingerprintOf({ files: planned }: Plan): string {
  const hash = createHash('sha256');
  for (const { path, size, sha256 } of planned) hash.update(`${JSON.stringify([path, size, sha256 ?? null])}\n`);
  return hash.digest('hex');
}

/** The job is committed: its segments have done their work. */
async function conclude(job: Job, manifest: Manifest): Promise<FinishResult> {
  try {
    await rm(job.state, { recursive: true, force: true, maxRetries: 3 });
    await rmdir(dirname(job.state)).catch((error: unknown) => {
      const errno = errnoOf(error);
      if (errno !== 'ENOTEMPTY' && errno !== 'ENOENT' && errno !== 'EEXIST') throw error;
    });
  } catch (error) {
    job.log.warn({ folder: job.state, reason: messageOf(error) }, 'segments could not be removed');
  }
  return finishResult(manifest, job.spec.output.path);
}
