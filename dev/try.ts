/** Runs a BatchJob on this machine, without a cluster: the same dispatcher and worker program, a folder for a volume. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { Fatal } from '../inference-pod/contract.ts';
import type { LedgerProgress } from '../operator/dispatch/progress.ts';
import { etaText, progressText, rateText } from '../operator/dispatch/progress-text.ts';
import { cacheDir } from './cluster/cache.ts';
import { accuracyOf, percent } from './demo/accuracy.ts';
import { sampleFile } from './demo/samples.ts';
import { StepError } from './step.ts';
import { type LocalJob, localJob } from './try/local-job.ts';
import { LocalRun } from './try/local-run.ts';

const usage = `usage: npm run try [-- options] [MANIFEST]
  MANIFEST             a BatchJob; the sample of handwritten digits when absent
  --long               the long sample: the same digits 270 times over
  --workers N          in place of spec.workers.max
  --data DIR           folder in which each claim is a folder of its name; ${join(cacheDir(), 'try')} when absent
  --data CLAIM=DIR     folder of one claim; may be repeated
  --model DIR          folder in place of spec.model.image
  --uid UID            go on with an earlier run of the same manifest`;

const leaveMs = 15_000;

interface Options {
  manifest: string;
  uid: string;
  again: boolean;
  workers: number | undefined;
  base: string;
  ownBase: boolean;
  claims: Map<string, string>;
  model: string | undefined;
}

function readOptions(): Options {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      long: { type: 'boolean', default: false },
      workers: { type: 'string' },
      data: { type: 'string', multiple: true, default: [] },
      model: { type: 'string' },
      uid: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    process.exit(0);
  }
  if (positionals.length > 1) throw new StepError('try', `"${positionals.slice(1).join(' ')}" is one too many`, usage);
  const workers = values.workers === undefined ? undefined : Number(values.workers);
  if (workers !== undefined && !(Number.isInteger(workers) && workers >= 1 && workers <= 64)) throw new StepError('try', `--workers: got "${values.workers}", expected a number from 1 to 64`, usage);
  const bases = values.data.filter((entry) => !entry.includes('='));
  if (bases.length > 1) throw new StepError('try', '--data DIR may be given once', usage);
  const claims = new Map(values.data.filter((entry) => entry.includes('=')).map((entry) => [entry.slice(0, entry.indexOf('=')), resolve(entry.slice(entry.indexOf('=') + 1))]));
  return {
    manifest: resolve(positionals[0] ?? sampleFile(values.long ? 'batchjob-long.yaml' : 'batchjob.yaml')),
    uid: values.uid ?? randomUUID(),
    again: values.uid !== undefined,
    workers,
    base: bases[0] === undefined ? join(cacheDir(), 'try') : resolve(bases[0]),
    ownBase: bases[0] === undefined,
    claims,
    model: values.model === undefined ? undefined : resolve(values.model),
  };
}

/** @returns the exit code */
async function main(options: Options): Promise<number> {
  const job = await localJob(options.manifest, options.uid, options.workers, options);
  // Nobody but us writes to our own folder: what lies there is the result of an earlier try.
  if (options.ownBase && options.claims.size === 0 && !options.again) await rm(job.output, { recursive: true, force: true });
  const logs = join(options.base, '.logs', options.uid);
  const begun = performance.now();
  const screen = new Screen();
  screen.note(`${job.name} (uid ${options.uid}), ${job.workers} worker(s), logs in ${logs}`);
  const run = await LocalRun.start({
    job,
    cpuMillis: Math.max(1, Math.floor(availableParallelism() / job.workers)) * 1_000,
    logs,
    onProgress: (progress) => screen.show(line(progress)),
    onNote: (text) => screen.note(text),
    onStart: (worker, pid, restarts) => screen.note(`worker ${worker} ${restarts === 0 ? 'started' : `restarted (${restarts})`}, pid ${pid}`),
  });
  const interrupted = Promise.withResolvers<'interrupted'>();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.resolve('interrupted'));

  const outcome = await Promise.race([run.outcome, interrupted.promise]);
  const seconds = (performance.now() - begun) / 1_000;
  if (outcome === 'interrupted') screen.note('interrupted: workers finish what they have begun ...');
  const progress = await run.close(leaveMs, outcome !== 'interrupted');
  screen.end();
  return tell(job, options, outcome, progress, seconds);
}

async function tell(job: LocalJob, options: Options, outcome: 'over' | 'interrupted' | Fatal, progress: LedgerProgress, seconds: number): Promise<number> {
  const { succeeded, failed } = progress.items;
  if (outcome === 'interrupted') {
    console.log(`Stopped at ${progressText(progress)}. To go on, add: --uid ${options.uid}`);
    return 130;
  }
  const failure = progress.failure ?? (typeof outcome === 'object' ? { reason: outcome.code, message: outcome.message } : undefined);
  if (failure) {
    console.log(`Failed after ${seconds.toFixed(1)} s: ${failure.reason}: ${failure.message}`);
    return 1;
  }
  console.log(`Complete: ${succeeded} result(s), ${failed} error(s) in ${seconds.toFixed(1)} s, ${rateText({ phase: 'Running', rate: (succeeded + failed) / seconds })} over all`);
  for (const name of ['results.jsonl', 'errors.jsonl', 'manifest.json']) console.log(`  ${join(job.output, name)}${existsSync(join(job.output, name)) ? '' : ' (missing)'}`);
  if (job.sample) {
    const accuracy = await accuracyOf(join(job.output, 'results.jsonl'));
    console.log(`  digits read right: ${percent(accuracy.all)}; of the images held out of training ${percent(accuracy.heldOut)}`);
  }
  return 0;
}

function line(progress: LedgerProgress): string {
  const { phase, items, workers, etaSeconds } = progress;
  const parts = [phase.padEnd(9), progressText(progress)];
  if (phase === 'Running') parts.push(rateText(progress), ...(etaSeconds === undefined ? [] : [`ETA ${etaText(progress)}`]), `${workers.filter(({ state }) => state === 'Working').length} working`);
  if (items.failed > 0) parts.push(`${items.failed} failed`);
  return parts.join('  ');
}

/** One line that is rewritten on a terminal; lines one below the other elsewhere. */
class Screen {
  #line = '';

  show(line: string): void {
    if (line === this.#line) return;
    this.#line = line;
    if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${line}`);
    else console.log(line);
  }

  note(text: string): void {
    if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${text}\n${this.#line}`);
    else console.log(text);
  }

  end(): void {
    if (process.stdout.isTTY && this.#line !== '') process.stdout.write('\n');
  }
}

try {
  process.exitCode = await main(readOptions());
} catch (error) {
  console.error(error instanceof StepError || (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS') ? (error as Error).message : error);
  process.exitCode = 1;
}
