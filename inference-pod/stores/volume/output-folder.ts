import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder } from './durable.ts';
import { errnoOf, FatalError, messageOf } from '../../fatal.ts';
import { isWithin } from '../../paths.ts';

/** Makes the output folder where it is absent; its real path. Throws FatalError OutputUnusable. */
export async function openOutputFolder(root: string, path: string): Promise<string> {
  try {
    const base = await realpath(root);
    let folder = base;
    for (const part of path.split('/')) {
      if (part === '' || part === '.') continue;
      folder = await enter(base, join(folder, part), path);
    }
    return folder;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw new FatalError('OutputUnusable', `spec.output.volume.path "${path}": the output volume is not mounted at ${root}`);
    throw asOutputFault(error, path);
  }
}

/** Does `work`, which writes below the output folder at `path`; errors that a restart cannot mend become FatalError. */
export async function whileWriting<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw asOutputFault(error, path);
  }
}

async function enter(base: string, folder: string, path: string): Promise<string> {
  await makeFolder(folder);
  const real = await realpath(folder);
  if (!isWithin(base, real)) throw new FatalError('OutputUnusable', `spec.output.volume.path "${path}" leads out of its volume through a symbolic link`);
  return real;
}

const reasons: Readonly<Record<string, string>> = {
  EACCES: 'permission denied; the volume must be writable for the user of the worker or fsGroup',
  EROFS: 'the volume is read-only',
  ENOSPC: 'the volume is full',
  EDQUOT: 'the quota of the volume is used up',
  ENOTDIR: 'a part of the path is a file',
  EEXIST: 'a part of the path is a file',
  ELOOP: 'its symbolic links go round in a circle',
};

const withoutLinks = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EXDEV']);

function asOutputFault(error: unknown, path: string): unknown {
  const errno = errnoOf(error);
  if (errno === undefined || error instanceof FatalError) return error;
  const call = (error as NodeJS.ErrnoException).syscall;
  if (call === 'link' && withoutLinks.has(errno)) {
    return new FatalError('OutputUnusable', `spec.output.volume.path "${path}": the file system has no hard links (link: ${errno}), which results need to be written exactly once; use another StorageClass`);
  }
  const reason = errno === 'EPERM' ? reasons['EACCES'] : reasons[errno];
  return reason === undefined ? error : new FatalError('OutputUnusable', `spec.output.volume.path "${path}" cannot be written: ${reason} (${messageOf(error).split(',')[0]})`);
}
