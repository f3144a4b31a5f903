import { readFileSync } from 'node:fs';
import { systemClock } from '../../kit/clock.ts';
import { createRegistry, type Registry } from '../../kit/metrics.ts';
import { type HealthServer, serveHealth } from '../../kit/http.ts';
import type { Log } from '../../kit/log.ts';
import { exitCodes } from '../contract.ts';
import { showEngine } from '../health.ts';
import { type LoadedModel, loadModel } from '../load-model.ts';
import { HttpServer } from './http-server.ts';
import { ModelServer } from './model-server.ts';
import type { ServeConfig } from './serve-config.ts';
import { type ServeMetrics, serveMetrics } from './serve-metrics.ts';

/** Serves one model until a signal comes; `onLoading` gets what must be closed before the process ends. Resolves with the exit code. */
export async function serve(config: ServeConfig, log: Log, onLoading: (loading: Promise<LoadedModel>) => void): Promise<number> {
  const { spec } = config;
  const clock = systemClock;
  const crash = Promise.withResolvers<never>();
  const ending = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => ending.abort());
  const registry = createRegistry();
  let server: ModelServer | undefined;
  const metrics = serveMetrics(registry, () => ({ queued: server?.queued ?? 0, open: server?.open ?? 0, bytes: http.heldBytes }));
  const http = new HttpServer({
    model: spec.model,
    release: release(),
    maxRows: spec.batching.maxSize,
    maxRequestBytes: spec.maxRequestBytes,
    maxHeldBytes: spec.queue.maxBytes,
    receiveMs: spec.receiveSeconds * 1_000,
    answers: { maxCount: spec.answers.maxCount, maxBytes: spec.answers.maxBytes, maxAgeMs: spec.answers.seconds * 1_000 },
    now: () => clock.monotonic(),
    metrics,
    onError: (error) => log.error({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }, 'request failed'),
  });
  const health = await startHealth(config.healthPort, registry, () => (ending.signal.aborted ? 'the server is shutting down' : server === undefined ? 'the model is not loaded yet' : undefined));
  try {
    const port = await http.listen(config.port);
    log.info({ port, healthPort: health?.port ?? 0, model: spec.model.name, version: spec.model.version, cpus: config.cpus }, 'serving');
    const { timeoutSeconds } = spec.batching;
    const loading = loadModel({ ...config, model: spec.model, format: 'jsonl', timeoutSeconds, log, onCrash: crash.reject });
    onLoading(loading);
    const loaded = await Promise.race([loading, crash.promise, aborted(ending.signal)]);
    if (loaded !== undefined) {
      server = modelServer(loaded, config, metrics, crash.reject);
      showEngine(registry, () => loaded.engine);
      http.open({ server, signature: loaded.pool.signature });
      await Promise.race([crash.promise, aborted(ending.signal)]);
    }
    log.info({ open: server?.open ?? 0 }, 'draining');
    http.refuse();
    const drained = await Promise.race([crash.promise, server?.drain(spec.drainSeconds * 1_000) ?? true]);
    if (!drained) log.warn({ drainSeconds: spec.drainSeconds }, 'requests were left when the time to drain was over; they got 503');
    return exitCodes.drained;
  } finally {
    await http.close();
    await health?.close();
  }
}

function modelServer({ pool, alone }: LoadedModel, { spec }: ServeConfig, metrics: ServeMetrics, onCrash: (error: Error) => void): ModelServer {
  const maxRows = alone || !pool.signature.batched ? 1 : spec.batching.maxSize;
  return new ModelServer({ pool, limits: { maxRows, windowMs: spec.batching.windowMs, maxQueued: spec.queue.maxRequests }, clock: systemClock, metrics, onCrash });
}

async function startHealth(port: number, registry: Registry, problem: () => string | undefined): Promise<HealthServer | undefined> {
  return port === 0 ? undefined : await serveHealth({ port, registry, ready: { model: problem } });
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}

function release(): string {
  return (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version;
}
