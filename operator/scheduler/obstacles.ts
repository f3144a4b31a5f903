import { type Board, isWaiting, type Job } from './board.ts';
import type { Dependencies } from './dependents.ts';
import { quotaExceeded } from './quota.ts';
import { amountText, quantity } from './resources.ts';
import type { Reason } from './result.ts';

export interface Obstacle {
  reason: Reason;
  message: string;
}

/** Why a job takes no part in the scheduling, whether it runs or not. */
export function setAside({ state, tenant, index }: Job, { blocked }: Dependencies): Obstacle | undefined {
  const dependency = state.workers.length === 0 ? blocked.get(index) : undefined;
  if (state.externallyAdmitted) return dependency ?? { reason: 'LeftToKueue', message: 'its workers are admitted by Kueue' };
  if (state.suspended) return { reason: 'Suspended', message: 'suspended by spec.suspend' };
  if (!tenant) return { reason: 'UnknownTenant', message: `waiting for tenant "${state.tenant}", which does not exist` };
  return undefined;
}

/** Why a job that waits may not start, whatever room there is. */
export function barFrom(board: Board, job: Job, { blocked }: Dependencies): Obstacle | undefined {
  if (!isWaiting(job) || !job.tenant) return undefined;
  const { name, cordoned } = job.tenant.state;
  const dependency = blocked.get(job.index);
  if (dependency) return dependency;
  if (cordoned) return { reason: 'TenantCordoned', message: `tenant ${name} is cordoned: what runs goes on, nothing new starts` };
  const exceeded = quotaExceeded(board, job, job.min);
  if (!exceeded) return undefined;
  const { resource, needs, hard, left } = exceeded;
  const others = left < hard ? `, of which others hold ${quantity(resource, hard - left)}` : '';
  return { reason: 'ExceedsQuota', message: `needs ${amountText(resource, needs)}, the whole quota of tenant ${name} is ${quantity(resource, hard)}${others}; ask for more quota or for fewer or smaller workers` };
}
