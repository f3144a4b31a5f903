import type { Suspect } from '../reading/suspects.ts';
import type { ShardFolder } from './store.ts';

/**
 * Runs that did not return are remembered beside the segments of their shard, as empty files `stuck-<first>-<last>`, so
 * that the process that comes next runs those items one by one. Finishing removes them with the folder.
 */
export async function storeStuckRun({ store, folder }: ShardFolder, { first, last }: Suspect): Promise<void> {
  await store.create(`${folder}/stuck-${first}-${last}`, []);
}

export async function readStuckRuns({ store, folder }: ShardFolder): Promise<Suspect[]> {
  return (await store.list(folder)).flatMap((name) => {
    const [, first, last] = /^stuck-(\d+)-(\d+)$/.exec(name) ?? [];
    return first === undefined ? [] : [{ first: Number(first), last: Number(last) }];
  });
}
