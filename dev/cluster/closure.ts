import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { builtinModules } from 'node:module';

const builtin = new Set(builtinModules);

/** `import type` and `export type` leave nothing at run time. */
const typeOnly = /^\s*(?:import|export)\s+type\b[^;]*;/gm;
const comment = /\/\*[\s\S]*?\*\/|(^|[\s;])\/\/[^\n]*/g;
const bare = /(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire(?:\.resolve)?\s*\(\s*)['"](@?\w[\w./-]*(?::\w+)?)['"]/g;
/** Any string that names a file next to the source: an import, a worker's `new URL(…)`, data that is read. */
const file = /['"`](\.{1,2}\/[^'"`\s]*\.(?:ts|js|mjs|json|ya?ml|sql|txt))['"`]/g;

/**
 * The files of the repository that a program reaches from its entry, and the packages that they import.
 * Found by reading import specifiers and relative file names, so a path that is put together at run time is not seen.
 * @param entries paths relative to `root`
 */
export function programFiles(root: string, entries: readonly string[]): { files: string[]; packages: string[] } {
  const files = new Set<string>();
  const packages = new Set<string>();
  const visit = (path: string): void => {
    const name = relative(root, path);
    if (files.has(name) || name.startsWith('..') || !existsSync(path)) return;
    files.add(name);
    if (!/\.(ts|js|mjs)$/.test(path)) return;
    const text = readFileSync(path, 'utf8').replace(comment, '$1').replace(typeOnly, '');
    for (const [, specifier = ''] of text.matchAll(bare)) {
      if (specifier.startsWith('node:') || builtin.has(specifier)) continue;
      packages.add(specifier.split('/').slice(0, specifier.startsWith('@') ? 2 : 1).join('/'));
    }
    for (const [, target = ''] of text.matchAll(file)) visit(resolve(dirname(path), target));
  };
  for (const entry of entries) visit(join(root, entry));
  return { files: [...files].sort(), packages: [...packages].sort() };
}

/** All files under a folder, relative to `root`. */
export const folderFiles = (root: string, folder: string): string[] =>
  existsSync(join(root, folder))
    ? readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile()).map((entry) => relative(root, join(entry.parentPath, entry.name))).sort()
    : [];

type LockEntry = { version?: string; dependencies?: Record<string, string>; optionalDependencies?: Record<string, string>; peerDependencies?: Record<string, string> };

/**
 * The `node_modules/…` folders that these packages need at run time, found in package-lock.json.
 * @param leaveOut packages that only an install script uses
 */
export function packageFolders(root: string, packages: readonly string[], leaveOut: ReadonlySet<string>): string[] {
  const lock = (JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as { packages: Record<string, LockEntry> }).packages;
  const found = new Set<string>();
  const visit = (name: string, from: string, required: boolean): void => {
    if (leaveOut.has(name)) return;
    for (let base = from; ; base = base.slice(0, Math.max(0, base.lastIndexOf('/node_modules/')))) {
      const path = base === '' ? `node_modules/${name}` : `${base}/node_modules/${name}`;
      const entry = lock[path];
      if (entry !== undefined && existsSync(join(root, path))) {
        if (found.has(path)) return;
        found.add(path);
        for (const dependency of Object.keys(entry.dependencies ?? {})) visit(dependency, path, true);
        for (const dependency of [...Object.keys(entry.optionalDependencies ?? {}), ...Object.keys(entry.peerDependencies ?? {})]) visit(dependency, path, false);
        return;
      }
      if (base === '') break;
    }
    if (required) throw new Error(`package ${name} is imported${from === '' ? '' : ` by ${from}`} but is not installed; is it in package.json under dependencies?`);
  };
  for (const name of packages) visit(name, '', true);
  return [...found].sort();
}
