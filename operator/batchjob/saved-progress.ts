import type { LedgerJob, SavedProgress } from '../dispatch/state.ts';
import type { StoredBatchJob } from './observe.ts';

/** What a new leader's ledger goes on from: the ranges and totals that were written together in one status update. */
export function savedProgress({ status }: StoredBatchJob): SavedProgress | undefined {
  const shards = status?.shards;
  if (!status || shards?.total === undefined) return undefined;
  return {
    plan: {
      shards: shards.total,
      items: status.items?.total ?? 0,
      exact: status.items?.estimated !== true,
      bytes: shards.bytes ?? 0,
      files: shards.files ?? 0,
    },
    completed: shards.completed ?? '',
    items: { succeeded: shards.committed?.succeeded ?? 0, failed: shards.committed?.failed ?? 0 },
    bytes: shards.committed?.bytes ?? 0,
    leases: (status.workers ?? []).flatMap(({ slot, attempt, shard }) =>
      attempt === undefined || !/^\d+$/.test(shard ?? '') ? [] : [{ slot, attempt, shard: Number(shard) }],
    ),
    ...(status.items?.firstError === undefined ? {} : { firstError: status.items.firstError }),
  };
}

/** The parts of the spec that the ledger decides by. */
export function ledgerJob({ metadata, spec }: StoredBatchJob): LedgerJob {
  const limit = spec.retry.maxFailedItems;
  const percent = typeof limit === 'string' && limit.endsWith('%');
  return {
    uid: metadata.uid,
    maxWorkers: spec.workers.max,
    retryPerShard: spec.retry.perShard,
    maxFailedItems: percent ? { percent: Number(limit.slice(0, -1)) } : { count: Number(limit) },
    suspended: spec.suspend,
  };
}
