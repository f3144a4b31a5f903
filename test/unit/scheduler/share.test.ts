import { describe, expect, it } from 'vitest';
import { atMost, dominantShare, entitlements, weighed } from '../../../operator/scheduler/share.ts';

const amounts = (...list: number[]): Float64Array => Float64Array.from(list);

describe('a dominant share', () => {
  it.each<[string, number[], number[], number]>([
    ['is that of the resource of which most is held', [2, 8], [8, 16], 0.5],
    ['is 0 of nothing', [0, 0], [8, 16], 0],
    ['leaves out what the cluster has not', [2, 5], [8, 0], 0.25],
    ['may be more than all there is', [12, 0], [8, 16], 1.5],
  ])('%s', (_, held, total, share) => {
    expect(dominantShare(amounts(...held), amounts(...total))).toBe(share);
  });

  it('can be asked for with more workers, or fewer', () => {
    expect(dominantShare(amounts(2, 8), amounts(8, 16), amounts(1, 2), 4)).toBe(1);
    expect(dominantShare(amounts(4, 8), amounts(8, 16), amounts(1, 2), -3)).toBe(0.125);
  });

  it('is divided by the weight for comparison', () => {
    expect(weighed(0.5, { weight: 2 })).toBe(0.25);
    expect(weighed(0.1, { weight: 0.5 })).toBe(0.2);
  });

  it('is equal where only the last digits differ', () => {
    expect(atMost(0.1 + 0.2, 0.3)).toBe(true);
    expect(atMost(0.300_001, 0.3)).toBe(false);
  });
});

describe('what tenants are entitled to', () => {
  it.each<[string, [weight: number, wants: number][], number[]]>([
    ['is the same for equals', [[1, 1], [1, 1]], [0.5, 0.5]],
    ['goes by weight', [[3, 1], [1, 1]], [0.75, 0.25]],
    ['is no more than they want', [[1, 0.1], [1, 0.2]], [0.1, 0.2]],
    ['goes to the others where one wants less', [[1, 0.2], [1, 1], [1, 1]], [0.2, 0.4, 0.4]],
    ['goes to the others by their weights', [[2, 0.1], [2, 1], [1, 1]], [0.1, 0.6, 0.3]],
    ['is all for the only one who wants something', [[1, 0], [5, 0], [1, 4]], [0, 0, 1]],
    ['is all of a heavy tenant that wants less than its part', [[3, 0.3], [1, 1]], [0.3, 0.7]],
    ['is nobody’s without tenants', [], []],
  ])('%s', (_, tenants, shares) => {
    const entitled = entitlements(tenants.map(([weight, wants]) => ({ weight, wants })));
    expect(entitled).toHaveLength(shares.length);
    for (const [index, share] of entitled.entries()) expect(share).toBeCloseTo(shares[index] as number, 9);
  });
});
