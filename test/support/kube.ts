/** Pieces that tests of everything over the API server need: a silent log, a client with short timings, waiting for a condition. */
import { pino } from 'pino';
import { systemClock } from '../../kit/clock.ts';
import type { Log } from '../../kit/log.ts';
import { createRegistry } from '../../kit/metrics.ts';
import type { Registry } from '../../kit/metrics.ts';
import { KubeClient } from '../../operator/kube/client.ts';
import type { ClientOptions } from '../../operator/kube/client.ts';
import { kubeConfigCredentials } from '../../operator/kube/credentials.ts';
import type { ReflectorTimings } from '../../operator/kube/reflector.ts';
import type { FakeApiServer } from './fake-api-server.ts';

export const silentLog: Log = pino({ level: 'silent' });

export const bareRegistry = (): Registry => createRegistry({ process: false });

export function clientOf(server: FakeApiServer, options: Partial<ClientOptions> = {}): KubeClient {
  return new KubeClient({
    credentials: kubeConfigCredentials(() => server.kubeConfig(), systemClock),
    clock: systemClock,
    registry: bareRegistry(),
    userAgent: 'test',
    timeoutMs: 2_000,
    retryBackoff: { baseMs: 5, capMs: 20 },
    ...options,
  });
}

export const quickTimings: ReflectorTimings = {
  watchSeconds: { min: 300, max: 600 },
  idleMs: 200,
  backoff: { baseMs: 10, capMs: 50, jitter: 0.5 },
  longLivedMs: 1_000,
};

/** Resolves when `condition` holds; fails with `what` after `limitMs`. */
export async function until(condition: () => boolean | Promise<boolean>, what: string, limitMs = 5_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`within ${limitMs} ms it did not happen that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
