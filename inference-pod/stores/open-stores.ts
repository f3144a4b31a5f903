import type { WorkerSpec } from '../contract.ts';
import type { S3Keys } from '../s3-keys.ts';
import type { InputStore, OutputStore } from './store.ts';
import { VolumeInput } from './volume/input.ts';
import { VolumeOutput } from './volume/output.ts';

export interface Stores {
  input: InputStore;
  output: OutputStore;
}

/** `owner` is random per process. Throws FatalError. */
export async function openStores(spec: Pick<WorkerSpec, 'input' | 'output'>, keys: S3Keys, owner: string): Promise<Stores> {
  return { input: await openInputStore(spec.input, keys), output: await openOutputStore(spec.output, keys, owner) };
}

async function openInputStore(input: WorkerSpec['input'], keys: S3Keys): Promise<InputStore> {
  return 'bucket' in input ? (await s3()).openS3Input(input, keys.input) : new VolumeInput(input);
}

async function openOutputStore(output: WorkerSpec['output'], keys: S3Keys, owner: string): Promise<OutputStore> {
  return 'bucket' in output ? (await s3()).openS3Output(output, keys.output) : await VolumeOutput.open(output, owner);
}

/** For the jobs that need it: the library takes 0.2 s of CPU time and 35 MB to load. */
async function s3(): Promise<typeof import('./s3/open.ts')> {
  return await import('./s3/open.ts');
}
