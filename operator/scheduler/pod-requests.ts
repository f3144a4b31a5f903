import { amountOf } from '../api/quantity.ts';
import type { KubeObject, Stored } from '../kube/object.ts';

/** Amounts by resource: cpu in thousandths, everything else in its own unit. */
export type Amounts = Readonly<Record<string, number>>;

interface Container {
  restartPolicy?: string;
  resources?: { requests?: Record<string, string | number> };
}

/** The parts of a Pod that tell what it takes of its node. */
export interface PlacedPod extends KubeObject {
  spec?: { nodeName?: string; containers?: Container[]; initContainers?: Container[]; overhead?: Record<string, string | number>; resources?: { requests?: Record<string, string | number> } };
}

/** What a pod takes of its node, as the scheduler counts it (KEP-753: sidecars run on, other init containers one after the other). */
export function podRequests(pod: PlacedPod): Amounts {
  const { containers = [], initContainers = [], overhead = {}, resources } = pod.spec ?? {};
  const total: Record<string, number> = { pods: 1 };
  for (const container of containers) add(total, requestsOf(container));
  const sidecars: Record<string, number> = {};
  const peak: Record<string, number> = {};
  for (const container of initContainers) {
    const own = requestsOf(container);
    if (container.restartPolicy === 'Always') add(sidecars, own);
    else for (const [resource, amount] of Object.entries(own)) peak[resource] = Math.max(peak[resource] ?? 0, amount + (sidecars[resource] ?? 0));
  }
  add(total, sidecars);
  for (const [resource, amount] of Object.entries(peak)) total[resource] = Math.max(total[resource] ?? 0, amount);
  // Requests of the pod as a whole stand in for those of its containers (KEP-2837).
  Object.assign(total, amounts(resources?.requests ?? {}));
  add(total, amounts(overhead));
  return total;
}

const requestsOf = ({ resources }: Container): Amounts => amounts(resources?.requests ?? {});

export const amounts = (quantities: Readonly<Record<string, string | number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(quantities).map(([resource, quantity]) => [resource, amountOf(resource, quantity)]));

function add(total: Record<string, number>, more: Amounts): void {
  for (const [resource, amount] of Object.entries(more)) total[resource] = (total[resource] ?? 0) + amount;
}

/** All that is kept in the cache of a pod that is not ours. */
export interface PodUse extends KubeObject {
  nodeName?: string;
  requests?: Amounts;
}

/** Makes a cached pod small; `transform` of its informer. */
export function podUse(pod: Stored<KubeObject>): Stored<PodUse> {
  const { apiVersion, kind, metadata, spec } = pod as Stored<PlacedPod>;
  const { name, namespace, uid, resourceVersion } = metadata;
  return {
    apiVersion,
    kind,
    metadata: { name, ...(namespace === undefined ? {} : { namespace }), uid, resourceVersion },
    ...(spec?.nodeName === undefined ? {} : { nodeName: spec.nodeName }),
    requests: podRequests(pod as Stored<PlacedPod>),
  };
}
