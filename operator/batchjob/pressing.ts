import type { BatchJobStatus } from '../api/batchjob.gen.ts';
import { deepEqual } from '../runtime/equal.ts';

/**
 * Whether a status says more than the stored one about anything but progress, so that it must not wait for its turn. All
 * that is not known to change by itself counts, so that a new field is written too often rather than too late.
 */
export function isPressing(before: BatchJobStatus | undefined, after: BatchJobStatus): boolean {
  return !deepEqual(lasting(before ?? {}), lasting(after));
}

function lasting(status: BatchJobStatus): object {
  const {
    progress: _progress, rate: _rate, eta: _eta, items: _items, shards: _shards, lastCheckpointTime: _checkpoint,
    queuePosition: _position, startEstimate: _estimate, message: _message, readyWorkers: _ready,
    workers = [], conditions = [], ...rest
  } = status;
  return {
    ...rest,
    // A worker's attempt number must not get lost; what it is and does is progress.
    workers: workers.map(({ slot, attempt }) => ({ slot, attempt })),
    conditions: conditions.map(({ message: _text, ...condition }) => condition),
  };
}
