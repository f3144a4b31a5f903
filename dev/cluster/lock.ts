import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { alive, cacheDir } from './cache.ts';

/** Runs `fn` while no other process of this user runs under the same name: two programs must not build one thing at once. */
export async function withLock<T>(name: string, fn: () => Promise<T>): Promise<T> {
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
  try {
    return await fn();
  } finally {
    process.removeListener('exit', release);
    release();
  }
}
