/** Global offsets of the first and the last item of a run that did not return in time. */
export interface Suspect {
  first: number;
  last: number;
}

export type Suspects = readonly Suspect[];

export const suspicion = {
  none: 0,
  /** It was in a batch that did not return: it is run alone. */
  alone: 1,
  /** Alone, it did not return: it is not run again. */
  culprit: 2,
} as const;

/** Of the item at `offset`. A run names its ends alone, so that items between them may be under suspicion for nothing. */
export function suspicionOf(suspects: Suspects, offset: number): number {
  let worst: number = suspicion.none;
  for (const { first, last } of suspects) {
    if (offset < first || offset > last) continue;
    worst = Math.max(worst, first === last ? suspicion.culprit : suspicion.alone);
  }
  return worst;
}
