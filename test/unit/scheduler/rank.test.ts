import { describe, expect, it } from 'vitest';
import { defaultPolicy } from '../../../operator/scheduler/policy.ts';
import { compareRanks, type Rank, type RankInput, rankOf } from '../../../operator/scheduler/rank.ts';
import type { JobState } from '../../../operator/scheduler/snapshot.ts';

const NOW = Date.parse('2026-11-23T12:00:00Z');
const MIN = 60_000;

const rank = (priority: number, more: Partial<RankInput> = {}): Rank => rankOf({
  job: { uid: 'a', createdAt: NOW - 60 * MIN, priority } as JobState, maxPriority: 1_000, waiting: { waitingSince: NOW, startedAt: undefined }, hurry: undefined, dependentPoints: 0, ...more,
}, NOW, defaultPolicy);
const waited = (minutes: number, ran?: number): Partial<RankInput> => ({ waiting: { waitingSince: NOW - minutes * MIN, startedAt: ran === undefined ? undefined : NOW - ran * MIN } });

describe('the score', () => {
  it.each<[string, number, Partial<RankInput>, number]>([
    ['is the priority', 700, {}, 700],
    ['is at most the tenant’s limit', 700, { maxPriority: 300 }, 300],
    ['is at most 1000', 5_000, { maxPriority: 9_000 }, 1_000],
    ['is not below 0', -5, {}, 0],
    ['has 20 points for each minute that it waits', 300, waited(60), 1_500],
    ['has 1500 points for that at most', 300, waited(600), 1_800],
    ['loses them while the job runs', 300, waited(60, 20), 700],
    ['has the points of those that wait for it', 300, { ...waited(60), dependentPoints: 50 }, 1_550],
  ])('%s', (_, priority, more, score) => {
    expect(rank(priority, more).score).toBe(score);
  });
});

describe('a job is due', () => {
  const hurry = (minutes: number): Partial<RankInput> => ({ hurry: { dueAt: NOW + minutes * MIN, workers: 1 } as NonNullable<RankInput['hurry']> });
  it.each<[string, Partial<RankInput>, number | undefined, boolean]>([
    ['never before it has aged in full', waited(74), undefined, false],
    ['from when it has', waited(75), 0, true],
    ['since then', waited(125), -50, true],
    ['not while it runs', waited(300, 100), undefined, false],
    ['at the deadline that hurries it', hurry(10), 10, false],
    ['at the earlier of both', { ...waited(125), ...hurry(10) }, -50, true],
    ['at the earlier of both, the other way round', { ...waited(85), ...hurry(-30) }, -30, true],
  ])('%s', (_, more, minutes, aged) => {
    expect(rank(0, more)).toMatchObject({ dueAt: minutes === undefined ? undefined : NOW + minutes * MIN, aged });
  });
});

describe('the order of ranks', () => {
  const of = (uid: string, score: number, createdAt = 0, dueAt?: number): Rank => ({ uid, score, createdAt, dueAt, aged: false, hurry: undefined });
  it.each<[string, Rank[], string]>([
    ['is due jobs first, the earliest first', [of('high', 2_000), of('late', 0, 0, 20), of('soon', 0, 0, 10)], 'soon late high'],
    ['then the higher score', [of('a', 1), of('b', 3), of('c', 2)], 'b c a'],
    ['then the older', [of('a', 1, 5), of('b', 1, 3)], 'b a'],
    ['then the name, so that it is always the same', [of('b', 1), of('c', 1), of('a', 1)], 'a b c'],
    ['is by score among those that are due at the same time', [of('a', 1, 0, 10), of('b', 2, 0, 10)], 'b a'],
  ])('%s', (_, ranks, order) => {
    expect([...ranks].sort(compareRanks).map(({ uid }) => uid).join(' ')).toBe(order);
    expect([...ranks].reverse().sort(compareRanks).map(({ uid }) => uid).join(' ')).toBe(order);
  });
});
