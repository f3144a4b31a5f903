import { counter, exponentialBuckets, gauge, histogram, type Registry } from '../../kit/metrics.ts';

export interface ServeMetrics {
  /** One answer was sent; `route` is the last word of the path, never what a client made up. */
  answered(route: string, code: number): void;
  /** Milliseconds that each request of a batch waited, and the rows of the batch. */
  dispatched(waitedMs: readonly number[], rows: number): void;
  /** A run took this long; `refused`: the model refused some of it. */
  ran(ms: number, refused: boolean): void;
}

export interface QueueState {
  queued: number;
  open: number;
  bytes: number;
}

/** `millrace_serve_*`. */
export function serveMetrics(registry: Registry, state: () => QueueState): ServeMetrics {
  const seconds = exponentialBuckets(0.0005, 2, 17);
  const answers = counter(registry, { name: 'millrace_serve_requests_total', help: 'Answers by route and HTTP status.', labels: ['route', 'code'] });
  const waits = histogram(registry, { name: 'millrace_serve_queue_seconds', help: 'How long requests waited before their run.', buckets: seconds });
  const runs = histogram(registry, { name: 'millrace_serve_run_seconds', help: 'How long a session worked on a batch.', buckets: seconds });
  const sizes = histogram(registry, { name: 'millrace_serve_batch_rows', help: 'Rows of a batch.', buckets: exponentialBuckets(1, 2, 11) });
  const refusals = counter(registry, { name: 'millrace_serve_refused_batches_total', help: 'Batches of which the model refused some requests.' });
  const show = (name: string, help: string, value: (state: QueueState) => number): void => {
    gauge(registry, { name: `millrace_serve_${name}`, help, collect: (metric) => metric.set(value(state())) });
  };
  show('queue_depth', 'Requests that wait for a run.', ({ queued }) => queued);
  show('open_requests', 'Requests that wait or run.', ({ open }) => open);
  show('held_bytes', 'Bytes of the bodies that are being read, wait or run.', ({ bytes }) => bytes);
  return {
    answered: (route, code) => answers.inc({ route, code: String(code) }),
    dispatched: (waitedMs, rows) => {
      for (const ms of waitedMs) waits.observe(ms / 1_000);
      sizes.observe(rows);
    },
    ran: (ms, refused) => {
      runs.observe(ms / 1_000);
      if (refused) refusals.inc();
    },
  };
}
