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

/**
 * Weighted max-min fairness: each may hold its part of all weights, and what some do not want goes to the others in the
 * same way. `wants` are dominant shares and may be more than 1 each.
 */
export function entitlements(tenants: readonly { weight: number; wants: number }[]): number[] {
  const order = tenants.map((_, index) => index).sort((a, b) => per(tenants[a]) - per(tenants[b]) || a - b);
  const entitled = tenants.map(() => 0);
  let left = 1;
  let weights = tenants.reduce((sum, { weight }) => sum + weight, 0);
  for (const index of order) {
    const { weight, wants } = tenants[index] as { weight: number; wants: number };
    entitled[index] = Math.min(wants, (left * weight) / weights);
    left -= entitled[index] as number;
    weights -= weight;
  }
  return entitled;
}

const per = (tenant: { weight: number; wants: number } | undefined): number => (tenant ? tenant.wants / tenant.weight : 0);
