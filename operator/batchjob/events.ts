import type { BatchJobStatus } from '../api/batchjob.gen.ts';
import type { PlannedEvent } from '../runtime/plan.ts';
import type { Observed, StoredBatchJob } from './observe.ts';
import type { FailureReason, ObstacleReason, PendingReason, ProgressReason, WaitingReason } from './reasons.ts';
import type { Situation } from './state.ts';
import { EVENT_NOTE_LENGTH, shorten } from './text.ts';

/** Transitions worth an event; a state that lasts makes none. */
export function eventsOf(job: StoredBatchJob, observed: Observed, { decision, trouble, made }: Situation, status: BatchJobStatus): PlannedEvent[] {
  const events: PlannedEvent[] = [];
  const before = job.status;
  const add = (type: PlannedEvent['type'], reason: ProgressReason | ObstacleReason | PendingReason | WaitingReason | FailureReason, action: string, note: string): void => {
    events.push({ type, reason, action, note: shorten(note, EVENT_NOTE_LENGTH) });
  };

  if (made.length > 0) {
    const replacements = made.filter(({ attempt }) => attempt > 0).map(({ slot, attempt }) => `w${slot}-${attempt}`);
    const more = replacements.length > 10 ? ', …' : '';
    add('Normal', 'WorkersCreated', 'Scale', `Created ${made.length} worker pod(s)${replacements.length > 0 ? `, in place of earlier ones: ${replacements.slice(0, 10).join(', ')}${more}` : ''}`);
  }
  if (trouble && status.state !== 'Suspended' && troubleOf(before) !== trouble.reason) add(trouble.reason === 'Duplicate' ? 'Normal' : 'Warning', trouble.reason, 'Admit', trouble.message);
  if (before?.shards?.total === undefined && status.shards?.total !== undefined) add('Normal', 'Planned', 'Plan', plannedNote(status));
  if (before?.state !== status.state) {
    if (status.state === 'Suspended') add('Normal', 'Suspended', 'Suspend', 'Stopping the workers; finished work is kept');
    if (before?.state === 'Suspended' && decision.kind === 'open') add('Normal', 'Resumed', 'Resume', 'Going on from the finished work');
    if (status.state === 'Complete') add('Normal', 'Completed', 'Finish', status.message ?? '');
    if (status.state === 'Failed' && decision.kind === 'failure') add('Warning', decision.failure.reason as FailureReason, 'Finish', decision.failure.message);
  }
  for (const warning of observed.ledger?.progress.warnings ?? []) {
    if (!observed.toldWarnings.has(warning)) add('Warning', 'WorkerWarning', 'Run', warning);
  }
  return events;
}

/** The trouble that the last status told: the reason of the one of the two conditions that is there. */
function troubleOf(status: BatchJobStatus | undefined): string | undefined {
  return status?.conditions?.find(({ type, status: on }) => (type === 'Stalled' || type === 'Reconciling') && on === 'True')?.reason;
}

function plannedNote({ items, shards }: BatchJobStatus): string {
  return `Found ${items?.estimated ? 'about ' : ''}${items?.total ?? 0} items in ${shards?.files ?? 0} file(s), split into ${shards?.total ?? 0} shard(s)`;
}
