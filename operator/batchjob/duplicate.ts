import { isTrue } from '../api/conditions.ts';
import type { BatchJobStatus } from '../api/batchjob.gen.ts';
import { KEY_LIFETIME_MS } from './idempotency-key.ts';
import type { Observed, StoredBatchJob } from './observe.ts';
import type { Decision } from './decision.ts';
import { isOver, type Trouble } from './state.ts';
import { CONDITION_LENGTH, shorten, timestamp } from './text.ts';

/** Progress of the first job is told to its duplicates in steps of so many percent. */
const STEP = 10;
const DIFFERENCES_SHOWN = 5;

/** The end that a job takes over from the first of its idempotency key, or that comes of having another spec. */
export function endOfOriginal(job: StoredBatchJob, { keyRole: role }: Observed): Decision | undefined {
  if (role?.kind === 'refused') return { kind: 'failure', failure: { reason: 'IdempotencyKeyReused', message: shorten(refusal(job, role.of, role.differences), CONDITION_LENGTH) } };
  if (role?.kind !== 'duplicate' || !isOver(role.of)) return undefined;
  if (isTrue(role.of.status?.conditions, 'Complete')) return { kind: 'success' };
  const failed = role.of.status?.conditions?.find(({ type }) => type === 'Failed');
  const message = shorten(`same as ${role.of.metadata.name}, which failed: ${failed?.message ?? ''}`, CONDITION_LENGTH);
  return { kind: 'failure', failure: { reason: failed?.reason ?? '', message } };
}

function refusal({ spec }: StoredBatchJob, first: StoredBatchJob, differences: readonly string[]): string {
  const more = differences.length > DIFFERENCES_SHOWN ? ` and ${differences.length - DIFFERENCES_SHOWN} more` : '';
  const until = timestamp(Date.parse(first.metadata.creationTimestamp ?? '') + KEY_LIFETIME_MS);
  return `spec.idempotencyKey: "${spec.idempotencyKey}" belongs until ${until} to BatchJob ${first.metadata.name}, which has another ${differences.slice(0, DIFFERENCES_SHOWN).join(', ')}${more}; create a BatchJob with another key, or with the same values`;
}

/** An obstacle: the job waits for the first of its idempotency key. */
export function isFirst(_job: StoredBatchJob, { keyRole: role }: Observed): (Trouble & { reason: 'Duplicate' }) | undefined {
  if (role?.kind === 'duplicate') return { reason: 'Duplicate', message: `same as ${role.of.metadata.name}, which is ${standing(role.of)}`, stalled: false };
  if (role?.kind === 'undecided') return { reason: 'Duplicate', message: `waiting for ${role.of.metadata.name}, which came first with the same spec.idempotencyKey`, stalled: false };
  return undefined;
}

/** How a job stands, as its duplicates are told. It changes a few times in the life of a job only. */
function standing({ metadata, status }: StoredBatchJob): string {
  if (metadata.deletionTimestamp !== undefined) return 'being deleted';
  const { total = 0, succeeded = 0, failed = 0 } = status?.items ?? {};
  const percent = total === 0 ? 0 : Math.floor(((succeeded + failed) / total) * (100 / STEP)) * STEP;
  return `${status?.state ?? 'Pending'}${percent === 0 ? '' : percent === 100 ? ', 100% done' : `, over ${percent}% done`}`;
}

/** Whether a change of this job is of interest to others with its idempotency key. */
export function concernsOthers(before: StoredBatchJob, after: StoredBatchJob): boolean {
  const claim = ({ status }: StoredBatchJob): string | undefined => status?.conditions?.find(({ type }) => type === 'Duplicate')?.status;
  return standing(before) !== standing(after) || claim(before) !== claim(after);
}

/** What the condition Duplicate is to say. `False` records that the key is the job's own. */
export function keyCondition({ spec }: StoredBatchJob, { keyRole: role }: Observed): { status: 'True' | 'False'; reason: string; message: string } | undefined {
  if (role?.kind === 'first') return { status: 'False', reason: 'FirstWithKey', message: `the first job with spec.idempotencyKey "${spec.idempotencyKey}"` };
  if (role?.kind === 'duplicate') return { status: 'True', reason: 'SameKeyAndSpec', message: `has the key and the spec of ${role.of.metadata.name}, which runs in its place` };
  return undefined;
}

/** The job that this one is a duplicate of. What is over stays what it was, also when the other one is gone. */
export function duplicateOf(job: StoredBatchJob, { keyRole: role }: Observed): BatchJobStatus['duplicateOf'] {
  if (role?.kind === 'duplicate') return { name: role.of.metadata.name, uid: role.of.metadata.uid };
  return isOver(job) ? job.status?.duplicateOf : undefined;
}

/** What a complete original found, for the status of its duplicate. */
export function resultOfOriginal({ keyRole: role }: Observed): Pick<BatchJobStatus, 'progress' | 'items'> | undefined {
  if (role?.kind !== 'duplicate' || !isTrue(role.of.status?.conditions, 'Complete')) return undefined;
  const { progress, items } = role.of.status ?? {};
  return { ...(progress === undefined ? {} : { progress }), ...(items === undefined ? {} : { items }) };
}
