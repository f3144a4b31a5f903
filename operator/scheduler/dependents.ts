import type { Policy } from './policy.ts';
import type { JobState, Snapshot } from './snapshot.ts';

export interface Dependencies {
  /** Why a job may not start yet, by its index among the snapshot's jobs. */
  blocked: ReadonlyMap<number, { reason: 'WaitingForDependencies' | 'DependencyFailed' | 'DependencyCycle'; message: string }>;
  /** Points for the jobs that wait for this one, directly or through others, by its index. */
  points: ReadonlyMap<number, number>;
}

const NAMES_SHOWN = 3;

export function dependenciesOf({ jobs, finished, idle }: Pick<Snapshot, 'jobs' | 'finished' | 'idle'>, policy: Policy): Dependencies {
  const blocked: Map<number, { reason: 'WaitingForDependencies' | 'DependencyFailed' | 'DependencyCycle'; message: string }> = new Map();
  const points = new Map<number, number>();
  if (jobs.every(({ dependsOn }) => dependsOn.length === 0)) return { blocked, points };

  const indexes = new Map(jobs.map(({ key }, index) => [key, index]));
  const open = new Map<number, number[]>();
  jobs.forEach(({ dependsOn }, index) => {
    if (dependsOn.length === 0) return;
    const on = [...new Set(dependsOn)].flatMap((key) => indexes.get(key) ?? []);
    open.set(index, on);
    for (const other of on) if (!open.has(other)) open.set(other, []);
  });
  const { order, cyclic } = sorted(open);
  // Dependents come after what they depend on, so their own points are known when they are added.
  for (const index of order.reverse()) {
    for (const on of open.get(index) ?? []) {
      points.set(on, Math.min(policy.dependentsCap, (points.get(on) ?? 0) + policy.dependentPoints + (points.get(index) ?? 0)));
    }
  }
  jobs.forEach(({ key, dependsOn }, index) => {
    if (dependsOn.length === 0) return;
    const failed = dependsOn.filter((on) => !indexes.has(on) && finished.get(on) === 'Failed');
    const unmet = dependsOn.filter((on) => indexes.has(on) || finished.get(on) === undefined);
    if (failed.length > 0) blocked.set(index, { reason: 'DependencyFailed', message: `${listed(failed)}, which it depends on, failed; fix that and create both again` });
    else if (cyclic.has(index)) blocked.set(index, { reason: 'DependencyCycle', message: `never starts: its dependencies are a cycle (${cycleFrom(index, open, cyclic, jobs)}); create it again with other spec.dependsOn` });
    else if (unmet.length > 0) blocked.set(index, { reason: 'WaitingForDependencies', message: `waiting for ${unmetText(unmet, key, (on) => indexes.has(on) || (idle?.has(on) ?? false))}` });
  });
  return { blocked, points };
}

function unmetText(unmet: readonly string[], key: string, isKnown: (key: string) => boolean): string {
  if (unmet.includes(key)) return 'itself';
  const missing = unmet.filter((on) => !isKnown(on));
  return missing.length === 0 ? `${listed(unmet)} to complete` : `${listed(missing)}, which ${missing.length === 1 ? 'does' : 'do'} not exist`;
}

function listed(keys: readonly string[]): string {
  const names = keys.slice(0, NAMES_SHOWN).map((key) => key.slice(key.indexOf('/') + 1));
  return names.join(', ') + (keys.length > NAMES_SHOWN ? ` and ${keys.length - NAMES_SHOWN} more` : '');
}

/** For each job that is part of it, those that it depends on. */
type Graph = ReadonlyMap<number, readonly number[]>;

/** Kahn's topological order, and what is left over on cycles after those are gone that only hang on one. */
function sorted(open: Graph): { order: number[]; cyclic: Set<number> } {
  const dependents = new Map<number, number[]>([...open.keys()].map((index) => [index, []]));
  for (const [index, on] of open) for (const other of on) dependents.get(other)?.push(index);
  const order = peel(open, dependents, new Set(open.keys()));
  const left = new Set(open.keys());
  for (const index of order) left.delete(index);
  for (const index of peel(dependents, open, left)) left.delete(index);
  return { order, cyclic: left };
}

/** Those of `among` that can be taken one after the other without anyone left in `needs` of them. */
function peel(needs: Graph, neededBy: Graph, among: ReadonlySet<number>): number[] {
  const open = new Map([...among].map((index) => [index, (needs.get(index) ?? []).filter((other) => among.has(other)).length]));
  const taken = [...among].filter((index) => open.get(index) === 0);
  for (const index of taken) {
    for (const other of neededBy.get(index) ?? []) {
      const count = open.get(other);
      if (count === undefined) continue;
      open.set(other, count - 1);
      if (count === 1) taken.push(other);
    }
  }
  return taken;
}

function cycleFrom(start: number, open: Graph, cyclic: ReadonlySet<number>, jobs: readonly JobState[]): string {
  const path: number[] = [];
  let index: number | undefined = start;
  while (index !== undefined && !path.includes(index) && path.length < 10) {
    path.push(index);
    index = open.get(index)?.find((other) => cyclic.has(other));
  }
  const names = [...path, ...(index === undefined ? [] : [index])].map((at) => (jobs[at] as JobState).key);
  return names.map((key) => key.slice(key.indexOf('/') + 1)).join(' → ');
}
