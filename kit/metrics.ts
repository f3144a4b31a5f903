import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';

export { Registry };

/** A registry of its own (never the global one, so that tests do not share state), with the metrics of the Node process. */
export function createRegistry(options: { process?: boolean } = {}): Registry {
  const registry = new Registry();
  if (options.process ?? true) collectDefaultMetrics({ register: registry });
  return registry;
}

interface Spec<L extends string> {
  name: string;
  help: string;
  labels?: readonly L[];
}

/**
 * These three return the metric that the registry already has under that name, so that several clients, queues and
 * controllers share one family and differ by label.
 */
export function counter<L extends string = never>(registry: Registry, spec: Spec<L>): Counter<L> {
  const known = registry.getSingleMetric(spec.name);
  if (known !== undefined) return known as Counter<L>;
  return new Counter<L>({
    name: spec.name,
    help: spec.help,
    labelNames: [...(spec.labels ?? [])],
    registers: [registry],
  });
}

/** `collect` runs at each scrape; it is taken from the first call for a name only. */
export function gauge<L extends string = never>(
  registry: Registry,
  spec: Spec<L> & { collect?: (metric: Gauge<L>) => void },
): Gauge<L> {
  const known = registry.getSingleMetric(spec.name);
  if (known !== undefined) return known as Gauge<L>;
  const { collect } = spec;
  return new Gauge<L>({
    name: spec.name,
    help: spec.help,
    labelNames: [...(spec.labels ?? [])],
    registers: [registry],
    ...(collect === undefined
      ? {}
      : {
          collect(this: Gauge<L>) {
            collect(this);
          },
        }),
  });
}

export function histogram<L extends string = never>(
  registry: Registry,
  spec: Spec<L> & { buckets: readonly number[] },
): Histogram<L> {
  const known = registry.getSingleMetric(spec.name);
  if (known !== undefined) return known as Histogram<L>;
  return new Histogram<L>({
    name: spec.name,
    help: spec.help,
    labelNames: [...(spec.labels ?? [])],
    buckets: [...spec.buckets],
    registers: [registry],
  });
}

/** `count` buckets from `start`, each `factor` times the one before. */
export function exponentialBuckets(start: number, factor: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => start * factor ** index);
}
