import type { Board, Job, Tenant } from './board.ts';
import { capacityOf, shapeFinder } from './capacity.ts';
import type { Policy } from './policy.ts';
import type { Rank } from './rank.ts';
import { addTo, namesIn, vector } from './resources.ts';
import type { Amounts, JobState, Snapshot } from './snapshot.ts';

/** Sets up the books for a round in which nobody has anything yet. */
export function setUp({ tenants: states, jobs, nodes }: Snapshot, now: number, policy: Policy): Board {
  const shapeKeys = jobs.map(shapeKey);
  const chargeKeys = jobs.map(({ quotaPerWorker }) => amountsKey(quotaPerWorker));
  const shaped = firstOfEach(jobs, shapeKeys);
  const capacity = capacityOf(nodes, shaped);
  const shapeOf = shapeFinder(capacity, shaped);
  const quotaNames = namesIn([...states.map(({ quota }) => quota), ...firstOfEach(jobs, chargeKeys).map(({ quotaPerWorker }) => quotaPerWorker)]);
  const charges = new Map<string, { id: number; amounts: Float64Array }>();
  const kinds = new Map<number, number>();

  const tenants = states.map((state): Tenant => {
    const left = vector(quotaNames, state.quota, Number.POSITIVE_INFINITY);
    addTo(left, vector(quotaNames, state.usedByOthers), -1);
    const amounts = new Float64Array(capacity.resources.length);
    return { state, weight: state.weight, left, amounts, share: 0, runningJobs: 0, byCost: [], lowestScore: Number.POSITIVE_INFINITY, ripe: [], lowestRipeScore: Number.POSITIVE_INFINITY, surplus: 0, entitled: 0 };
  });
  const numbers = new Map(states.map(({ name }, index) => [name, index]));

  const all = jobs.map((state, index): Job => {
    const chargeKey = chargeKeys[index] as string;
    const shape = shapeOf(state, shapeKeys[index] as string);
    const charge = charges.get(chargeKey) ?? { id: charges.size, amounts: vector(quotaNames, state.quotaPerWorker) };
    charges.set(chargeKey, charge);
    const tenant = numbers.get(state.tenant) ?? -1;
    const kindKey = ((tenant + 1) * jobs.length + shape.id) * jobs.length + charge.id;
    const kind = kinds.get(kindKey) ?? kinds.size;
    kinds.set(kindKey, kind);
    const { held } = state;
    const max = Math.max(1, state.max);
    const before = held?.workers ?? state.workers.reduce((count, { endingAt }) => count + Number(endingAt === undefined), 0);
    return {
      state, index, tenant: tenants[tenant], shape, charge: charge.amounts, kind, max,
      min: Math.min(max, Math.max(1, state.min)),
      before,
      seats: [],
      rank: UNRANKED,
      waitingSince: held?.waitingSince ?? Math.min(state.queuedAt, now),
      startedAt: before === 0 ? undefined : (held?.startedAt ?? firstPlacedAt(state, now)),
      grewAt: held?.grewAt,
      cutAt: held?.cutAt,
      cutFor: held?.cutFor,
      forced: held?.forced ?? false,
      dependentPoints: 0,
      deadlineAt: state.deadlineAt,
      obstacle: undefined,
      cut: undefined,
    };
  });
  return { now, policy, capacity, quotaNames, tenants, jobs: all, ranked: [], preemptions: 0, queue: [], reservation: undefined };
}

/** A job runs from when its first worker has a node. */
function firstPlacedAt({ workers }: JobState, now: number): number | undefined {
  const placed = workers.filter(({ node, endingAt }) => node !== undefined && endingAt === undefined);
  return placed.length === 0 ? undefined : Math.min(...placed.map(({ startedAt }) => startedAt ?? now));
}

// Made for each job in each round, so plain concatenation instead of JSON.
function shapeKey({ perWorker, nodeSelector, tolerations, oneNode }: JobState): string {
  let key = `${amountsKey(perWorker)}${oneNode ? '!' : '|'}`;
  for (const label in nodeSelector) key += `${label}=${nodeSelector[label]},`;
  for (const toleration of tolerations) key += JSON.stringify(toleration);
  return key;
}

function amountsKey(amounts: Amounts): string {
  let key = '';
  for (const name in amounts) key += `${name}=${amounts[name]},`;
  return key;
}

const UNRANKED: Rank = { dueAt: undefined, aged: false, hurry: undefined, score: 0, createdAt: 0, uid: '' };

function firstOfEach(jobs: readonly JobState[], keys: readonly string[]): JobState[] {
  const seen = new Set<string>();
  return jobs.filter((_, index) => {
    const key = keys[index] as string;
    return !seen.has(key) && seen.add(key);
  });
}
