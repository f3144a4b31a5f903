import type { Board, Job } from './board.ts';
import { timesIn } from './resources.ts';

/** Workers of this job for which the tenant's quota has room: the least over all resources. */
export const quotaRoom = ({ tenant, charge }: Job): number => (tenant ? timesIn(tenant.left, charge) : 0);

/** Whether one more job of the tenant may run. */
export const jobRoom = ({ tenant }: Job): boolean => tenant !== undefined && tenant.runningJobs < (tenant.state.maxRunningJobs ?? Number.POSITIVE_INFINITY);

export interface Lack {
  resource: string;
  needs: number;
  left: number;
  hard: number;
}

/** The resource of which `count` workers need more than is left; of several, the one that allows fewest. */
export function quotaLack({ quotaNames }: Board, { tenant, charge }: Job, count: number): Lack | undefined {
  if (!tenant) return undefined;
  return worst(quotaNames, charge, count, (i) => tenant.left[i] as number, (name) => tenant.state.quota[name] ?? 0);
}

/** As `quotaLack`, if none of the listed jobs had anything: such a job waits for ever. */
export function quotaExceeded({ quotaNames }: Board, { tenant, charge }: Job, count: number): Lack | undefined {
  if (!tenant) return undefined;
  const { quota, usedByOthers } = tenant.state;
  const free = (i: number): number => (quota[quotaNames[i] as string] ?? Number.POSITIVE_INFINITY) - (usedByOthers[quotaNames[i] as string] ?? 0);
  return worst(quotaNames, charge, count, free, (name) => quota[name] ?? 0);
}

function worst(names: readonly string[], charge: Float64Array, count: number, leftOf: (index: number) => number, hardOf: (name: string) => number): Lack | undefined {
  let found: Lack | undefined;
  let fewest = Number.POSITIVE_INFINITY;
  for (let i = 0; i < charge.length; i++) {
    const needs = (charge[i] as number) * count;
    const left = Math.max(0, leftOf(i));
    if (needs <= left || left / needs >= fewest) continue;
    fewest = left / needs;
    const resource = names[i] as string;
    found = { resource, needs, left, hard: hardOf(resource) };
  }
  return found;
}
