import type { Dirent, Stats } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { join, matchesGlob } from 'node:path';
import { errnoOf, FatalError } from '../../fatal.ts';
import { isWithin, PathEscapes, realpathWithin } from '../../paths.ts';
import type { InputFile } from '../../reading/concatenation.ts';

/** `real` is where it is, links followed. */
export interface FoundFile extends InputFile {
  real: string;
}

/**
 * The files of all `paths`, those of one behind those of the one before; a file that is found again is left out there,
 * by whatever name. Throws FatalError.
 */
export async function findAllInputFiles(root: string, paths: readonly string[], ignored: ReadonlySet<string>): Promise<InputFile[]> {
  const seen = new Set<string>();
  const all: InputFile[] = [];
  for (const path of paths) {
    const found = (await findInputFiles(root, path, ignored)).filter(({ real }) => paths.length === 1 || !seen.has(real));
    for (const { real, ...file } of found) {
      seen.add(real);
      all.push(file);
    }
  }
  return all;
}

/**
 * The files that `path` below `root` names: one file, all files below a folder, or those that a glob matches, in
 * ascending byte order of their path. Names that begin with a dot (and `ignored`, real paths) are passed over in
 * folders and globs. Symbolic links are followed inside the root. Throws FatalError.
 */
export async function findInputFiles(root: string, path: string, ignored: ReadonlySet<string>): Promise<FoundFile[]> {
  const base = await rootOf(root, path);
  const clean = path.split('/').filter((part) => part !== '' && part !== '.').join('/');
  const named = await statWithin(root, clean);
  if (named?.stats.isFile()) {
    if (ignored.has(named.real)) throw new FatalError('InputInvalid', `spec.input.volume.path "${path}" is a file that this job writes; name another input or output`);
    return [describe(clean, named.real, named.stats)];
  }
  if (named && !named.stats.isDirectory()) throw new FatalError('InputInvalid', `spec.input.volume.path "${path}" is neither a file nor a folder`);
  if (!named && !isGlob(clean)) throw new FatalError('InputNotFound', `spec.input.volume.path "${path}" was not found in the input volume`);

  const found: FoundFile[] = [];
  const start = named ? clean : literalFolder(clean);
  const from = named ?? (await statWithin(root, start));
  if (from?.stats.isDirectory()) {
    await walk({ base, ignored, found, matches: named ? () => true : (file) => matchesGlob(file, clean) }, start, from.real, [from.real]);
  }
  if (found.length === 0) {
    const what = named ? 'is a folder without files' : 'matches no file in the input volume';
    throw new FatalError('InputNotFound', `spec.input.volume.path "${path}" ${what}; files whose name begins with a dot do not count`);
  }
  return found.sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
}

interface Walk {
  base: string;
  ignored: ReadonlySet<string>;
  found: FoundFile[];
  matches: (path: string) => boolean;
}

/** `above` holds the real paths of the folders being walked, so that a link back up ends the walk. */
async function walk(context: Walk, folder: string, real: string, above: readonly string[]): Promise<void> {
  for (const entry of await readdir(real, { withFileTypes: true })) {
    if (entry.name.startsWith('.')) continue;
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    const target = await locate(context.base, join(real, entry.name), path, entry);
    if (target === undefined || context.ignored.has(target)) continue;
    const stats = await stat(target);
    if (stats.isFile()) {
      if (context.matches(path)) context.found.push(describe(path, target, stats));
    } else if (stats.isDirectory() && !above.includes(target)) {
      await walk(context, path, target, [...above, target]);
    }
  }
}

async function locate(base: string, location: string, path: string, entry: Dirent): Promise<string | undefined> {
  if (!entry.isSymbolicLink()) return entry.isFile() || entry.isDirectory() ? location : undefined;
  let target: string;
  try {
    target = await realpath(location);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw new FatalError('InputInvalid', `input "${path}" is a symbolic link to nothing; remove it or restore what it points to`);
    throw error;
  }
  if (!isWithin(base, target)) throw new FatalError('InputInvalid', `input "${path}" leads out of its volume through a symbolic link`);
  return target;
}

async function rootOf(root: string, path: string): Promise<string> {
  try {
    return await realpath(root);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    throw new FatalError('InputNotFound', `spec.input.volume.path "${path}": the input volume is not mounted at ${root}`);
  }
}

async function statWithin(root: string, path: string): Promise<{ real: string; stats: Stats } | undefined> {
  try {
    const real = await realpathWithin(root, path);
    return { real, stats: await stat(real) };
  } catch (error) {
    if (error instanceof PathEscapes) throw new FatalError('InputInvalid', `spec.input.volume.path: ${error.message}`);
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR' || errno === 'ENAMETOOLONG') return undefined;
    if (errno === 'EACCES') throw new FatalError('InputInvalid', `spec.input.volume.path "${path}" cannot be read: permission denied`);
    throw error;
  }
}

function isGlob(path: string): boolean {
  return /[*?[\]{}]/.test(path);
}

/** The folders of a glob before its first pattern: where the walk begins. */
function literalFolder(glob: string): string {
  const parts = glob.split('/');
  const first = parts.findIndex(isGlob);
  return parts.slice(0, first).join('/');
}

function describe(path: string, real: string, { size, mtimeMs }: Stats): FoundFile {
  return { path, real, size, stamp: mtimeMs };
}
