import { link, mkdir, open, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf } from '../../fatal.ts';

let temporaries = 0;

/** A name beside `target` that no other process, on this node or another, uses. */
function temporaryBeside(target: string, owner: string): string {
  return join(dirname(target), `.tmp-${owner}-${temporaries++}`);
}

export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } catch (error) {
    // Some network file systems do not take fsync on a folder; their server writes folders through.
    if (errnoOf(error) !== 'EINVAL') throw error;
  } finally {
    await handle.close();
  }
}

/** Makes `folder` and its missing parents, each durable in its own parent. */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    if (errnoOf(error) === 'EEXIST' && (await stat(folder)).isDirectory()) return;
    if (errnoOf(error) !== 'ENOENT') throw error;
    await makeFolder(dirname(folder));
    await makeFolder(folder);
    return;
  }
  await syncFolder(dirname(folder));
}

/** Writes `parts` to a new file at `path` and makes its content durable, not yet its name. */
export async function writeDurably(path: string, parts: readonly Uint8Array[]): Promise<void> {
  const handle = await open(path, 'wx');
  try {
    for (let first = 0; first < parts.length; first += 512) await writeAll(handle, parts.slice(first, first + 512));
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: Awaited<ReturnType<typeof open>>, parts: readonly Uint8Array[]): Promise<void> {
  const total = parts.reduce((sum, { length }) => sum + length, 0);
  if (total === 0) return;
  const { bytesWritten } = await handle.writev(parts as Uint8Array[]);
  if (bytesWritten === total) return;
  let rest: Uint8Array = Buffer.concat(parts as Uint8Array[], total).subarray(bytesWritten);
  while (rest.length > 0) rest = rest.subarray((await handle.write(rest)).bytesWritten);
}

/**
 * Puts the finished file `temporary` at `target` if nothing is there, durably, and removes `temporary` either way.
 * False: another file is there and was left as it is. `link` decides, so that of any number of writers one wins.
 */
export async function publishExclusively(temporary: string, target: string): Promise<boolean> {
  try {
    await link(temporary, target);
    await syncFolder(dirname(target));
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  } finally {
    await unlinkIfThere(temporary);
  }
}

/** `parts` as a new file at `target`, whole or not at all, only if nothing is there. False: something was. */
export async function createExclusively(target: string, parts: readonly Uint8Array[], owner: string): Promise<boolean> {
  const temporary = temporaryBeside(target, owner);
  try {
    await writeDurably(temporary, parts);
  } catch (error) {
    await unlinkIfThere(temporary);
    throw error;
  }
  return await publishExclusively(temporary, target);
}

export async function replaceDurably(temporary: string, target: string): Promise<void> {
  await rename(temporary, target);
  await syncFolder(dirname(target));
}

/** True when there was something to remove. */
export async function unlinkIfThere(path: string): Promise<boolean> {
  try {
    await unlink(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}
