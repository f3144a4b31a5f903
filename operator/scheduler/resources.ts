import type { Amounts } from './snapshot.ts';

/** Names of resources, numbered, so that amounts become arrays of one length. */
export type ResourceNames = readonly string[];

export function namesIn(lists: Iterable<Amounts>): ResourceNames {
  const names = new Set<string>();
  for (const list of lists) for (const name in list) names.add(name);
  return [...names].sort();
}

export function vector(names: ResourceNames, amounts: Amounts, missing = 0): Float64Array {
  return Float64Array.from(names, (name) => amounts[name] ?? missing);
}

/** How often `need` goes into `left`; what is not needed does not bound it. */
export function timesIn(left: Float64Array, need: Float64Array): number {
  let times = Number.POSITIVE_INFINITY;
  for (let i = 0; i < need.length; i++) {
    const each = need[i] as number;
    if (each > 0) times = Math.min(times, Math.floor((left[i] as number) / each));
  }
  return Math.max(0, times);
}

export function addTo(sum: Float64Array, each: Float64Array, times: number): void {
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (each[i] as number) * times;
}

/** "2 nvidia.com/gpu", "500m cpu", "1.5Gi memory". */
export const amountText = (resource: string, amount: number): string => `${quantity(resource, amount)} ${plainName(resource)}`;

/** A quota's name of what a container requests, as the container names it. */
export const plainName = (resource: string): string => resource.replace(/^requests\./, '');

const GI = 2 ** 30;
const MI = 2 ** 20;

export function quantity(resource: string, amount: number): string {
  if (resource.endsWith('cpu')) return amount % 1_000 === 0 ? `${amount / 1_000}` : `${Math.round(amount)}m`;
  if (!/(^|\.)(memory|ephemeral-storage|storage)$/.test(resource)) return `${Math.round(amount * 100) / 100}`;
  return Math.abs(amount) >= GI ? `${Math.round((amount / GI) * 10) / 10}Gi` : `${Math.round(amount / MI)}Mi`;
}
