import { leaseKey, type SyncResponse } from '../../inference-pod/contract.ts';
import { isOver, leaseOf } from './lease.ts';
import type { Ledger, Worker } from './state.ts';

/** What the worker in `slot` is to do now. */
export function answer(ledger: Ledger, slot: number): SyncResponse {
  const worker = ledger.workers.get(slot);
  const leases = worker && !isOver(ledger) ? [...worker.held.keys()].map((work) => leaseOf(ledger, work)) : [];
  return { term: 0, leases, pause: ledger.job.suspended, verdict: worker ? verdictOf(ledger, worker) : 'retired' };
}

function verdictOf({ phase, job }: Ledger, { leaving }: Worker): SyncResponse['verdict'] {
  const ended = phase === 'Finished' || phase === 'Failed';
  if (ended) return job.holdVerdict === true ? 'work' : phase === 'Finished' ? 'done' : 'retired';
  return leaving ? 'leave' : 'work';
}

/** Does `response` tell the worker anything that its latest request does not show it to know? An acknowledgement does. */
export function isNews(ledger: Ledger, slot: number, response: SyncResponse): boolean {
  const worker = ledger.workers.get(slot);
  if (!worker || (response.verdict !== 'work' && response.verdict !== 'leave')) return true;
  if (response.verdict === 'leave' && !worker.draining) return true;
  return response.leases.length !== worker.reported.size || response.leases.some((lease) => !worker.reported.has(leaseKey(lease)));
}
