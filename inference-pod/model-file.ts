import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { errnoOf, FatalError } from './fatal.ts';
import { PathEscapes, realpathWithin } from './paths.ts';

/** Which model a job runs: compared by content, since a tag or a volume can change under a job. */
export interface ModelFile {
  size: number;
  sha256: string;
}

/** Throws FatalError. `real` is where the file is. */
export async function findModel(root: string, path: string): Promise<ModelFile & { real: string }> {
  let real: string;
  try {
    real = await realpathWithin(root, path);
  } catch (error) {
    if (error instanceof PathEscapes) throw new FatalError('ModelInvalid', `spec.model.path: ${error.message}`);
    const errno = errnoOf(error);
    if (errno !== 'ENOENT' && errno !== 'ENOTDIR') throw error;
    throw new FatalError('ModelNotFound', `spec.model.path "${path}" was not found in the model volume`);
  }
  const { size, ...stats } = await stat(real).then((found) => ({ size: found.size, file: found.isFile() }));
  if (!stats.file) throw new FatalError('ModelInvalid', `spec.model.path "${path}" is not a file; name the .onnx file itself`);
  const hash = createHash('sha256');
  await pipeline(createReadStream(real, { highWaterMark: 1024 * 1024 }), hash);
  return { real, size, sha256: hash.digest('hex') };
}
