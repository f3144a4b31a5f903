import { etaText } from '../dispatch/progress-text.ts';
import { duplicateOf, resultOfOriginal } from './duplicate.ts';
import type { Observed, StoredBatchJob } from './observe.ts';
import { isLive, podState } from './pod-state.ts';
import type { Situation, State } from './state.ts';

/** One sentence about the present state. `seconds`: from start to end, of a job that is complete. It carries no times that change by themselves. */
export function messageOf(job: StoredBatchJob, observed: Observed, { decision, trouble, spread }: Situation, state: State, seconds: number | undefined): string {
  if (decision.kind === 'failure') return decision.failure.message;
  if (state === 'Complete') {
    const original = duplicateOf(job, observed);
    if (original !== undefined) {
      const items = resultOfOriginal(observed)?.items ?? job.status?.items;
      return `same as ${original.name}, which has ${items?.succeeded ?? 0} result(s)${failuresText(items)}`;
    }
    const succeeded = observed.ledger?.progress.items.succeeded ?? job.status?.items?.succeeded ?? 0;
    return `${succeeded} result(s)${seconds === undefined ? '' : ` in ${seconds === 0 ? 'under a second' : etaText({ etaSeconds: seconds })}`}${failures(job, observed)}`;
  }
  if (decision.kind === 'success') return 'results are written, waiting for the workers to exit';
  if (state === 'Suspended') {
    const live = observed.pods.some((pod) => isLive(podState(pod, observed.lostNodes)));
    return live ? 'suspended (spec.suspend); the workers are closing their segments' : 'suspended (spec.suspend); finished work is kept';
  }
  const working = atWork(observed);
  if (trouble && working === 0) return trouble.message;
  const doing = {
    Pending: 'waiting for a worker to start',
    Planning: 'finding the items of the input',
    Running: `${working} of ${wantedWorkers(job, spread)} worker(s) at work${WHERE[spread]}${failures(job, observed)}`,
    Finishing: 'joining the results',
    Failed: '',
  }[state];
  const more = trouble?.message ?? (state === 'Running' ? observed.grant?.limitedBy : undefined);
  return more === undefined ? doing : `${doing}; ${more}`;
}

const WHERE: Record<Situation['spread'], string> = {
  'any-node': '',
  'one-node': '; all on one node, because a volume claim is ReadWriteOnce',
  'one-worker': '; one worker only, because a volume claim is ReadWriteOncePod',
};

function failures(job: StoredBatchJob, { ledger }: Observed): string {
  return failuresText({
    failed: ledger?.progress.items.failed ?? job.status?.items?.failed,
    firstError: ledger?.saved.firstError ?? job.status?.items?.firstError,
  });
}

function failuresText({ failed = 0, firstError: first }: { failed?: number | undefined; firstError?: string | undefined } = {}): string {
  return failed === 0 ? '' : `; ${failed} item(s) failed, see errors.jsonl${first === undefined ? '' : `, e.g. ${first}`}`;
}

/** Workers that hold work. */
export function atWork({ ledger }: Observed): number {
  return ledger?.progress.workers.filter(({ state }) => state === 'Working').length ?? 0;
}

export function wantedWorkers(job: StoredBatchJob, spread: Situation['spread']): number {
  if (job.spec.suspend) return 0;
  return spread === 'one-worker' ? 1 : job.spec.workers.max;
}
