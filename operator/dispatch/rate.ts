/** An exponentially weighted rate of durable items and bytes; it falls by itself when nothing arrives. */
export interface Meter {
  items: number;
  bytes: number;
  /** When `items` and `bytes` were last brought up to date. */
  at: number;
  /** When work began; undefined while there is none. */
  since: number | undefined;
}

const windowMs = 10_000;

export function newMeter(): Meter {
  return { items: 0, bytes: 0, at: 0, since: undefined };
}

/** Work begins: idle time before it does not lower the rate. */
export function startMeter(meter: Meter, now: number): void {
  if (meter.since !== undefined) return;
  Object.assign(meter, { items: 0, bytes: 0, at: now, since: now });
}

export function stopMeter(meter: Meter): void {
  meter.since = undefined;
}

export function record(meter: Meter, items: number, bytes: number, now: number): void {
  startMeter(meter, now);
  const kept = Math.exp(-Math.max(0, now - meter.at) / windowMs);
  meter.items = meter.items * kept + items;
  meter.bytes = meter.bytes * kept + bytes;
  meter.at = now;
}

/** Per second. The divisor grows with the time observed, so that the first seconds are not understated. */
export function rateOf(meter: Meter, now: number): { items: number; bytes: number } {
  if (meter.since === undefined || now <= meter.since) return { items: 0, bytes: 0 };
  const kept = Math.exp(-Math.max(0, now - meter.at) / windowMs);
  const observed = (windowMs / 1000) * (1 - Math.exp(-(now - meter.since) / windowMs));
  return { items: (meter.items * kept) / observed, bytes: (meter.bytes * kept) / observed };
}
