import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';

export const repoDir = resolve(import.meta.dirname, '../..');
export const kindDir = join(repoDir, 'config/kind');

/** The folder for everything that is built or made once and kept: `$MILLRACE_CACHE`, else `millrace` in the user's cache folder. */
export const cacheDir = (): string =>
  process.env.MILLRACE_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'millrace');

/** A short digest for names and tags. */
export const digest = (...parts: readonly (string | Buffer)[]): string => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest('hex').slice(0, 16);
};

export const fileDigest = (...paths: readonly string[]): string => digest(...paths.map((path) => readFileSync(path)));

/** Whether a process runs, of whatever user. */
export const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'EPERM';
  }
};

/** Removes what processes that are gone left half made: names that begin with `prefix` and then hold a process id. */
async function sweep(dir: string, prefix: string): Promise<void> {
  for (const name of await readdir(dir)) {
    const pid = name.startsWith(prefix) ? /^\d+/.exec(name.slice(prefix.length))?.[0] : undefined;
    if (pid !== undefined && !alive(Number(pid))) await rm(join(dir, name), { recursive: true, force: true });
  }
}

/** Runs `fn` with an empty folder that is removed afterwards. */
export async function withFolder<T>(name: string, fn: (dir: string) => Promise<T>): Promise<T> {
  const build = join(cacheDir(), 'build');
  await mkdir(build, { recursive: true });
  await sweep(build, `${name}-`);
  const dir = await mkdtemp(join(build, `${name}-${process.pid}-`));
  try {
    return await fn(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/**
 * Makes a file or folder once: `make` makes it under a name beside it, and one move gives it the final name,
 * so an interrupted run never leaves a half-made one under `path`.
 */
export async function ensurePath(path: string, make: (partial: string) => Promise<void>): Promise<string> {
  if (existsSync(path)) return path;
  const prefix = `${basename(path)}.partial-`;
  await mkdir(dirname(path), { recursive: true });
  await sweep(dirname(path), prefix);
  const partial = join(dirname(path), `${prefix}${process.pid}`);
  try {
    await make(partial);
    await rename(partial, path).catch((cause: unknown) => {
      if (!existsSync(path)) throw cause; // else another process was faster
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return path;
}
