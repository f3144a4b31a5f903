import { FIELD_MANAGER } from '../api/names.ts';
import type { Stored } from '../kube/object.ts';

/** Somebody else's changes to one object of a fence, and how often it was put back. */
export interface Contest {
  /** Restorations in a row, less than QUIET_MS apart. */
  restored: number;
  lastAt: number;
  /** Field manager of the other side, where the API server's record names it. */
  by?: string;
}

/** By label, `Kind/name`. Kept in memory: a new leader starts anew, which costs a few restorations more. */
export type Contests = ReadonlyMap<string, Contest>;

/** What has been put back this often in a row is contested: a person errs once or twice, a controller does not stop. */
const CONTESTED_AFTER = 5;
const FIRST_PAUSE_MS = 10_000;
const LONGEST_PAUSE_MS = 120_000;
/** Without a restoration for this long the other side has given up. Longer than the longest pause. */
const QUIET_MS = 300_000;

/** After these objects were put back at `now` (ms); `last` is who wrote them last. What has been quiet is forgotten. */
export function afterRestoring(contests: Contests, restored: readonly string[], last: (label: string) => string | undefined, now: number): Contests {
  const next = new Map([...contests].filter(([, contest]) => now - contest.lastAt < QUIET_MS));
  for (const label of restored) {
    const by = last(label) ?? next.get(label)?.by;
    next.set(label, { restored: (next.get(label)?.restored ?? 0) + 1, lastAt: now, ...(by === undefined ? {} : { by }) });
  }
  return next;
}

/** When a contested object may be put back again, in ms; undefined for one that is not contested. */
export function restorableIn(contests: Contests, label: string, now: number): number | undefined {
  const contest = contests.get(label);
  if (contest === undefined || contest.restored < CONTESTED_AFTER || now - contest.lastAt >= QUIET_MS) return undefined;
  const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (contest.restored - CONTESTED_AFTER));
  return Math.max(0, contest.lastAt + pause - now);
}

/** What stands in the status while something is contested, and when to look again. */
export function contested(contests: Contests, now: number): { message: string; afterMs: number } | undefined {
  const open = [...contests].filter(([label]) => restorableIn(contests, label, now) !== undefined).sort(([a], [b]) => (a < b ? -1 : 1));
  if (open.length === 0) return undefined;
  const named = open.map(([label, { by }]) => `${label}${by === undefined ? '' : ` by the field manager "${by}"`}`);
  const waits = open.map(([label, { lastAt }]) => restorableIn(contests, label, now) || lastAt + QUIET_MS - now);
  return {
    message:
      `Something else keeps changing or deleting what this Tenant owns: ${named.join(', ')}. It is still put back, in growing intervals; ` +
      'no new worker starts meanwhile. Stop the other side, or change the Tenant to what it wants.',
    afterMs: Math.max(1, Math.min(...waits)),
  };
}

/** The field manager that wrote an object last, unless it is this operator. */
export function lastForeignWriter(object: Stored | undefined): string | undefined {
  return object?.metadata.managedFields?.map(({ manager }) => manager).find((manager) => manager !== undefined && !manager.startsWith(FIELD_MANAGER));
}
