import { describe, expect, it } from 'vitest';
import { agedAt, ageingMs, ageingPoints, creditMs } from '../../../operator/scheduler/ageing.ts';
import { defaultPolicy } from '../../../operator/scheduler/policy.ts';

const NOW = Date.parse('2026-11-23T12:00:00Z');
const MIN = 60_000;

describe('the credit of a job', () => {
  it.each([
    ['is what it has waited', 10, undefined, 10],
    ['is nothing before it waits', -5, undefined, 0],
    ['is spent while it runs', 40, 10, 20],
    ['is gone once it has run as long as it waited', 40, 20, 0],
    ['is never less than nothing', 40, 35, 0],
  ])('%s', (_, waitingForMin, runningForMin, minutes) => {
    const startedAt = runningForMin === undefined ? undefined : NOW - runningForMin * MIN;
    expect(creditMs({ waitingSince: NOW - waitingForMin * MIN, startedAt }, NOW)).toBe(minutes * MIN);
  });
});

describe('ageing', () => {
  it.each([[0, 0], [1, 20], [0.5, 10], [60, 1_200], [74, 1_480], [75, 1_500], [600, 1_500]])('adds for %d min %d points', (minutes, points) => {
    expect(ageingPoints(minutes * MIN, defaultPolicy)).toBe(points);
  });

  it('is complete after 75 minutes, so that a job that has aged in full outranks any new one', () => {
    expect(ageingMs(defaultPolicy)).toBe(75 * MIN);
    expect(agedAt(NOW, defaultPolicy)).toBe(NOW + 75 * MIN);
    expect(defaultPolicy.ageingCap).toBeGreaterThan(defaultPolicy.maxPriority + defaultPolicy.dependentsCap);
  });
});
