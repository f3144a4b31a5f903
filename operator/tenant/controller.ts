import type { Clock } from '../../kit/clock.ts';
import { labels } from '../api/names.ts';
import type { KubeClient } from '../kube/client.ts';
import { isNotFound } from '../kube/errors.ts';
import type { Informer } from '../kube/informer.ts';
import { kinds } from '../kube/kinds.ts';
import { type KubeObject, keyOf, type ObjectMeta, type Stored } from '../kube/object.ts';
import type { Change, ReadonlyStore } from '../kube/store.ts';
import type { Executed } from '../runtime/execute.ts';
import type { Outcome } from '../runtime/outcome.ts';
import type { Plan } from '../runtime/plan.ts';
import { childLabels } from './child.ts';
import type { Contests } from './contest.ts';
import { countJobs, namespaceOf, type NamespaceObject, type Observed, type ResourceQuotaObject, type StoredTenant, type TenantSettings } from './observe.ts';
import { contestsAfter, planTenant } from './plan.ts';

/** All but tenants and namespaces are indexed by `namespace`; tenants by `claim`, the namespace that they claim. */
export interface TenantCaches {
  tenants: ReadonlyStore<StoredTenant>;
  namespaces: ReadonlyStore<NamespaceObject>;
  quotas: ReadonlyStore<ResourceQuotaObject>;
  limitRanges: ReadonlyStore<KubeObject>;
  networkPolicies: ReadonlyStore<KubeObject>;
  serviceAccounts: ReadonlyStore<KubeObject>;
  roles: ReadonlyStore<KubeObject>;
  roleBindings: ReadonlyStore<KubeObject>;
  jobs: ReadonlyStore<KubeObject & { status?: { state?: string } }>;
  /** Pods with our label. */
  pods: ReadonlyStore<KubeObject & { status?: { phase?: string } }>;
}

export interface TenantDeps {
  caches: TenantCaches;
  client: Pick<KubeClient, 'get'>;
  clock: Clock;
  settings: TenantSettings;
  execute: (object: StoredTenant, plan: Plan, signal: AbortSignal) => Promise<Executed>;
  /** By UID of the Tenant; kept as long as the process runs. */
  contests: Map<string, Contests>;
}

/** observe → plan → execute for the Tenant of this name. */
export async function reconcileTenant(key: string, deps: TenantDeps, signal: AbortSignal): Promise<Outcome | Executed> {
  const tenant = deps.caches.tenants.get(key);
  if (tenant === undefined) return { kind: 'settled' };
  const { uid } = tenant.metadata;
  let observed = observe(tenant, deps.caches, deps.settings, deps.contests.get(uid));
  if (tenant.metadata.deletionTimestamp !== undefined) {
    // Whether the namespace is gone, and whose it is, must not be read from a cache that may be behind.
    const { namespace: _cached, ...rest } = observed;
    const fresh = await readNamespace(namespaceOf(tenant), deps.client, signal);
    observed = fresh === undefined ? rest : { ...rest, namespace: fresh };
  }
  const now = deps.clock.now();
  const executed = await deps.execute(tenant, planTenant(tenant, observed, now), signal);
  const contests = contestsAfter(tenant, observed, executed.changes, now);
  if (contests.size > 0) deps.contests.set(uid, contests);
  else deps.contests.delete(uid);
  return executed;
}

export function observe(tenant: StoredTenant, caches: TenantCaches, settings: TenantSettings, contests: Contests = new Map()): Observed {
  const name = namespaceOf(tenant);
  const namespace = caches.namespaces.get(name);
  const ours = Object.entries(childLabels(tenant));
  const children = CHILD_CACHES.flatMap((cache): Stored[] => caches[cache].byIndex('namespace', name)).filter(({ metadata }) =>
    ours.every(([label, value]) => metadata.labels?.[label] === value),
  );
  const quota = children.find((child): child is Stored<ResourceQuotaObject> => child.kind === 'ResourceQuota' && child.metadata.deletionTimestamp === undefined);
  return {
    ...(namespace === undefined ? {} : { namespace }),
    children,
    ...(quota === undefined ? {} : { quota }),
    jobs: countJobs(caches.jobs.byIndex('namespace', name).map((job) => job.status?.state)),
    liveWorkers: caches.pods.byIndex('namespace', name).filter(isLiveWorker).length,
    rivals: caches.tenants
      .byIndex('claim', name)
      .filter(({ metadata }) => metadata.uid !== tenant.metadata.uid && metadata.deletionTimestamp === undefined)
      .map(({ metadata }) => ({ name: metadata.name, uid: metadata.uid, creationTimestamp: metadata.creationTimestamp ?? '' })),
    contests,
    settings,
  };
}

const CHILD_CACHES = ['quotas', 'limitRanges', 'networkPolicies', 'serviceAccounts', 'roles', 'roleBindings'] as const;

function isLiveWorker({ metadata, status }: KubeObject & { status?: { phase?: string } }): boolean {
  return metadata.labels?.[labels.component] === 'worker' && status?.phase !== 'Succeeded' && status?.phase !== 'Failed';
}

async function readNamespace(name: string, client: TenantDeps['client'], signal: AbortSignal): Promise<Stored<NamespaceObject> | undefined> {
  try {
    return await client.get<NamespaceObject>(kinds.Namespace, { name }, { signal });
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** For `ExecuteContext.observed`: the cached state of what the plan applies. */
export function cachedChild(caches: TenantCaches): (object: KubeObject) => Stored | undefined {
  const stores: Record<string, ReadonlyStore<KubeObject>> = {
    Namespace: caches.namespaces,
    ResourceQuota: caches.quotas,
    LimitRange: caches.limitRanges,
    NetworkPolicy: caches.networkPolicies,
    ServiceAccount: caches.serviceAccounts,
    Role: caches.roles,
    RoleBinding: caches.roleBindings,
  };
  return (object) => stores[object.kind]?.get(keyOf(object.metadata));
}

export type TenantInformers = { [K in keyof TenantCaches]: TenantCaches[K] extends ReadonlyStore<infer T> ? Pick<Informer<T>, 'store' | 'onChange'> : never };

/** Which Tenants each watch event concerns: all that claim the namespace in which something changed. */
export function watchForTenants(informers: TenantInformers, enqueue: (key: string) => void): void {
  const { tenants, namespaces, jobs, pods } = informers;
  const claimants = (namespace: string): void => {
    for (const tenant of tenants.store.byIndex('claim', namespace)) enqueue(tenant.metadata.name);
  };
  tenants.onChange(({ type, object }) => {
    if (type !== 'delete') enqueue(object.metadata.name);
    // One that gives the namespace up makes way for the next.
    if (type !== 'update' || object.metadata.deletionTimestamp !== undefined) claimants(namespaceOf(object));
  });
  namespaces.onChange(({ object }) => claimants(object.metadata.name));
  const changed = ({ object }: { object: { metadata: ObjectMeta } }): void => claimants(object.metadata.namespace ?? '');
  for (const cache of CHILD_CACHES) (informers[cache] as Pick<Informer<KubeObject>, 'onChange'>).onChange(changed);
  jobs.onChange((change) => {
    if (change.type !== 'update' || change.old.status?.state !== change.object.status?.state) changed(change);
  });
  pods.onChange((change) => {
    if (endsLife(change)) changed(change);
  });
}

/** Only a Tenant that is being deleted waits for pods, and only for their end. */
function endsLife(change: Change<KubeObject & { status?: { phase?: string } }>): boolean {
  return change.type === 'delete' || (change.type === 'update' && isLiveWorker(change.old) && !isLiveWorker(change.object));
}
