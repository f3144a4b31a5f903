import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalQuantity, exceeds } from '../../../operator/api/quantity.ts';

describe('a quantity', () => {
  // Each right-hand side is what a real API server stored for the left-hand side.
  it.each([
    [4, '4'],
    ['4', '4'],
    ['1000m', '1'],
    ['0.5', '500m'],
    ['1.5Gi', '1536Mi'],
    ['8192Mi', '8Gi'],
    ['1024', '1024'],
    ['1000', '1k'],
    ['0.1m', '1m'],
    ['0Gi', '0'],
    ['.5', '500m'],
    ['1e3', '1e3'],
    ['512Mi', '512Mi'],
    ['0.5Ki', '512'],
    ['1.0005Ki', '1024512m'],
    ['1000000m', '1k'],
    ['1000Mi', '1000Mi'],
    ['2000k', '2M'],
  ])('of %s is written back as %s', (given, written) => {
    expect(canonicalQuantity(given)).toBe(written);
  });

  it('that is canonical stays as it is, and none changes its value', () => {
    const quantities = fc.tuple(fc.nat(1_000_000), fc.constantFrom('', 'm', 'k', 'M', 'G', 'Ki', 'Mi', 'Gi')).map(([n, suffix]) => `${n}${suffix}`);
    fc.assert(
      fc.property(quantities, (text) => {
        const canonical = canonicalQuantity(text);
        expect(canonicalQuantity(canonical)).toBe(canonical);
        expect(exceeds(text, canonical) || exceeds(canonical, text)).toBe(false);
      }),
    );
  });

  it('compares across suffixes', () => {
    expect(exceeds('1025Mi', '1Gi')).toBe(true);
    expect(exceeds('1Gi', '1024Mi')).toBe(false);
    expect(exceeds('2e3', '1999')).toBe(true);
    expect(exceeds('1001m', 1)).toBe(true);
    expect(exceeds('junk', 1)).toBe(false);
  });
});
