import { describe, expect, it } from 'vitest';
import { ledgerJob, savedProgress } from '../../../operator/batchjob/saved-progress.ts';
import type { StoredBatchJob } from '../../../operator/batchjob/observe.ts';
import { aBatchJob } from '../../support/builders.ts';

const time = '2026-11-01T00:00:00Z';
const condition = (type: string, reason: string, message = '') => ({ type, status: 'True' as const, reason, message, lastTransitionTime: time });
const withStatus = (status: StoredBatchJob['status']): StoredBatchJob => ({ ...aBatchJob().build(), ...(status ? { status } : {}) });

describe('what a new leader goes on from', () => {
  it('is nothing for a job that nobody has written about', () => {
    expect(savedProgress(withStatus(undefined))).toBeUndefined();
    expect(savedProgress(withStatus({ state: 'Pending' }))).toBeUndefined();
  });

  it('is the ranges and totals of one status', () => {
    const saved = savedProgress(withStatus({
      items: { total: 100, succeeded: 60, failed: 2, firstError: 'line 3' },
      shards: { total: 10, completed: '0-4', bytes: 1000, files: 2, committed: { succeeded: 49, failed: 1, bytes: 500 } },
      workers: [{ slot: 0, attempt: 3, shard: '7' }, { slot: 1, attempt: 0 }],
    }));
    expect(saved).toEqual({
      plan: { shards: 10, items: 100, exact: true, bytes: 1000, files: 2 },
      completed: '0-4',
      items: { succeeded: 49, failed: 1 },
      bytes: 500,
      leases: [{ slot: 0, attempt: 3, shard: 7 }],
      firstError: 'line 3',
    });
  });

  it('keeps a decided end, also from before there was a plan', () => {
    expect(savedProgress(withStatus({ conditions: [condition('FailureTarget', 'InputNotFound', 'no such file')] }))).toMatchObject({
      failure: { reason: 'InputNotFound', message: 'no such file' },
    });
    expect(savedProgress(withStatus({ conditions: [condition('SuccessCriteriaMet', 'AllItemsDone')] }))).toMatchObject({ finished: true });
  });
});

describe("the ledger's view of a job", () => {
  it('holds the verdict back until the end is stored', () => {
    expect(ledgerJob(withStatus({ state: 'Running' })).holdVerdict).toBe(true);
    expect(ledgerJob(withStatus({ conditions: [condition('SuccessCriteriaMet', 'AllItemsDone')] })).holdVerdict).toBe(false);
  });

  it('reads the limit of failed items as a count or a percentage', () => {
    const limit = (maxFailedItems: number | string) => {
      const job = aBatchJob().build();
      return ledgerJob({ ...job, spec: { ...job.spec, retry: { ...job.spec.retry, maxFailedItems } } }).maxFailedItems;
    };
    expect(limit('12.5%')).toEqual({ percent: 12.5 });
    expect(limit('7')).toEqual({ count: 7 });
    expect(limit(0)).toEqual({ count: 0 });
  });
});
