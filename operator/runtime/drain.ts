import { sleep } from '../../kit/backoff.ts';
import type { Log } from '../../kit/log.ts';

export interface DrainStep {
  name: string;
  timeoutMs: number;
  run(): Promise<unknown>;
}

/**
 * Ends a program in order: each step gets its time, and the next begins whether it kept to it or not. For a controller
 * program the order is: intake and running reconciles (`Controller.drain`) → events (`EventRecorder.flush`, `close`) →
 * Lease (`LeaderElector.close`) → informers (abort) → clients (`close`) → health server. Tells whether all went well.
 */
export async function drain(steps: readonly DrainStep[], log: Log): Promise<boolean> {
  let well = true;
  for (const step of steps) {
    const limit = new AbortController();
    try {
      const late = sleep(step.timeoutMs, limit.signal).then(() => {
        throw new Error(`took longer than ${step.timeoutMs} ms`);
      });
      // The loser of the race must not end the process as an unhandled rejection.
      late.catch(() => undefined);
      await Promise.race([step.run(), late]);
      log.debug({ step: step.name }, 'drained');
    } catch (error) {
      well = false;
      log.warn(
        { step: step.name, err: error instanceof Error ? error.message : String(error) },
        'a step of the drain failed',
      );
    } finally {
      limit.abort();
    }
  }
  return well;
}
