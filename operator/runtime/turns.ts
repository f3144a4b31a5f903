import type { Clock } from '../../kit/clock.ts';

export interface TurnsOptions {
  clock: Pick<Clock, 'monotonic'>;
  /** Between two turns, whoever has them. */
  gapMs: number;
  /** Between two turns of one id. */
  perIdMs: number;
}

/** The first goes first; the second has every fourth turn at least. */
export type Lane = 0 | 1;

/** A turn that is not taken by then is void: what it was wanted for was written along with something else. */
const STALE_MS = 5_000;
const SECOND_LANE_EVERY = 4;

/**
 * Who may write what changes all the time, and when: one write per gap over all, fair among those that want one.
 *
 * Guarantees: at most one turn per gap and at most one per id in `perIdMs`; in each lane first come, first served; each
 * id waits once, however often it asks.
 */
export class Turns {
  readonly #options: TurnsOptions;
  /** By id: what is called when the turn has come. */
  readonly #lanes: readonly [Map<string, () => void>, Map<string, () => void>] = [new Map(), new Map()];
  /** Turns that were given and not taken yet, oldest first. */
  readonly #given = new Map<string, number>();
  /** Latest turn of each id, oldest first; older ones than `perIdMs` are forgotten. */
  readonly #latest = new Map<string, number>();
  #count = 0;
  #nextAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: TurnsOptions) {
    this.#options = options;
  }

  /** Uses the turn of this id: one that was given, or one that nobody else wants. If there is none, it waits for one as with `want`. */
  take(id: string, lane: Lane, ready: () => void): boolean {
    const now = this.#now();
    const given = this.#given.get(id);
    this.#given.delete(id);
    if (given !== undefined && now - given < STALE_MS) return true;
    const nobodyWaits = this.#lanes[0].size === 0 && this.#lanes[1].size === 0;
    if (nobodyWaits && now >= this.#nextAt && this.#mayHave(id, now)) {
      this.#mark(id, now);
      return true;
    }
    this.want(id, lane, ready);
    return false;
  }

  /** `ready` is called once when the turn of this id has come; then `take` uses it. */
  want(id: string, lane: Lane, ready: () => void): void {
    if (this.#closed || this.#given.has(id)) return;
    if (lane === 0) this.#lanes[1].delete(id);
    else if (this.#lanes[0].has(id)) return;
    if (!this.#lanes[lane].has(id)) this.#lanes[lane].set(id, ready);
    this.#arm();
  }

  /** There was nothing to write: a turn that was given goes to the next one. */
  pass(id: string): void {
    if (!this.#given.delete(id)) return;
    this.#nextAt = Math.min(this.#nextAt, this.#now());
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#arm();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const lane of this.#lanes) lane.clear();
  }

  #now(): number {
    return this.#options.clock.monotonic();
  }

  #mayHave(id: string, now: number): boolean {
    return now - (this.#latest.get(id) ?? Number.NEGATIVE_INFINITY) >= this.#options.perIdMs;
  }

  #mark(id: string, now: number): void {
    this.#nextAt = now + this.#options.gapMs;
    this.#latest.delete(id);
    this.#latest.set(id, now);
    for (const [old, at] of this.#latest) {
      if (now - at < this.#options.perIdMs) break;
      this.#latest.delete(old);
    }
    for (const [old, at] of this.#given) {
      if (now - at < STALE_MS) break;
      this.#given.delete(old);
    }
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#closed || (this.#lanes[0].size === 0 && this.#lanes[1].size === 0)) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#give();
      this.#arm();
    }, Math.max(0, Math.ceil(this.#nextAt - this.#now())));
  }

  #give(): void {
    const now = this.#now();
    const [first, second] = this.#count % SECOND_LANE_EVERY === SECOND_LANE_EVERY - 1 ? [this.#lanes[1], this.#lanes[0]] : this.#lanes;
    for (const lane of [first, second]) {
      for (const [id, ready] of lane) {
        // At most as many as there were turns in `perIdMs`.
        if (!this.#mayHave(id, now)) continue;
        lane.delete(id);
        this.#count += 1;
        this.#mark(id, now);
        this.#given.set(id, now);
        ready();
        return;
      }
    }
    this.#nextAt = now + this.#options.gapMs;
  }
}
