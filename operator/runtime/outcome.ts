/**
 * How a reconcile ended. Anything thrown instead is transient: the key comes back with back-off.
 * - settled: nothing to do until the next event
 * - requeue: look again after a while, nothing is wrong
 * - waiting: something outside is missing (quota, a volume); look again after a while, no back-off
 * - stalled: only a change of the object can help
 */
export type Outcome =
  | { kind: 'settled' }
  | { kind: 'requeue'; afterMs: number }
  | { kind: 'waiting'; reason: string; afterMs: number }
  | { kind: 'stalled'; reason: string; message: string };

/** The outcome that brings the key back first; stalled and waiting keep their reason unless something asks to come sooner. */
export function soonest(...outcomes: Outcome[]): Outcome {
  const delay = (outcome: Outcome): number =>
    outcome.kind === 'requeue' || outcome.kind === 'waiting' ? outcome.afterMs : Number.POSITIVE_INFINITY;
  return outcomes.reduce((best, outcome) => (delay(outcome) < delay(best) ? outcome : best), { kind: 'settled' });
}
