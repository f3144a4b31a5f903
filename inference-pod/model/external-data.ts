import type { Stats } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, FatalError } from '../fatal.ts';

/** A file of the model as it was when it was looked at. */
export interface ModelPart {
  /** Name beside the model file; the model file's own name too. */
  name: string;
  real: string;
  stats: Stats;
}

/**
 * The files that hold a model's weights: plain files beside it, named without folders, links or second names, so that
 * a model can make the worker read nothing else. ONNX Runtime (1.30) checks paths too, but takes hard links.
 * Throws FatalError ModelInvalid.
 */
export async function findExternalData(model: string, path: string, locations: Iterable<string>): Promise<ModelPart[]> {
  const refuse = (location: string, why: string): FatalError =>
    new FatalError('ModelInvalid', `spec.model.path "${path}" takes weights from ${JSON.stringify(location.slice(0, 200))}: ${why}; external data must be a plain file beside the model`);
  const parts: ModelPart[] = [];
  for (const location of [...locations].sort()) {
    const name = location.replace(/^(\.\/)+/, '');
    // The second is ONNX Runtime's mark for addresses in memory.
    if (/[/\\\0]/.test(name) || name.includes('_ORT_MEM_ADDR_')) throw refuse(location, 'it leads out of the folder of the model');
    if (name === '' || name === '.' || name === '..') throw refuse(location, 'it is a folder');
    if (parts.some((part) => part.name === name)) continue;
    const real = join(dirname(model), name);
    let stats: Stats;
    try {
      stats = await lstat(real);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') throw refuse(location, 'the file is not there');
      if (errnoOf(error) === 'ENAMETOOLONG') throw refuse(location, 'the name is too long');
      throw error;
    }
    if (stats.isSymbolicLink()) throw refuse(location, 'it is a symbolic link');
    if (!stats.isFile()) throw refuse(location, stats.isDirectory() ? 'it is a folder' : 'it is not a file');
    if (stats.nlink > 1) throw refuse(location, `it is a hard link (the file has ${stats.nlink} names)`);
    parts.push({ name, real, stats });
  }
  return parts;
}
