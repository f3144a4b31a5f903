import { describe, expect, it } from 'vitest';
import { dependenciesOf } from '../../../operator/scheduler/dependents.ts';
import { defaultPolicy } from '../../../operator/scheduler/policy.ts';
import type { JobState, Snapshot } from '../../../operator/scheduler/snapshot.ts';

/** Jobs by name, with those that each depends on. */
function among(graph: Record<string, string[]>, finished: Record<string, 'Complete' | 'Failed'> = {}): { points: Record<string, number>; blocked: Record<string, string> } {
  const names = Object.keys(graph);
  const jobs = names.map((name) => ({ key: `acme/${name}`, dependsOn: graph[name]?.map((on) => `acme/${on}`) ?? [] }) as unknown as JobState);
  const snapshot: Pick<Snapshot, 'jobs' | 'finished'> = { jobs, finished: new Map(Object.entries(finished).map(([name, how]) => [`acme/${name}`, how])) };
  const { points, blocked } = dependenciesOf(snapshot, defaultPolicy);
  return {
    points: Object.fromEntries([...points].map(([index, sum]) => [names[index] as string, sum])),
    blocked: Object.fromEntries([...blocked].map(([index, { reason, message }]) => [names[index] as string, `${reason}: ${message}`])),
  };
}

describe('those that depend on a job', () => {
  it('give it 25 points each, directly or through others', () => {
    expect(among({ a: [], b: ['a'], c: ['b'] }).points).toEqual({ a: 50, b: 25 });
    expect(among({ a: [], b: ['a'], c: ['a'], d: ['a', 'a'] }).points).toEqual({ a: 75 });
  });

  it('count once, in however many ways they depend on it', () => {
    expect(among({ a: [], b: ['a'], c: ['a'], d: ['b', 'c'] }).points).toEqual({ a: 75, b: 25, c: 25 });
    expect(among({ a: [], b: ['a'], c: ['a', 'b'] }).points).toEqual({ a: 50, b: 25 });
  });

  it('give it 250 points at most', () => {
    expect(among(Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`j${i}`, i === 0 ? [] : ['j0']]))).points).toEqual({ j0: 250 });
  });

  it('give nothing to jobs that are not there or on a cycle, and nothing if they never start', () => {
    expect(among({ a: ['gone'], b: ['c'], c: ['b'] }).points).toEqual({});
    expect(among({ a: [], b: ['a', 'c'], c: ['b'], d: ['a', 'c'] }).points).toEqual({});
  });
});

describe('the deadline of a job', () => {
  it('leaves those that it waits for half of its time, and those that they wait for half of that', () => {
    const at = (name: string, on: string[], createdAt: number, deadlineAt?: number): JobState => ({ key: name, dependsOn: on, createdAt, deadlineAt }) as unknown as JobState;
    const { deadlines } = dependenciesOf({ jobs: [at('a', [], 0), at('b', ['a'], 20), at('c', ['b'], 0, 100), at('d', ['b'], 0, 400), at('e', [], 0, 7)], finished: new Map() }, defaultPolicy);
    expect(Object.fromEntries(deadlines)).toEqual({ 0: 35, 1: 50 });
  });
});

describe('a job that depends on others', () => {
  it.each<[string, Record<string, string[]>, Record<string, 'Complete' | 'Failed'>, string | undefined]>([
    ['starts when all are complete', { a: ['x', 'y'] }, { x: 'Complete', y: 'Complete' }, undefined],
    ['waits for one that is not', { a: ['x', 'b'], b: [] }, { x: 'Complete' }, 'WaitingForDependencies: waiting for b to complete'],
    ['waits for one that is there again, however an earlier one of that name ended', { a: ['b'], b: [] }, { b: 'Failed' }, 'WaitingForDependencies: waiting for b to complete'],
    ['names three', { a: ['b', 'c', 'd', 'e', 'f'], b: [], c: [], d: [], e: [], f: [] }, {}, 'WaitingForDependencies: waiting for b, c, d and 2 more to complete'],
    ['says that one does not exist', { a: ['b', 'x'], b: [] }, {}, 'WaitingForDependencies: waiting for x, which does not exist'],
    ['says that several do not', { a: ['x', 'y'] }, {}, 'WaitingForDependencies: waiting for x, y, which do not exist'],
    ['never starts when one failed', { a: ['b', 'x'], b: [] }, { x: 'Failed' }, 'DependencyFailed: x, which it depends on, failed; fix that and create both again'],
    ['never starts when it waits for itself', { a: ['a'] }, {}, 'DependencyCycle: never starts: its dependencies are a cycle (a → a); create it again with other spec.dependsOn'],
    ['never starts on a cycle', { a: ['b'], b: ['c'], c: ['a'] }, {}, 'DependencyCycle: never starts: its dependencies are a cycle (a → b → c → a); create it again with other spec.dependsOn'],
    ['waits for a job that is on a cycle', { a: ['b'], b: ['c'], c: ['b'] }, {}, 'WaitingForDependencies: waiting for b to complete'],
    ['waits between two cycles, of which it is on none', { a: ['b'], b: ['c'], c: ['b'], d: ['e', 'a'], e: ['d'] }, {}, 'WaitingForDependencies: waiting for b to complete'],
    ['is told only of its own cycle', { a: ['x', 'b'], b: ['a'], x: ['y'], y: ['x'] }, {}, 'DependencyCycle: never starts: its dependencies are a cycle (a → b → a); create it again with other spec.dependsOn'],
    ['is told of its failed dependency rather than of a cycle', { a: ['b', 'x'], b: ['a'] }, { x: 'Failed' }, 'DependencyFailed: x, which it depends on, failed; fix that and create both again'],
  ])('%s', (_, graph, finished, told) => {
    expect(among(graph, finished).blocked['a']).toBe(told);
  });
});
