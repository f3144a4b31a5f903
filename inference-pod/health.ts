import { type HealthServer, serveHealth } from '../kit/http.ts';
import { counter, createRegistry, exponentialBuckets, gauge, histogram, type Registry } from '../kit/metrics.ts';
import type { ItemCounts, WorkerEngine } from './contract.ts';
import type { RunTimes } from './reading/chunk.ts';

/** What the metrics show of a running worker. */
export interface Vitals {
  /** Once the model is loaded. */
  engine: WorkerEngine | undefined;
  leases: number;
  itemsPerSecond: number;
  reachable: boolean;
  queueDepth: number;
  failuresInARow: number;
}

export interface Health {
  countItems(items: ItemCounts): void;
  countRuns(runs: RunTimes): void;
  close(): Promise<void>;
}

/** /healthz: the main loop is alive. /readyz: the model is loaded. /metrics: `millrace_worker_*`. Port 0: no server. */
export async function startHealth(port: number, vitals: () => Vitals): Promise<Health> {
  const registry = createRegistry();
  const items = counter(registry, {
    name: 'millrace_worker_items_total',
    help: 'Items that this worker made durable, by outcome.',
    labels: ['outcome'],
  });
  const runs = histogram(registry, { name: 'millrace_worker_run_seconds', help: 'How long model runs took.', buckets: exponentialBuckets(0.0005, 2, 17) });
  const show = (name: string, help: string, value: () => number): void => {
    gauge(registry, { name: `millrace_worker_${name}`, help, collect: (metric) => metric.set(value()) });
  };
  show('leases', 'Leases that this worker holds.', () => vitals().leases);
  show('items_per_second', 'Items made durable per second, over the last 15 seconds.', () => vitals().itemsPerSecond);
  show('queue_depth', 'Chunks of input that wait for a session.', () => vitals().queueDepth);
  show('failures_in_a_row', 'Items in a row that the model refused.', () => vitals().failuresInARow);
  show('model_loaded', '1 when the model is loaded.', () => Number(vitals().engine !== undefined));
  show('sync_up', '1 when the last sync was answered.', () => Number(vitals().reachable));
  showEngine(registry, () => vitals().engine);
  let server: HealthServer | undefined;
  if (port > 0) {
    const ready = { model: () => (vitals().engine ? undefined : 'the model is not loaded yet') };
    server = await serveHealth({ port, registry, ready });
  }
  return {
    countItems: ({ succeeded, failed }) => {
      items.inc({ outcome: 'succeeded' }, succeeded);
      items.inc({ outcome: 'failed' }, failed);
    },
    countRuns: ({ ms }) => {
      for (const one of ms) runs.observe(one / 1_000);
    },
    close: async () => server?.close(),
  };
}

/** `millrace_worker_engine_info` and the sizes of the session pool. */
export function showEngine(registry: Registry, engine: () => WorkerEngine | undefined): void {
  gauge(registry, {
    name: 'millrace_worker_engine_info',
    help: 'What runs the model, by label; 1 once it is loaded.',
    labels: ['provider', 'device', 'runtime', 'node'],
    collect: (metric) => {
      const loaded = engine();
      if (loaded) metric.set({ provider: loaded.provider, device: loaded.device, runtime: loaded.runtime, node: loaded.node }, 1);
    },
  });
  gauge(registry, { name: 'millrace_worker_sessions', help: 'Sessions of the model, each on a thread of its own.', collect: (metric) => metric.set(engine()?.sessions ?? 0) });
  gauge(registry, { name: 'millrace_worker_session_threads', help: 'Threads of each session.', collect: (metric) => metric.set(engine()?.threads ?? 0) });
}
