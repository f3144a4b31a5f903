import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { alive, cacheDir } from './cache.ts';

/** Takes the lock of that name once no other process of this user holds it; the result gives it back, as does the end of the process. */
export async function takeLock(name: string): Promise<() => void> {
  const path = join(cacheDir(), 'locks', `${name}.pid`);
  mkdirSync(dirname(path), { recursive: true });
  for (let told = false; ; ) {
    try {
      writeFileSync(path, String(process.pid), { flag: 'wx' });
      break;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    }
    let owner = 0;
    try {
      owner = Number(readFileSync(path, 'utf8'));
    } catch {
      continue; // gone in the meantime
    }
    if (owner !== 0 && !alive(owner)) {
      rmSync(path, { force: true });
      continue;
    }
    if (!told) process.stderr.write(`waiting for process ${owner}, which is working on the same (${name})\n`);
    told = true;
    await sleep(500);
  }
  const release = (): void => rmSync(path, { force: true });
  process.once('exit', release);
  return () => {
    process.removeListener('exit', release);
    release();
  };
}

/** Runs `fn` while no other process of this user runs under the same name: two programs must not build one thing at once. */
export async function withLock<T>(name: string, fn: () => Promise<T>): Promise<T> {
  const release = await takeLock(name);
  try {
    return await fn();
  } finally {
    release();
  }
}
