const slices = 6;
/** Neighbouring bins differ by this factor, so that a quantile is off by less than half of it. */
const growth = 1.05;
const least = 0.01;
const bins = 425;
const step = Math.log(growth);

interface Slice {
  /** Number of the slice since the beginning of time; -1: never used. */
  number: number;
  counts: Uint32Array;
  total: number;
}

/**
 * Quantiles of what was observed in the last `windowMs` (a sixth less at most), to within 3 % of the value, between
 * 0.01 and 10^7. Takes ten KiB, however much is observed: counts by logarithmic bins, in slices of time that are reused.
 */
export class SlidingQuantiles {
  readonly #sliceMs: number;
  readonly #slices: readonly Slice[] = Array.from({ length: slices }, () => ({ number: -1, counts: new Uint32Array(bins), total: 0 }));

  constructor(windowMs = 60_000) {
    this.#sliceMs = windowMs / slices;
  }

  /** `now` is monotonic and never goes back. */
  add(value: number, now: number): void {
    const slice = this.#sliceAt(Math.floor(now / this.#sliceMs));
    const bin = Math.round(Math.log(Math.max(value, least) / least) / step);
    const at = Math.min(bins - 1, bin);
    slice.counts[at] = (slice.counts[at] as number) + 1;
    slice.total += 1;
  }

  count(now: number): number {
    return this.#current(now).reduce((sum, { total }) => sum + total, 0);
  }

  /** The least value that this share (0 to 1) of the observations is not above; undefined when there were none. */
  at(share: number, now: number): number | undefined {
    const current = this.#current(now);
    const total = current.reduce((sum, slice) => sum + slice.total, 0);
    if (total === 0) return undefined;
    const wanted = Math.max(1, Math.ceil(share * total));
    let seen = 0;
    for (let bin = 0; bin < bins; bin++) {
      for (const { counts } of current) seen += counts[bin] as number;
      if (seen >= wanted) return least * growth ** bin;
    }
    return least * growth ** (bins - 1);
  }

  #current(now: number): Slice[] {
    const newest = Math.floor(now / this.#sliceMs);
    return this.#slices.filter(({ number }) => number >= 0 && number > newest - slices);
  }

  #sliceAt(number: number): Slice {
    const slice = this.#slices[number % slices] as Slice;
    if (slice.number !== number) {
      slice.number = number;
      slice.counts.fill(0);
      slice.total = 0;
    }
    return slice;
  }
}
