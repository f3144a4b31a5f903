import type { Log } from '../kit/log.ts';
import { files, type WorkerSpec } from './contract.ts';
import { loadModel } from './load-model.ts';
import type { Workplace } from './runner.ts';
import type { S3Keys } from './s3-keys.ts';
import { openStores } from './stores/open-stores.ts';

export interface WorkplaceOptions {
  spec: WorkerSpec;
  owner: string;
  keys: S3Keys;
  cpus: number;
  memoryBytes: number | undefined;
  log: Log;
  onCrash: (error: Error) => void;
}

/** Opens the stores, finds and loads the model. Throws FatalError. */
export async function openWorkplace({ spec, owner, keys, cpus, memoryBytes, log, onCrash }: WorkplaceOptions): Promise<Workplace> {
  const stores = await openStores(spec, keys, owner);
  const { model, input, batching } = spec;
  const loaded = await loadModel({ model, format: input.format, timeoutSeconds: batching.timeoutSeconds, cpus, memoryBytes, log, onCrash });
  const { pool, engine, warnings, alone } = loaded;
  return { pool, engine, warnings, memoryBytes, job: { spec, log, ...stores, state: files.state(spec.job.uid), model: loaded.model, alone } };
}
