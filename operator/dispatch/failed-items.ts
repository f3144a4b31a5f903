import type { Failure, Ledger } from './state.ts';

/** Durable items so far, of completed and open shards. */
export function itemsSoFar(ledger: Ledger): { succeeded: number; failed: number } {
  return {
    succeeded: ledger.committed.succeeded + ledger.inFlightTotal.succeeded,
    failed: ledger.committed.failed + ledger.inFlightTotal.failed,
  };
}

/** Items in the whole input: exact once counted, else extrapolated from the bytes read so far. */
export function itemsInTotal(ledger: Ledger): { items: number; exact: boolean } {
  const { plan } = ledger;
  if (!plan) return { items: 0, exact: false };
  const { succeeded, failed } = itemsSoFar(ledger);
  const items = succeeded + failed;
  if (ledger.completedCount === plan.shards) return { items, exact: true };
  if (plan.exact) return { items: plan.items, exact: true };
  const bytes = ledger.committed.bytes + ledger.inFlightTotal.bytes;
  if (items === 0 || bytes === 0) return { items: plan.items, exact: false };
  const left = Math.max(0, plan.bytes - bytes);
  return { items: Math.round(items + (left * items) / bytes), exact: false };
}

/** `retry.maxFailedItems` passed? A percentage is one of all items of the job, not of those done so far. */
export function tooManyFailed(ledger: Ledger): Failure | undefined {
  const { failed } = itemsSoFar(ledger);
  if (failed === 0 || !ledger.plan) return undefined;
  const total = itemsInTotal(ledger);
  const limit = ledger.job.maxFailedItems;
  const allowed = 'count' in limit ? limit.count : Math.floor((limit.percent * total.items) / 100);
  if (failed <= allowed) return undefined;
  const of = `${failed} of ${total.exact ? '' : 'about '}${total.items} items failed`;
  const rule = 'count' in limit ? `spec.retry.maxFailedItems allows ${limit.count}` : `spec.retry.maxFailedItems ${limit.percent}% allows ${allowed}`;
  const first = ledger.firstError ? `; first error: ${ledger.firstError.message}` : '';
  return { reason: 'TooManyFailedItems', message: `${of}, ${rule}${first}` };
}
