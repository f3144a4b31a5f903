/** Time as the program sees it; tests pass their own. */
export interface Clock {
  /** Wall clock, milliseconds since the epoch: for timestamps that people read. */
  now(): number;
  /** Monotonic milliseconds: for durations, leases and time-outs. */
  monotonic(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};
