import { ageingMs } from './ageing.ts';
import type { Board, Job } from './board.ts';
import type { VictimReason } from './result.ts';

/**
 * Whether a running job is still safe from being suspended for another one's priority, or for another tenant's share. It
 * runs for some times as long as it waited (what counts of the wait ends when it has aged in full), so that who had to wait
 * is not soon set back by those who came later: a long job loses less time to its waits than it works, and a start pays for
 * itself. What a tenant has beyond its share is lent for a while at least. Deadlines, and the job that has waited longest of
 * all, do not wait for that.
 */
export function isInTerm({ startedAt, waitingSince }: Job, { now, policy }: Board, reason: VictimReason): boolean {
  if (startedAt === undefined) return false;
  const waited = Math.min(startedAt - waitingSince, ageingMs(policy));
  return now - startedAt < Math.max(waited * policy.waitTerm, reason === 'Share' ? policy.loanTerm * policy.minRuntimeMs : 0);
}
