import { describe, expect, test } from 'vitest';
import { aJob, aNode, aSnapshot, aTenant, MINUTE, NOW, run, running } from '../../support/scheduling.ts';

/** Ends in that many minutes at its rate. */
const ends = (minutes: number, workers = 1) => ({ min: workers, ratePerWorker: 1 / workers, itemsLeft: minutes * 60 });
const starts = (jobs: Parameters<typeof aSnapshot>[0], nodes = [aNode('n1', 2)], tenant = aTenant()) => {
  const { decisions } = run(aSnapshot(jobs, nodes, [tenant]));
  return Object.fromEntries(decisions.filter(({ reason }) => reason !== 'Running').map(({ key, startEstimate }) => [key.slice(5), startEstimate === undefined ? undefined : Math.round((startEstimate - NOW) / MINUTE)]));
};

describe('a start is estimated', () => {
  const busy = [running('r5', ['n1'], 9 * MINUTE, { priority: 500, ...ends(5) }), running('r9', ['n1'], 9 * MINUTE, { priority: 500, ...ends(9) })];

  test('from when running jobs end, in the order of the queue', () => {
    expect(starts([...busy, aJob('b', { priority: 100 }), aJob('a', { priority: 200 })])).toEqual({ a: 5, b: 9 });
  });

  test('with all workers that the start needs', () => expect(starts([...busy, aJob('gang', { min: 2, max: 2 })])).toEqual({ gang: 9 }));

  test('from the tenant\'s quota if that is what is short', () => {
    expect(starts([...busy, aJob('a')], [aNode('n1', 9)], aTenant('acme', { quota: { pods: 2 } }))).toEqual({ a: 5 });
  });

  test('not for those that wait for a job without a rate', () => {
    expect(starts([running('r5', ['n1'], 9 * MINUTE, { priority: 500, ...ends(5) }), running('r?', ['n1'], 9 * MINUTE, { priority: 500 }), aJob('a', { priority: 200 }), aJob('b')])).toEqual({ a: 5, b: undefined });
  });
});
