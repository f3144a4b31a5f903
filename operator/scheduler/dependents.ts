import { componentsOf, type Graph } from './components.ts';
import type { Policy } from './policy.ts';
import type { JobState, Snapshot } from './snapshot.ts';

export interface Dependencies {
  /** Why a job may not start yet, by its index among the snapshot's jobs. */
  blocked: ReadonlyMap<number, Blocked>;
  /** Points for the jobs that wait for this one, directly or through others, by its index. */
  points: ReadonlyMap<number, number>;
  /** By when it must be done so that those that wait for it can meet their deadlines, by its index. */
  deadlines: ReadonlyMap<number, number>;
}

interface Blocked {
  reason: 'WaitingForDependencies' | 'DependencyFailed' | 'DependencyCycle';
  message: string;
}

const NAMES_SHOWN = 3;

export function dependenciesOf({ jobs, finished, idle }: Pick<Snapshot, 'jobs' | 'finished' | 'idle'>, policy: Policy): Dependencies {
  const blocked = new Map<number, Blocked>();
  if (jobs.every(({ dependsOn }) => dependsOn.length === 0)) return { blocked, points: new Map(), deadlines: new Map() };

  const indexes = new Map(jobs.map(({ key }, index) => [key, index]));
  const graph = graphOf(jobs, indexes);
  const components = componentsOf(graph);
  const cycles = cyclesAmong(components, graph);
  jobs.forEach(({ key, dependsOn }, index) => {
    if (dependsOn.length === 0) return;
    const failed = dependsOn.filter((on) => !indexes.has(on) && finished.get(on) === 'Failed');
    const unmet = dependsOn.filter((on) => indexes.has(on) || finished.get(on) === undefined);
    const cycle = cycles.get(index);
    if (failed.length > 0) blocked.set(index, { reason: 'DependencyFailed', message: `${listed(failed)}, which it depends on, failed; fix that and create both again` });
    else if (cycle) blocked.set(index, { reason: 'DependencyCycle', message: `never starts: its dependencies are a cycle (${pathFrom(index, cycle, graph, jobs)}); create it again with other spec.dependsOn` });
    else if (unmet.length > 0) blocked.set(index, { reason: 'WaitingForDependencies', message: `waiting for ${unmetText(unmet, key, (on) => indexes.has(on) || (idle?.has(on) ?? false))}` });
  });
  return { blocked, points: pointsOf(components, graph, cycles, policy), deadlines: deadlinesOf(jobs, components, graph, cycles, policy) };
}

/** The jobs that depend on others, or others on them; only what is in the snapshot. */
function graphOf(jobs: readonly JobState[], indexes: ReadonlyMap<string, number>): Graph {
  const graph = new Map<number, number[]>();
  jobs.forEach(({ dependsOn }, index) => {
    if (dependsOn.length === 0) return;
    const needs = [...new Set(dependsOn)].flatMap((key) => indexes.get(key) ?? []);
    graph.set(index, needs);
    for (const other of needs) if (!graph.has(other)) graph.set(other, []);
  });
  return graph;
}

/** For each job that is on a cycle, all those that are on one with it. */
function cyclesAmong(components: readonly (readonly number[])[], graph: Graph): Map<number, ReadonlySet<number>> {
  const cycles = new Map<number, ReadonlySet<number>>();
  for (const component of components) {
    const [first] = component;
    if (first === undefined || (component.length === 1 && !graph.get(first)?.includes(first))) continue;
    const cycle = new Set(component);
    for (const index of component) cycles.set(index, cycle);
  }
  return cycles;
}

/** Points for each job that waits for this one and may start some day, each counted once; up to the cap. */
function pointsOf(components: readonly (readonly number[])[], graph: Graph, cycles: ReadonlyMap<number, unknown>, { dependentPoints, dependentsCap }: Policy): Map<number, number> {
  const never = new Set<number>();
  const order = components.flat();
  for (const index of order) if (cycles.has(index) || graph.get(index)?.some((on) => never.has(on))) never.add(index);
  // As many as make a difference. Dependents come before what they depend on, so their own dependents are known.
  const enough = Math.ceil(dependentsCap / dependentPoints);
  const dependents = new Map<number, Set<number>>();
  for (const index of order.reverse()) {
    if (never.has(index)) continue;
    for (const on of graph.get(index) ?? []) {
      const known = dependents.get(on) ?? new Set();
      dependents.set(on, known);
      for (const each of [index, ...(dependents.get(index) ?? [])]) if (known.size < enough) known.add(each);
    }
  }
  return new Map([...dependents].map(([index, { size }]) => [index, Math.min(dependentsCap, size * dependentPoints)]));
}

/** A job's deadline hurries those that it waits for: they must leave it the part of its time that it is taken to need itself. */
function deadlinesOf(jobs: readonly JobState[], components: readonly (readonly number[])[], graph: Graph, cycles: ReadonlyMap<number, unknown>, { unknownWork }: Policy): Map<number, number> {
  const deadlines = new Map<number, number>();
  for (const index of components.flat().reverse()) {
    const { deadlineAt: own = Number.POSITIVE_INFINITY, createdAt } = jobs[index] as JobState;
    const deadline = Math.min(own, deadlines.get(index) ?? Number.POSITIVE_INFINITY);
    if (cycles.has(index) || !Number.isFinite(deadline)) continue;
    const before = deadline - Math.max(0, deadline - createdAt) * unknownWork;
    for (const on of graph.get(index) ?? []) deadlines.set(on, Math.min(before, deadlines.get(on) ?? Number.POSITIVE_INFINITY));
  }
  return deadlines;
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

/** A way along the cycle, until it meets itself. */
function pathFrom(start: number, cycle: ReadonlySet<number>, graph: Graph, jobs: readonly JobState[]): string {
  const path: number[] = [];
  let index: number | undefined = start;
  while (index !== undefined && !path.includes(index) && path.length < 10) {
    path.push(index);
    index = graph.get(index)?.find((other) => cycle.has(other));
  }
  const names = [...path, ...(index === undefined ? [] : [index])].map((at) => (jobs[at] as JobState).key);
  return names.map((key) => key.slice(key.indexOf('/') + 1)).join(' → ');
}
