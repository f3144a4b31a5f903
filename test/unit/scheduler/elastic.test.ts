import { describe, expect, test } from 'vitest';
import { aJob, aNode, aSnapshot, aTenant, MINUTE, NOW, run, running } from '../../support/scheduling.ts';

describe('a job', () => {
  test('grows into free room up to its maximum', () => {
    expect(run(aSnapshot([aJob('a', { max: 3 })])).workers).toEqual({ a: 3 });
    expect(run(aSnapshot([running('a', ['n1'], 9 * MINUTE, { max: 9 })])).workers).toEqual({ a: 4 });
  });

  test('starts with its minimum or not at all', () => {
    expect(run(aSnapshot([aJob('gang', { min: 5, max: 9 }), aJob('small', { priority: 0 })])).workers).toEqual({ small: 1 });
  });

  test('all start before any grows', () => {
    expect(run(aSnapshot([aJob('a', { priority: 900, max: 4 }), aJob('b', { max: 4 }), aJob('c', { max: 4 })])).workers).toEqual({ a: 2, b: 1, c: 1 });
  });

  test('tenants take turns in growing, their jobs go by rank', () => {
    const { workers } = run(aSnapshot([aJob('a1', { tenant: 'a', max: 9 }), aJob('b1', { tenant: 'b', max: 9 }), aJob('b2', { tenant: 'b', max: 9, priority: 900 })], [aNode('n1', 8)], [aTenant('a'), aTenant('b')]));
    expect(workers).toEqual({ a1: 4, b1: 1, b2: 3 });
  });

  test('of a clearly higher rank grows at the expense of another, which keeps its minimum', () => {
    expect(run(aSnapshot([running('low', ['n1', 'n1', 'n1'], 9 * MINUTE), running('high', ['n1'], 9 * MINUTE, { priority: 900, max: 8 })])).workers).toEqual({ low: 1, high: 3 });
    expect(run(aSnapshot([running('low', ['n1', 'n1', 'n1'], 9 * MINUTE), running('equal', ['n1'], 9 * MINUTE, { max: 8 })])).workers).toEqual({ low: 3, equal: 1 });
  });

  test('lets workers go as its work runs out: pending, then idle, then newest first', () => {
    const workers = [{ node: 'n1', startedAt: NOW - 9 }, { node: 'n1', startedAt: NOW - 900 }, { node: 'n1', startedAt: NOW - 800, idle: true }, {}];
    const job = { ...aJob('a'), workers };
    expect(run(aSnapshot([{ ...job, max: 3 }])).of('a').remove).toEqual([3]);
    expect(run(aSnapshot([{ ...job, max: 2 }])).of('a').remove).toEqual([2, 3]);
    expect(run(aSnapshot([{ ...job, max: 1 }])).of('a').remove).toEqual([0, 2, 3]);
  });

  test('of a cordoned tenant goes on and does not grow; nothing new starts', () => {
    const { workers, of } = run(aSnapshot([running('a', ['n1', 'n1'], 9 * MINUTE, { max: 4 }), aJob('b')], undefined, [aTenant('acme', { cordoned: true })]));
    expect(workers).toEqual({ a: 2 });
    expect(of('b')).toMatchObject({ reason: 'TenantCordoned', message: 'tenant acme is cordoned: what runs goes on, nothing new starts' });
  });

  test('that its user suspends, or whose tenant is gone, has no workers', () => {
    expect(run(aSnapshot([running('a', ['n1'], 9 * MINUTE, { suspended: true })])).of('a')).toMatchObject({ workers: 0, remove: [0], reason: 'Suspended' });
    expect(run(aSnapshot([running('a', ['n1'], 9 * MINUTE, { tenant: 'none' })])).of('a')).toMatchObject({ workers: 0, remove: [0], reason: 'UnknownTenant' });
  });

  test('that Kueue admits has all that it asks for, takes no room here and is nobody\'s victim', () => {
    const { of, victims } = run(aSnapshot([running('k', Array(4).fill('n1'), 9 * MINUTE, { externallyAdmitted: true, max: 8 }), aJob('a', { priority: 900, min: 4, max: 4 })]));
    expect(of('k')).toMatchObject({ workers: 8, remove: [], reason: 'LeftToKueue' });
    expect(of('a').workers).toBe(4);
    expect(victims).toEqual([]);
  });
});

describe('beyond the known capacity', () => {
  const beyond = (jobs: Parameters<typeof aSnapshot>[0], nodes = [aNode('n1', 0)], more = {}, tenant = aTenant()) => {
    const { decisions } = run(aSnapshot(jobs, nodes, [tenant]), NOW, { pendingPerJob: 2, ...more });
    return Object.fromEntries(decisions.map(({ key, workers, beyondCapacity }) => [key.slice(5), [workers, beyondCapacity]]));
  };

  test('a waiting job gets a few workers, so that an autoscaler sees the need', () => {
    expect(beyond([aJob('a', { max: 8 })])).toEqual({ a: [2, 2] });
    // One of a gang alone would be of no use to it, and take room from others.
    expect(beyond([aJob('gang', { min: 4, max: 8 })])).toEqual({ gang: [0, 0] });
    expect(beyond([aJob('new', { max: 8, queuedAt: NOW - 1_000 })])).toEqual({ new: [0, 0] });
    expect(beyond([aJob('a', { max: 8 })], undefined, { pendingPerJob: 0 })).toEqual({ a: [0, 0] });
  });

  test('a running job too, once its workers have their nodes and it has not grown for a while', () => {
    expect(beyond([aJob('a', { max: 8 })], [aNode('n1', 3)])).toEqual({ a: [3, 0] });
    const placed = aJob('a', { max: 8, workers: [1, 2, 3].map(() => ({ node: 'n1', startedAt: NOW - MINUTE })) });
    expect(beyond([placed], [aNode('n1', 3)])).toEqual({ a: [5, 2] });
  });

  test('all together only so many, the first in the queue first', () => {
    expect(beyond([aJob('a', { max: 2 }), aJob('b', { max: 2 }), aJob('c', { max: 2, priority: 900 })], undefined, { pendingInAll: 4 })).toEqual({ a: [2, 2], b: [0, 0], c: [2, 2] });
  });

  test('they take only quota that nobody with a place needs', () => {
    const jobs = [aJob('nowhere', { priority: 900, nodeSelector: { pool: 'x' }, max: 4 }), aJob('here', { max: 4 })];
    expect(beyond(jobs, [aNode('n1', 4)], {}, aTenant('acme', { quota: { pods: 3 } }))).toEqual({ nowhere: [0, 0], here: [3, 0] });
  });

  test('a job with such workers only has not started', () => {
    const { of } = run(aSnapshot([aJob('a')], [aNode('n1', 0)]), NOW, { pendingPerJob: 2 });
    expect(of('a').held).toMatchObject({ workers: 1, startedAt: undefined, waitingSince: NOW - MINUTE });
  });

  test('it has as soon as one of them has a node', () => {
    const waiting = aJob('a', { max: 2, workers: [{ node: 'new' }, {}], held: { workers: 2, planned: [], waitingSince: NOW - 9 * MINUTE, hurried: false, forced: false } });
    expect(run(aSnapshot([waiting], [aNode('new', 2)])).of('a')).toMatchObject({ reason: 'Running', workers: 2, planned: ['new'], held: { startedAt: NOW } });
  });
});
