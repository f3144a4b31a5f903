import type { WorkerSpec } from '../contract.ts';
import type { InputStore, OutputStore } from './store.ts';
import { VolumeInput } from './volume/input.ts';
import { VolumeOutput } from './volume/output.ts';

export interface Stores {
  input: InputStore;
  output: OutputStore;
}

/** `owner` is random per process. Throws FatalError. */
export async function openStores({ input, output }: Pick<WorkerSpec, 'input' | 'output'>, owner: string): Promise<Stores> {
  return { input: new VolumeInput(input), output: await VolumeOutput.open(output, owner) };
}
