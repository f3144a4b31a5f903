import { randomUUID } from 'node:crypto';
import { FatalError } from '../fatal.ts';
import type { Job } from '../job.ts';

/**
 * That results are written exactly once rests on files that are made only where none is. Throws FatalError where the
 * output lets a second one take the place of the first. Opens the folder of the job's state.
 */
export async function proveExclusive({ output, state }: Job): Promise<void> {
  const name = `${state}/probe-${randomUUID()}`;
  await output.openFolder(state);
  await output.create(name, []);
  if (await output.create(name, [])) {
    throw new FatalError('OutputUnusable', `${output.field}: a file that was there was overwritten, though it was to be made only if absent (in S3: "If-None-Match: *"), which results need to be written exactly once; use another store`);
  }
  await output.remove(name);
}
