/** Exponential back-off with jitter, and a wait that ends with an AbortSignal. */
export interface Backoff {
  baseMs: number;
  capMs: number;
  /** Default 2. */
  factor?: number;
  /** Share of the delay that is random: 0.5 gives 0.5–1 × the nominal delay. Default 0. */
  jitter?: number;
}

/** Delay before try number `attempt` + 1, where `attempt` counts the failures so far from 0. Never above `capMs`. */
export function delayFor(attempt: number, backoff: Backoff, random: () => number = Math.random): number {
  const factor = backoff.factor ?? 2;
  const nominal = Math.min(backoff.capMs, backoff.baseMs * factor ** Math.min(attempt, 64));
  return nominal * (1 - (backoff.jitter ?? 0) * random());
}

/** Resolves after `ms`; rejects with the signal's reason as soon as it aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** Like `sleep`, but an abort simply ends the wait; tells whether the full time has passed. */
export async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    await sleep(ms, signal);
    return true;
  } catch {
    return false;
  }
}
