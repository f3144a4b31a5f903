import { parseQuantity } from '../quantity.ts';
import type { Refusal } from '../../runtime/plan.ts';

/** What a refused pod tells: waiting for quota in use, never fitting at all, or something else. */
export interface Refused {
  reason: 'WaitingForQuota' | 'ExceedsQuota' | 'PodRefused';
  message: string;
  stalled: boolean;
}

/** Reads the API server's "exceeded quota: NAME, requested: a=1, used: a=2, limited: a=2". */
export function readRefusal(refusal: Pick<Refusal, 'message'>, tenant: string): Refused {
  const match = /exceeded quota: ([^,]+), requested: (.*), used: (.*), limited: (.*)$/.exec(refusal.message);
  if (!match) return { reason: 'PodRefused', message: `the API server refused a worker pod: ${refusal.message}`, stalled: true };
  const [requested, used, limited] = [match[2], match[3], match[4]].map(toMap) as [Map<string, string>, Map<string, string>, Map<string, string>];
  const lines = [...requested].map(([resource, amount]) => `${resource} ${amount} (${used.get(resource) ?? '?'} of ${limited.get(resource) ?? '?'} used)`);
  const never = [...requested].filter(([resource, amount]) => parseQuantity(amount) > parseQuantity(limited.get(resource) ?? amount));
  if (never.length > 0) {
    const names = never.map(([resource, amount]) => `${resource}: one worker needs ${amount}, the quota is ${limited.get(resource)} (used ${used.get(resource) ?? '?'})`);
    return {
      reason: 'ExceedsQuota',
      message: `one worker does not fit into the quota of tenant "${tenant}": ${names.join('; ')}; lower spec.workers.resources in a new BatchJob or ask for more quota`,
      stalled: true,
    };
  }
  return { reason: 'WaitingForQuota', message: `waiting for quota of tenant "${tenant}": a worker needs ${lines.join(', ')}`, stalled: false };
}

function toMap(list: string | undefined): Map<string, string> {
  return new Map((list ?? '').split(',').map((part) => part.trim().split('=') as [string, string]));
}
