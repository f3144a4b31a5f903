/** Items per second over the last `windowMs`, or since the first work when that is shorter. */
export class Rate {
  readonly #windowMs: number;
  #started: number | undefined;
  #recent: { at: number; items: number }[] = [];

  constructor(windowMs = 15_000) {
    this.#windowMs = windowMs;
  }

  /** Work has begun; only the first call counts. */
  start(now: number): void {
    this.#started ??= now;
  }

  add(items: number, now: number): void {
    this.#recent.push({ at: now, items });
    this.#forget(now);
  }

  perSecond(now: number): number {
    this.#forget(now);
    if (this.#started === undefined) return 0;
    const items = this.#recent.reduce((sum, entry) => sum + entry.items, 0);
    // Less than a second of work says little, and would divide by almost nothing.
    const elapsed = Math.max(1_000, Math.min(this.#windowMs, now - this.#started));
    return (items * 1_000) / elapsed;
  }

  #forget(now: number): void {
    this.#recent = this.#recent.filter(({ at }) => now - at <= this.#windowMs);
  }
}
