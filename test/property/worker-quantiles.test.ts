import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RunMeter } from '../../inference-pod/run-meter.ts';
import { SlidingQuantiles } from '../../inference-pod/sliding-quantiles.ts';

const value = fc.double({ min: 0.01, max: 1e6, noNaN: true });
const observations = fc.array(fc.record({ value, after: fc.integer({ min: 0, max: 5_000 }) }), { minLength: 1, maxLength: 200 });
const share = fc.double({ min: 0, max: 1, noNaN: true });

function exact(values: readonly number[], wanted: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(1, Math.ceil(wanted * sorted.length)) - 1] as number;
}

describe('sliding quantiles', () => {
  test('are within 3 % of the exact ones over the slices of the window', () => {
    fc.assert(fc.property(observations, share, (all, wanted) => {
      const quantiles = new SlidingQuantiles(60_000);
      let now = 0;
      const seen = all.map((one) => {
        now += one.after;
        quantiles.add(one.value, now);
        return { value: one.value, at: now };
      });
      // The slice that is under way and the five before it.
      const kept = seen.filter(({ at }) => Math.floor(at / 10_000) > Math.floor(now / 10_000) - 6).map((one) => one.value);
      expect(quantiles.count(now)).toBe(kept.length);
      const got = quantiles.at(wanted, now) as number;
      const expected = exact(kept, wanted);
      expect(Math.abs(got - expected) / expected).toBeLessThan(0.03);
    }));
  });

  test('rise with the share, and are gone a window later', () => {
    fc.assert(fc.property(observations, (all) => {
      const quantiles = new SlidingQuantiles();
      let now = 0;
      for (const one of all) {
        now += one.after;
        quantiles.add(one.value, now);
      }
      const [p50, p90, p99] = [0.5, 0.9, 0.99].map((one) => quantiles.at(one, now) as number) as [number, number, number];
      expect(p50 <= p90 && p90 <= p99).toBe(true);
      expect([quantiles.count(now + 60_000), quantiles.at(0.5, now + 60_000)]).toEqual([0, undefined]);
    }));
  });

  test('take what is out of range for the nearest that is in it', () => {
    const quantiles = new SlidingQuantiles();
    for (const one of [0, -1, 1e12]) quantiles.add(one, 0);
    expect(quantiles.at(0.5, 0)).toBe(0.01);
    expect(quantiles.at(1, 0)).toBeGreaterThan(9e6);
  });
});

describe('the run meter', () => {
  test('counts failures in a row over chunks, until a run succeeds', () => {
    const meter = new RunMeter();
    const chunk = (failuresInARow: number, anySucceeded: boolean): number => {
      meter.add({ ms: [1], failuresInARow, anySucceeded }, 0);
      return meter.failuresInARow;
    };
    expect([chunk(1, false), chunk(2, false), chunk(1, true), chunk(0, true), chunk(3, false)]).toEqual([1, 3, 1, 0, 3]);
  });

  test('tells quantiles of the runs of the last minute', () => {
    const meter = new RunMeter();
    expect(meter.times(0)).toBeUndefined();
    meter.add({ ms: Array.from({ length: 100 }, (_, i) => i + 1), failuresInARow: 0, anySucceeded: true }, 0);
    const { count, p50, p90, p99 } = meter.times(0) as NonNullable<ReturnType<RunMeter['times']>>;
    expect(count).toBe(100);
    for (const [got, expected] of [[p50, 50], [p90, 90], [p99, 99]] as const) expect(Math.abs(got / expected - 1)).toBeLessThan(0.03);
    expect(meter.times(60_000)).toBeUndefined();
  });
});
