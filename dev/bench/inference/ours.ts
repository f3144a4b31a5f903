import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { localJob } from '../../try/local-job.ts';
import { LocalRun } from '../../try/local-run.ts';
import type { Workload } from './workloads.ts';

export interface OurOptions {
  /** CPU limit of the worker: a session for each. */
  cpus: number;
  /** spec.batching.maxSize; the default of the schema when absent. */
  maxSize?: number;
  /** Options for the worker's Node. */
  execArgv?: readonly string[];
  onStart?: (pid: number, restarts: number) => void;
}

/** The whole path of a job in `folder`: plan, leases, segments, join, manifest, with one worker process. Returns the file of results. */
export async function runOurs(work: Workload, folder: string, { cpus, maxSize, execArgv = [], onStart }: OurOptions): Promise<string> {
  const manifest = join(folder, 'job.yaml');
  await mkdir(folder, { recursive: true });
  await writeFile(manifest, JSON.stringify({
    apiVersion: 'millrace.dev/v1alpha1',
    kind: 'BatchJob',
    metadata: { name: work.kind },
    spec: {
      model: { volume: { claimName: 'work' }, path: 'model.onnx' },
      input: { volume: { claimName: 'work', path: 'in.jsonl' } },
      output: { volume: { claimName: 'out', path: 'out' } },
      workers: { max: 1, accelerator: 'cpu' },
      ...(maxSize === undefined ? {} : { batching: { maxSize } }),
    },
  }));
  const job = await localJob(manifest, randomUUID(), undefined, { claims: new Map([['work', work.folder], ['out', folder]]), base: folder, model: undefined });
  const logs = join(folder, 'logs');
  const run = await LocalRun.start({ job, cpuMillis: cpus * 1_000, logs, execArgv, onStart: (_, pid, restarts) => onStart?.(pid, restarts) });
  const outcome = await run.outcome;
  const progress = await run.close(60_000, true);
  const failure = progress.failure ?? (typeof outcome === 'object' ? { reason: outcome.code, message: outcome.message } : undefined);
  if (failure) throw new Error(`${failure.reason}: ${failure.message}`);
  if (progress.items.succeeded !== work.items || !existsSync(join(job.output, 'manifest.json'))) {
    throw new Error(`${progress.items.succeeded} of ${work.items} items succeeded\n${readFileSync(join(logs, 'worker-0.log'), 'utf8').slice(-2_000)}`);
  }
  return join(job.output, 'results.jsonl');
}
