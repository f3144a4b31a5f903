import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { loadAll } from 'js-yaml';
import type { WorkerSpec } from '../../inference-pod/contract.ts';
import type { BatchJob } from '../../operator/api/batchjob.gen.ts';
import { parseBatchJob } from '../../operator/api/parse.ts';
import { ledgerJob } from '../../operator/batchjob/saved-progress.ts';
import { workerSpec } from '../../operator/batchjob/worker-spec.ts';
import type { LedgerJob } from '../../operator/dispatch/state.ts';
import { modelFile, putDigits, putRepeatedDigits } from '../demo/samples.ts';
import { StepError } from '../step.ts';

const sampleImage = 'millrace.local/models/digits:v1';

/** A BatchJob whose claims and images are folders of this machine. */
export interface LocalJob {
  spec: WorkerSpec;
  ledger: LedgerJob;
  name: string;
  workers: number;
  /** Folder in which results.jsonl, errors.jsonl and manifest.json appear. */
  output: string;
  /** The input is the sample of handwritten digits, made by us: its labels are known. */
  sample: boolean;
}

export interface LocalFolders {
  /** Folder of each claim that was named; the others are folders of the claim's name in `base`. */
  claims: ReadonlyMap<string, string>;
  base: string;
  /** Stands for spec.model.image. */
  model: string | undefined;
}

type Stored = BatchJob & { apiVersion: string; kind: string; metadata: { uid: string; resourceVersion: string; namespace: string; name: string } };

/** @throws StepError with what is wrong and what to do */
export async function localJob(file: string, uid: string, workers: number | undefined, folders: LocalFolders): Promise<LocalJob> {
  const job = readManifest(file, uid);
  if (workers !== undefined) job.spec.workers.max = workers;
  const folder = (claimName: string): string => folders.claims.get(claimName) ?? join(folders.base, claimName);
  const { model, input, output } = job.spec;
  const spec = workerSpec(job);
  spec.model.root = model.volume ? folder(model.volume.claimName) : modelFolder(model.image, folders.model);
  if (!output.volume || input.s3) throw new StepError('read the manifest', 'input and output in S3 are for jobs in a cluster', 'use spec.input.volume and spec.output.volume, which are folders here');
  const outputRoot = folder(output.volume.claimName);
  spec.output = { ...spec.output, root: outputRoot, path: output.volume.path };
  let sample = false;
  if (input.volume) {
    const inputRoot = folder(input.volume.claimName);
    spec.input = { ...spec.input, root: inputRoot, path: input.volume.path, additionalPaths: input.volume.additionalPaths ?? [] };
    sample = await putSample(join(inputRoot, input.volume.path));
  } else if (input.inline !== undefined) {
    const inputRoot = join(folders.base, '.input', uid);
    spec.input = { ...spec.input, root: inputRoot, path: 'input', additionalPaths: [] };
    await mkdir(inputRoot, { recursive: true });
    await writeFile(join(inputRoot, 'input'), input.inline);
  } else {
    throw new StepError('read the manifest', 'spec.input.configMap: there is no ConfigMap without a cluster', 'use spec.input.volume or spec.input.inline');
  }
  await mkdir(outputRoot, { recursive: true });
  return { spec, ledger: { ...ledgerJob(job), holdVerdict: false }, name: job.metadata.name, workers: job.spec.workers.max, output: resolve(outputRoot, output.volume.path), sample };
}

function readManifest(file: string, uid: string): Stored {
  let documents: unknown[];
  try {
    documents = loadAll(readFileSync(file, 'utf8')) as unknown[];
  } catch (error) {
    throw new StepError('read the manifest', error instanceof Error ? error.message : String(error), 'name a YAML file with a BatchJob');
  }
  const found = documents.find((document) => (document as { kind?: unknown } | null)?.kind === 'BatchJob');
  if (found === undefined) throw new StepError('read the manifest', `${file} holds no BatchJob`, 'name a YAML file with kind: BatchJob');
  const parsed = parseBatchJob(found);
  if (!parsed.ok) throw new StepError('read the manifest', parsed.problems.join('\n'), `correct ${file}`);
  const { name, namespace } = parsed.value.metadata as { name: string; namespace?: string };
  return { apiVersion: 'millrace.dev/v1alpha1', kind: 'BatchJob', spec: parsed.value.spec, metadata: { uid, resourceVersion: '0', name, namespace: namespace ?? 'default' } };
}

function modelFolder(image: string | undefined, given: string | undefined): string {
  if (given !== undefined) return given;
  if (image === sampleImage) return dirname(modelFile);
  throw new StepError('find the model', `spec.model.image: "${image}" is an image, and nothing is pulled here`, 'say --model DIR with a folder that holds the files of the image');
}

/** The inputs that the sample manifests name are made when they are absent. */
async function putSample(file: string): Promise<boolean> {
  const put = file.endsWith('/in/digits.jsonl') ? putDigits : file.endsWith('/in/digits-long.jsonl') ? putRepeatedDigits : undefined;
  if (put === undefined) return false;
  if (existsSync(file)) return true;
  await mkdir(dirname(file), { recursive: true });
  await put(file);
  return true;
}
