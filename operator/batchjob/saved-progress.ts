import type { LedgerJob, SavedProgress } from '../dispatch/state.ts';
import type { StoredBatchJob } from './observe.ts';

/**
 * What a new leader's ledger goes on from: the ranges and totals that were written together in one status update, and the
 * end that was decided. Undefined for a job that nothing was written about.
 */
export function savedProgress({ status }: StoredBatchJob): SavedProgress | undefined {
  const shards = status?.shards;
  const failed = trueCondition(status, 'FailureTarget');
  const finished = trueCondition(status, 'SuccessCriteriaMet') !== undefined;
  if (!status || (shards?.total === undefined && !failed && !finished)) return undefined;
  return {
    ...(shards?.total === undefined
      ? {}
      : {
          plan: {
            shards: shards.total,
            items: status.items?.total ?? 0,
            exact: status.items?.estimated !== true,
            bytes: shards.bytes ?? 0,
            files: shards.files ?? 0,
          },
        }),
    completed: shards?.completed ?? '',
    items: { succeeded: shards?.committed?.succeeded ?? 0, failed: shards?.committed?.failed ?? 0 },
    bytes: shards?.committed?.bytes ?? 0,
    leases: (status.workers ?? []).flatMap(({ slot, attempt, shard }) =>
      attempt === undefined || !/^\d+$/.test(shard ?? '') ? [] : [{ slot, attempt, shard: Number(shard) }],
    ),
    ...(status.items?.firstError === undefined ? {} : { firstError: status.items.firstError }),
    ...(finished ? { finished } : {}),
    ...(failed ? { failure: { reason: failed.reason, message: failed.message } } : {}),
  };
}

function trueCondition(status: StoredBatchJob['status'], wanted: string): { reason: string; message: string } | undefined {
  return status?.conditions?.find(({ type, status: on }) => type === wanted && on === 'True');
}

/** The parts of the spec that the ledger decides by. */
export function ledgerJob({ metadata, spec, status }: StoredBatchJob): LedgerJob {
  const limit = spec.retry.maxFailedItems;
  const percent = typeof limit === 'string' && limit.endsWith('%');
  return {
    uid: metadata.uid,
    maxWorkers: spec.workers.max,
    retryPerShard: spec.retry.perShard,
    maxFailedItems: percent ? { percent: Number(limit.slice(0, -1)) } : { count: Number(limit) },
    suspended: spec.suspend,
    // Workers are told of the end only once it is stored: a new leader that knew of none would find nobody left to ask.
    holdVerdict: !trueCondition(status, 'SuccessCriteriaMet') && !trueCondition(status, 'FailureTarget'),
  };
}
