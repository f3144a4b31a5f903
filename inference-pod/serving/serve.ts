import { readFileSync } from 'node:fs';
import { systemClock } from '../../kit/clock.ts';
import { createRegistry, type Registry } from '../../kit/metrics.ts';
import { type HealthServer, serveHealth } from '../../kit/http.ts';
import type { Log } from '../../kit/log.ts';
import { exitCodes } from '../contract.ts';
import { describeEngine } from '../engine/describe.ts';
import { openPool } from '../engine/open-pool.ts';
import type { SessionPool } from '../engine/pool.ts';
import { poolSize } from '../engine/pool-size.ts';
import { showEngine } from '../health.ts';
import { companionWarning } from '../model/companions.ts';
import { checkModelUnchanged, findModel } from '../model/model-file.ts';
import { HttpServer } from './http-server.ts';
import { ModelServer } from './model-server.ts';
import type { ServeConfig } from './serve-config.ts';
import { type ServeMetrics, serveMetrics } from './serve-metrics.ts';

interface Loaded {
  pool: SessionPool;
  /** Requests must not share a run, because their results would depend on each other. */
  alone: boolean;
}

/** Serves one model until a signal comes; `onLoading` gets what must be closed before the process ends. Resolves with the exit code. */
export async function serve(config: ServeConfig, log: Log, onLoading: (loading: Promise<Loaded>) => void): Promise<number> {
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
    const loading = load(config, log, crash.reject);
    onLoading(loading);
    const loaded = await Promise.race([loading, crash.promise, aborted(ending.signal)]);
    if (loaded !== undefined) {
      server = modelServer(loaded, config, metrics, crash.reject);
      const engine = describeEngine(loaded.pool);
      showEngine(registry, () => engine);
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

async function load({ spec, cpus, memoryBytes }: ServeConfig, log: Log, onCrash: (error: Error) => void): Promise<Loaded> {
  const model = await findModel(spec.model.root, spec.model.path);
  const size = poolSize({ cpus, modelBytes: model.size, memoryBytes });
  const { pool, warning } = await openPool({ model: spec.model, file: model.real, format: 'jsonl', size, runLimitMs: spec.batching.timeoutSeconds * 1_000, onCrash });
  await checkModelUnchanged(model, spec.model.path);
  if (warning !== undefined) log.warn({ reason: warning }, 'no GPU');
  const companions = companionWarning(model.operators);
  if (companions !== undefined) log.warn({ reason: companions }, 'no batches');
  log.info({ ...describeEngine(pool), bytes: model.size, sha256: model.sha256 }, 'model loaded');
  return { pool, alone: companions !== undefined };
}

function modelServer({ pool, alone }: Loaded, { spec }: ServeConfig, metrics: ServeMetrics, onCrash: (error: Error) => void): ModelServer {
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
