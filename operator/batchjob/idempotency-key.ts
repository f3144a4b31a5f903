import { JOB_CONTROLLER } from '../api/names.ts';
import type { StoredBatchJob } from './observe.ts';
import { specDifferences } from './spec-differences.ts';
import { isOver } from './state.ts';

/** A key is its job's for this long, counted from the job's creation. */
export const KEY_LIFETIME_MS = 24 * 3_600_000;

/**
 * What spec.idempotencyKey makes of a job.
 * - first: the key is its own. It gets workers only once its status says so (`recorded`). `awaited`: duplicates wait for its end
 * - undecided: another one came first, as it seems, and has not been looked at yet
 * - duplicate: shares the end of the job that has the key
 * - refused: the job that has the key has another spec
 */
export type KeyRole =
  | { kind: 'first'; recorded: boolean; awaited: boolean }
  | { kind: 'undecided' | 'duplicate'; of: StoredBatchJob }
  | { kind: 'refused'; of: StoredBatchJob; differences: string[] };

/** Under which value jobs that share a key are indexed; none for a job that has no key or is somebody else's. */
export function keyIndex({ metadata, spec }: StoredBatchJob): string[] {
  if (spec.idempotencyKey === undefined || (spec.managedBy ?? JOB_CONTROLLER) !== JOB_CONTROLLER) return [];
  return [`${metadata.namespace}/${spec.idempotencyKey}`];
}

/**
 * The role of a job among all jobs of its key, itself among them. It follows from the jobs alone: a claim, once it is
 * recorded, stands; among those without, the earliest by creation time, then by name, is first. So it does not matter in
 * which order they are seen. `claims`: UIDs of jobs that were given the key and whose status may not say so yet.
 *
 * Undefined for a job that is over without having had the key: nothing is to be decided about it any more.
 */
export function keyRole(job: StoredBatchJob, jobs: readonly StoredBatchJob[], claims: ReadonlySet<string>): KeyRole | undefined {
  const hasClaim = (one: StoredBatchJob): boolean => isRecorded(one) || claims.has(one.metadata.uid);
  const holders = holdersOf(jobs, hasClaim);
  const of = holders.get(job.metadata.uid);
  if (of?.metadata.uid === job.metadata.uid) {
    const awaited = jobs.some((other) => other !== of && !isOver(other) && holders.get(other.metadata.uid) === of);
    return { kind: 'first', recorded: isRecorded(job), awaited };
  }
  if (!of || isOver(job)) return undefined;
  if (!hasClaim(of)) return { kind: 'undecided', of };
  const differences = specDifferences(job.spec, of.spec);
  return differences.length > 0 ? { kind: 'refused', of, differences } : { kind: 'duplicate', of };
}

/** For each job, by UID, the one that has the key as far as it is concerned: itself if it is first. */
function holdersOf(jobs: readonly StoredBatchJob[], hasClaim: (job: StoredBatchJob) => boolean): Map<string, StoredBatchJob> {
  const ordered = [...jobs].sort((a, b) => createdAt(a) - createdAt(b) || (a.metadata.name < b.metadata.name ? -1 : 1));
  const firsts: StoredBatchJob[] = [];
  const holders = new Map<string, StoredBatchJob>();
  for (const job of [...ordered.filter(hasClaim), ...ordered.filter((one) => !hasClaim(one))]) {
    const first = firsts.find((one) => covers(one, job));
    // Nothing more comes of a job that is over, or going, without having had the key.
    if (!first && !hasClaim(job) && (isOver(job) || job.metadata.deletionTimestamp !== undefined)) continue;
    if (!first) firsts.push(job);
    holders.set(job.metadata.uid, first ?? job);
  }
  return holders;
}

/** Whether `job` was made while the key was `first`'s. Whoever asks again after a failure wants another try. */
function covers(first: StoredBatchJob, job: StoredBatchJob): boolean {
  return Math.abs(createdAt(job) - createdAt(first)) < KEY_LIFETIME_MS && !(createdAt(job) >= failedAt(first));
}

const createdAt = ({ metadata }: StoredBatchJob): number => Date.parse(metadata.creationTimestamp ?? '');

/** NaN for a job that has not failed. */
function failedAt({ status }: StoredBatchJob): number {
  return Date.parse(status?.conditions?.find(({ type, status: on }) => type === 'Failed' && on === 'True')?.lastTransitionTime ?? '');
}

const isRecorded = ({ status }: StoredBatchJob): boolean => status?.conditions?.some(({ type, status: on }) => type === 'Duplicate' && on === 'False') ?? false;
