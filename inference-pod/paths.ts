import { realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';

/** The path leads out of its root, by its text or by a symbolic link. */
export class PathEscapes extends Error {}

/** Why `path` is not a plain relative path, or undefined when it is one. '' and '.' name the root itself. */
export function pathFault(path: string): string | undefined {
  if (path.includes('\0')) return 'it holds a NUL character';
  if (path.includes('\\')) return 'it holds a backslash, expected "/" between folders';
  if (path.startsWith('/')) return 'it is absolute, expected a path relative to the volume';
  if (path.split('/').includes('..')) return 'it holds "..", expected a path inside the volume';
  return undefined;
}

/** The real location of `path` below `root`. Throws PathEscapes, or the error of `realpath` (ENOENT and so on). */
export async function realpathWithin(root: string, path: string): Promise<string> {
  const base = await realpath(root);
  const real = await realpath(join(base, path));
  if (!isWithin(base, real)) throw new PathEscapes(`"${path}" leads out of its volume through a symbolic link`);
  return real;
}

export function isWithin(base: string, real: string): boolean {
  return real === base || real.startsWith(base.endsWith(sep) ? base : base + sep);
}
