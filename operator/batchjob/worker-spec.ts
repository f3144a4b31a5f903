import type { BatchJob } from '../api/batchjob.gen.ts';
import type { WorkerSpec } from '../../inference-pod/contract.ts';
import { parseQuantity } from './quantity.ts';

export const MODEL_ROOT = '/model';
export const INPUT_COPY_ROOT = '/input';
export const INPUT_COPY_KEY = 'input.jsonl';
const volumeRoot = (claimName: string): string => `/volumes/${claimName}`;

/** What every worker of the job is told, with paths as they are inside the worker's container. */
export function workerSpec(job: BatchJob & { metadata: { uid: string; namespace?: string; name: string } }): WorkerSpec {
  const { model, input, output, workers, sharding, batching } = job.spec;
  return {
    job: { uid: job.metadata.uid, namespace: job.metadata.namespace ?? '', name: job.metadata.name },
    model: {
      root: model.volume ? volumeRoot(model.volume.claimName) : MODEL_ROOT,
      path: model.path,
      task: model.task,
      accelerator: workers.accelerator === 'auto' && !usesGpu(job) ? 'cpu' : workers.accelerator,
    },
    input: {
      format: input.format,
      root: input.volume ? volumeRoot(input.volume.claimName) : INPUT_COPY_ROOT,
      path: input.volume?.path ?? INPUT_COPY_KEY,
    },
    output: { root: volumeRoot(output.volume.claimName), path: output.volume.path, overwrite: output.overwrite },
    sharding: { targetBytes: Math.max(1, Math.floor(parseQuantity(sharding.targetBytes))), maxWorkers: workers.max },
    batching: { maxSize: batching.maxSize },
  };
}

/** A worker gets a GPU when the job insists on CUDA or its resources name one. */
export function usesGpu(job: BatchJob): boolean {
  const { accelerator, resources } = job.spec.workers;
  if (accelerator === 'cpu') return false;
  return accelerator === 'cuda' || [resources?.limits, resources?.requests].some((list) => parseQuantity(list?.['nvidia.com/gpu'] ?? 0) > 0);
}
