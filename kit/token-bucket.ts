import { sleep } from './backoff.ts';
import type { Clock } from './clock.ts';

/**
 * Token bucket by reservation: a taker learns at once how long it has to wait, so waiters are served in order.
 * The level may go below zero; that debt is the queue of waiters.
 */
export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  readonly #clock: Clock;
  #level: number;
  #at: number;

  constructor(options: { perSecond: number; burst: number; clock: Clock }) {
    this.#perMs = options.perSecond / 1000;
    this.#burst = options.burst;
    this.#clock = options.clock;
    this.#level = options.burst;
    this.#at = options.clock.monotonic();
  }

  #refill(): void {
    const now = this.#clock.monotonic();
    this.#level = Math.min(this.#burst, this.#level + (now - this.#at) * this.#perMs);
    this.#at = now;
  }

  /** Takes a token and tells after how many milliseconds it may be used. */
  reserve(): number {
    this.#refill();
    this.#level -= 1;
    return this.#level >= 0 ? 0 : -this.#level / this.#perMs;
  }

  /** Takes a token only if one is there now. */
  tryTake(): boolean {
    this.#refill();
    if (this.#level < 1) return false;
    this.#level -= 1;
    return true;
  }

  /** Waits for a token; an abort gives the reservation back. Tells how long the wait was, in milliseconds. */
  async take(signal?: AbortSignal): Promise<number> {
    const wait = this.reserve();
    if (wait === 0) return 0;
    try {
      await sleep(wait, signal);
    } catch (error) {
      this.#level += 1;
      throw error;
    }
    return wait;
  }
}
