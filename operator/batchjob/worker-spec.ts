import type { BatchJob, BatchJobSpec } from '../api/batchjob.gen.ts';
import type { S3InputPlace, S3OutputPlace, S3Place, VolumeInputPlace, VolumeOutputPlace, WorkerSpec } from '../../inference-pod/contract.ts';
import { exceeds } from '../api/quantity.ts';
import { claimRoot } from './volumes.ts';

export const MODEL_ROOT = '/model';
export const INPUT_COPY_ROOT = '/input';
export const GPU = 'nvidia.com/gpu';
export const INPUT_COPY_KEY = 'input.jsonl';

/** What every worker of the job is told, with paths as they are inside the worker's container. */
export function workerSpec(job: BatchJob & { metadata: { uid: string; namespace?: string; name: string } }): WorkerSpec {
  const { model, input, output, workers, sharding, batching } = job.spec;
  return {
    job: { uid: job.metadata.uid, namespace: job.metadata.namespace ?? '', name: job.metadata.name },
    model: {
      root: model.volume ? claimRoot(model.volume.claimName) : MODEL_ROOT,
      path: model.path,
      task: model.task,
      accelerator: workers.accelerator === 'auto' && !usesGpu(job) ? 'cpu' : workers.accelerator,
      ...(model.task === 'text-embedding' ? { embedding: { truncate: false, ...model.embedding } } : {}),
    },
    input: { format: input.format, ...inputPlace(input) },
    output: { overwrite: output.overwrite, ...outputPlace(output) },
    sharding: { targetBytes: bytesOf(sharding.targetBytes), maxWorkers: workers.max },
    batching: { maxSize: batching.maxSize, timeoutSeconds: batching.timeoutSeconds, ...(batching.maxTokens === undefined ? {} : { maxTokens: batching.maxTokens }) },
  };
}

function inputPlace({ volume, s3 }: BatchJobSpec['input']): VolumeInputPlace | S3InputPlace {
  if (s3) return { ...s3Place(s3), key: s3.key, additionalKeys: s3.additionalKeys ?? [] };
  if (volume) return { root: claimRoot(volume.claimName), path: volume.path, additionalPaths: volume.additionalPaths ?? [] };
  return { root: INPUT_COPY_ROOT, path: INPUT_COPY_KEY, additionalPaths: [] };
}

function outputPlace({ volume, s3 }: BatchJobSpec['output']): VolumeOutputPlace | S3OutputPlace {
  if (s3) return { ...s3Place(s3), prefix: s3.prefix === '' || s3.prefix.endsWith('/') ? s3.prefix : `${s3.prefix}/` };
  // One of the two is there: the schema sees to it.
  const { claimName, path } = volume as NonNullable<typeof volume>;
  return { root: claimRoot(claimName), path };
}

type S3Spec = Pick<NonNullable<BatchJobSpec['output']['s3']>, 'bucket' | 'region' | 'endpoint' | 'pathStyle'>;

function s3Place({ bucket, region, endpoint, pathStyle = endpoint !== undefined }: S3Spec): S3Place {
  return { bucket, region, pathStyle, ...(endpoint === undefined ? {} : { endpoint }) };
}

/** A worker gets a GPU when the job insists on CUDA or its resources name one. */
export function usesGpu(job: BatchJob): boolean {
  const { accelerator, resources } = job.spec.workers;
  if (accelerator === 'cpu') return false;
  return accelerator === 'cuda' || [resources?.limits, resources?.requests].some((list) => exceeds(list?.[GPU] ?? 0, 0));
}

const BYTES: Record<string, number> = { '': 1, k: 1e3, M: 1e6, G: 1e9, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 };

/** The sizes that the schema of spec.sharding.targetBytes takes, as a number of at least 1. */
function bytesOf(size: number | string): number {
  const [, digits = '', unit = ''] = /^(\d+)(\D*)$/.exec(String(size)) ?? [];
  return Math.max(1, Number(digits) * (BYTES[unit] ?? 0));
}
