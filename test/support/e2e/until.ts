import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Asks again and again until there is an answer; fails with `what` and the last thing that was thrown or told by `seen`.
 * @returns the first answer that is neither undefined nor false
 */
export async function until<T>(what: string, limitMs: number, ask: () => Promise<T | undefined | false>, seen?: () => string): Promise<T> {
  let thrown: unknown;
  for (const deadline = performance.now() + limitMs; ; ) {
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
      thrown = undefined;
    } catch (error) {
      if (error instanceof GaveUp) throw error;
      thrown = error;
    }
    if (performance.now() > deadline) {
      const last = thrown instanceof Error ? thrown.message : seen?.();
      throw new Error(`not within ${Math.round(limitMs / 1000)} s: ${what}${last === undefined ? '' : `; last seen: ${last}`}`);
    }
    await sleep(100);
  }
}

/** Thrown by a question to `until` when waiting longer is of no use. */
export class GaveUp extends Error {}
