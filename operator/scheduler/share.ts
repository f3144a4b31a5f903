/**
 * Dominant resource fairness (Ghodsi et al., NSDI 2011), weighted: a tenant's share is the part of the cluster that it
 * holds of the resource of which it holds most.
 */
export interface Holding {
  weight: number;
  /** What its workers take of nodes, by resource. */
  amounts: Float64Array;
  /** Dominant share, 0 … 1, not divided by the weight. */
  share: number;
}

export function dominantShare(amounts: Float64Array, total: Float64Array, need?: Float64Array, times = 0): number {
  let share = 0;
  for (let i = 0; i < amounts.length; i++) {
    const all = total[i] as number;
    if (all > 0) share = Math.max(share, ((amounts[i] as number) + (need ? (need[i] as number) * times : 0)) / all);
  }
  return share;
}

/** Shares are compared after division by the weight. */
export const weighed = (share: number, { weight }: Pick<Holding, 'weight'>): number => share / weight;

/** Less than this is equal: sums of fractions differ in the last digits. */
const EPSILON = 1e-9;
export const atMost = (a: number, b: number): boolean => a <= b + EPSILON;

/** What each of the tenants that want something may hold while all of them do: its part of all weights. */
export function entitlements(active: readonly { weight: number }[]): number[] {
  const sum = active.reduce((all, { weight }) => all + weight, 0);
  return active.map(({ weight }) => weight / sum);
}
