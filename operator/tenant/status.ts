import { setCondition } from '../api/conditions.ts';
import type { TenantStatus } from '../api/tenant.gen.ts';
import { deepEqual } from '../runtime/equal.ts';
import { namespaceOf, type JobCounts, type Observed, type ResourceQuotaObject, type StoredTenant } from './observe.ts';

/** Reasons of the Ready condition. Users and alerts rely on them: add, don't rename. */
export type Reason =
  | 'Ready'
  | 'Cordoned'
  | 'CreatingNamespace'
  | 'QuotaPending'
  | 'NamespaceConflict'
  | 'NamespaceReserved'
  | 'NamespaceTerminating'
  | 'ChildRefused'
  | 'FieldConflict'
  | 'StoppingWorkers'
  | 'DeletingNamespace';

export interface Verdict {
  state: NonNullable<TenantStatus['state']>;
  reason: Reason;
  /** A sentence without times. */
  message: string;
}

/** The status tells what was observed; only the verdict may rest on what was just written. */
export function status(tenant: StoredTenant, observed: Observed, verdict: Verdict, now: number): TenantStatus {
  const generation = tenant.metadata.generation ?? 0;
  const ready = verdict.state === 'Ready' || verdict.state === 'Cordoned';
  const stalled = verdict.state === 'Failed';
  let conditions = tenant.status?.conditions ?? [];
  for (const [type, holds] of [
    ['Ready', ready],
    ['Reconciling', !ready && !stalled],
    ['Stalled', stalled],
  ] as const) {
    const { reason, message } = verdict;
    conditions = setCondition(conditions, { type, status: holds ? 'True' : 'False', observedGeneration: generation, reason, message }, now);
  }
  const hold = !stalled || verdict.reason === 'ChildRefused' || verdict.reason === 'FieldConflict';
  return {
    state: verdict.state,
    namespace: namespaceOf(tenant),
    message: verdict.message.slice(0, 1024),
    observedGeneration: generation,
    ...(hold ? { ...usage(observed.quota), jobs: observed.jobs, summary: summary(observed) } : {}),
    conditions,
  };
}

/** Whether a status says more than the stored one about anything but usage, so that it must not wait for its turn. */
export function isPressing(before: TenantStatus | undefined, after: TenantStatus): boolean {
  const lasting = ({ usage: _usage, jobs: _jobs, summary: _summary, ...rest }: TenantStatus): object => rest;
  return !deepEqual(lasting(before ?? {}), lasting(after));
}

/** Left out rather than empty: the API server makes null of a map that an apply empties, and refuses that. */
function usage(quota: ResourceQuotaObject | undefined): Pick<TenantStatus, 'usage'> {
  const resources = Object.entries(quota?.status?.hard ?? {});
  if (resources.length === 0) return {};
  return { usage: Object.fromEntries(resources.map(([resource, hard]) => [resource, { used: quota?.status?.used?.[resource] ?? '0', hard }])) };
}

function summary({ quota, jobs }: Observed): NonNullable<TenantStatus['summary']> {
  const gpus = Object.keys(quota?.status?.hard ?? {}).filter((resource) => resource.endsWith('/gpu'));
  const cpu = share(quota, ['requests.cpu', 'cpu', 'limits.cpu']);
  const memory = share(quota, ['requests.memory', 'memory', 'limits.memory']);
  const gpu = share(quota, gpus);
  return {
    ...(cpu === undefined ? {} : { cpu }),
    ...(memory === undefined ? {} : { memory }),
    ...(gpu === undefined ? {} : { gpu }),
    jobs: jobsText(jobs),
  };
}

/** `used/hard` of the first of these resources that the quota has. */
function share(quota: ResourceQuotaObject | undefined, resources: readonly string[]): string | undefined {
  const resource = resources.find((name) => quota?.status?.hard?.[name] !== undefined);
  if (resource === undefined) return undefined;
  return `${quota?.status?.used?.[resource] ?? '0'}/${quota?.status?.hard?.[resource] ?? ''}`;
}

function jobsText({ running, pending }: JobCounts): string {
  const parts = [...(running > 0 ? [`${running} running`] : []), ...(pending > 0 ? [`${pending} pending`] : [])];
  return parts.length === 0 ? '0' : parts.join(', ');
}
