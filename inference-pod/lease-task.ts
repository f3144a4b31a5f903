import type { FinishResult, Lease, LeaseReport, PlanResult } from './contract.ts';

/** The work on one lease. `run` ends by itself, or soon after `stop` or `drain`. */
export interface LeaseTask {
  readonly lease: Lease;
  report(): LeaseReport;
  /** The lease is lost: nothing more is written for it. */
  stop(): void;
  /** The worker is leaving: what is done is stored, and the lease given back. */
  drain(): void;
  run(): Promise<void>;
}

type Answer = { plan: PlanResult } | { finish: FinishResult };

/** A lease that is done in one go, so that stopping and draining are one: planning and finishing. */
export function oneGo(lease: Lease, work: (signal: AbortSignal) => Promise<Answer>, onNews: () => void): LeaseTask {
  const abort = new AbortController();
  let state: LeaseReport['state'] = 'running';
  let answer: Partial<Answer> = {};
  return {
    lease,
    report: () => ({ lease, state, items: { succeeded: 0, failed: 0 }, bytes: { done: 0, total: 0 }, ...answer }),
    stop: () => abort.abort(),
    drain: () => abort.abort(),
    run: async () => {
      try {
        answer = await work(abort.signal);
        state = 'done';
      } catch (error) {
        if (!abort.signal.aborted) throw error;
        state = 'released';
      }
      onNews();
    },
  };
}
