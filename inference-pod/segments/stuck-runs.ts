import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createExclusively } from '../durable.ts';
import type { Suspect } from '../reading/suspects.ts';
import type { ShardFolder } from './store.ts';

/**
 * Runs that did not return are remembered beside the segments of their shard, as empty files `stuck-<first>-<last>`, so
 * that the process that comes next runs those items one by one. Finishing removes them with the folder.
 */
export async function storeStuckRun({ folder }: ShardFolder, { first, last }: Suspect, owner: string): Promise<void> {
  await createExclusively(join(folder, `stuck-${first}-${last}`), [], owner);
}

export async function readStuckRuns({ folder }: ShardFolder): Promise<Suspect[]> {
  return (await readdir(folder)).flatMap((name) => {
    const [, first, last] = /^stuck-(\d+)-(\d+)$/.exec(name) ?? [];
    return first === undefined ? [] : [{ first: Number(first), last: Number(last) }];
  });
}
