import { exceeds } from '../../api/quantity.ts';
import type { Refusal } from '../../runtime/plan.ts';
import type { Trouble } from '../state.ts';

/**
 * What a refused write tells: waiting for quota in use, never fitting at all, or something else. Reads the API server's
 * "exceeded quota: NAME, requested: a=1, used: a=2, limited: a=2".
 */
export function readRefusal({ kind, name, message }: Refusal, tenant: string): Trouble {
  const match = /exceeded quota: ([^,]+), requested: (.*), used: (.*), limited: (.*)$/.exec(message);
  if (!match) {
    // The quota's controller has not counted yet, for a moment after the quota was made or changed.
    if (message.includes('status unknown for quota')) {
      return { reason: 'WaitingForQuota', message: `waiting for the quota of tenant "${tenant}" to be counted`, stalled: false };
    }
    return { reason: 'PodRefused', message: `the API server refused ${kind} "${name}": ${message}`, stalled: true };
  }
  const [requested, used, limited] = [match[2], match[3], match[4]].map(amounts) as [Amounts, Amounts, Amounts];
  const of = (list: Amounts, resource: string): string => list.get(resource) ?? '?';
  const never = [...requested].filter(([resource, amount]) => exceeds(amount, of(limited, resource)));
  if (never.length > 0) {
    const lines = never.map(([resource, amount]) => `${resource}: one worker needs ${amount}, the quota is ${of(limited, resource)} (used ${of(used, resource)})`);
    return {
      reason: 'ExceedsQuota',
      message: `one worker does not fit into the quota of tenant "${tenant}": ${lines.join('; ')}; make spec.workers.resources smaller in a new BatchJob or ask for more quota`,
      stalled: true,
    };
  }
  const lines = [...requested].map(([resource, amount]) => `${resource} ${amount} (used ${of(used, resource)} of ${of(limited, resource)})`);
  return { reason: 'WaitingForQuota', message: `waiting for quota of tenant "${tenant}": a worker needs ${lines.join(', ')}`, stalled: false };
}

type Amounts = ReadonlyMap<string, string>;

function amounts(list: string | undefined): Amounts {
  return new Map((list ?? '').split(',').map((part) => {
    const [resource = '', amount = ''] = part.trim().split('=');
    return [resource, amount];
  }));
}
