import { labels } from '../api/names.ts';
import type { Tenant } from '../api/tenant.gen.ts';
import type { KubeObject, Stored } from '../kube/object.ts';
import { type Amounts, amounts } from './pod-requests.ts';
import type { JobState, NodeState, Taint, TenantState } from './snapshot.ts';

export interface NodeObject extends KubeObject {
  spec?: { taints?: Taint[]; unschedulable?: boolean };
  status?: { conditions?: { type: string; status: string }[]; allocatable?: Record<string, string | number> };
}

export interface QuotaObject extends KubeObject {
  status?: { hard?: Record<string, string>; used?: Record<string, string> };
}

export const isNodeReady = (node: NodeObject | undefined): boolean =>
  node?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;

/** One that is ready and takes new pods; undefined for others. `used`: what all but the workers of the listed jobs requests of it. */
export function nodeState(node: Stored<NodeObject>, used: Amounts): NodeState | undefined {
  if (!isNodeReady(node) || node.spec?.unschedulable === true || node.metadata.deletionTimestamp !== undefined) return undefined;
  const { name, labels: own = {} } = node.metadata;
  return { name, labels: own, taints: node.spec?.taints ?? [], allocatable: less(amounts(node.status?.allocatable ?? {}), used) };
}

/** `listed`: the tenant's jobs of which the scheduler is told, whose workers are not others'. */
export function tenantState({ metadata, spec }: Stored<Tenant & KubeObject>, quota: QuotaObject | undefined, listed: readonly Omit<JobState, 'held'>[]): TenantState {
  const hard = amounts(quota?.status?.hard ?? {});
  const used = amounts(quota?.status?.used ?? {});
  const own: Record<string, number> = {};
  for (const { quotaPerWorker, workers } of listed) {
    for (const [resource, amount] of Object.entries(quotaPerWorker)) own[resource] = (own[resource] ?? 0) + amount * workers.length;
  }
  return {
    name: metadata.name,
    weight: spec.weight,
    maxPriority: spec.maxPriority,
    cordoned: spec.cordoned,
    quota: hard,
    usedByOthers: less(used, own),
  };
}

/** The Tenant's own quota among those of its namespace. */
export const isTenantQuota = ({ metadata }: KubeObject): boolean => metadata.labels?.[labels.component] === 'tenant';

/** Of the resources of `from`. A cache that is behind may know of more use than there can be; nothing falls below zero. */
function less(from: Amounts, by: Amounts): Record<string, number> {
  return Object.fromEntries(Object.entries(from).map(([resource, amount]) => [resource, Math.max(0, amount - (by[resource] ?? 0))]));
}
