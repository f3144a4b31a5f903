import { parseTenant } from '../../../operator/api/parse.ts';
import type { KubeObject, ObjectMeta, Stored } from '../../../operator/kube/object.ts';
import type { ChangeSet, Plan } from '../../../operator/runtime/plan.ts';
import { childLabels } from '../../../operator/tenant/child.ts';
import { namespace } from '../../../operator/tenant/namespace.ts';
import type { NamespaceObject, Observed, StoredTenant } from '../../../operator/tenant/observe.ts';

export const NOW = Date.parse('2026-11-23T12:00:00Z');
export const CREATED = '2026-11-23T11:00:00Z';

export function aTenant(spec: object = {}, meta: Partial<ObjectMeta> = {}, status?: StoredTenant['status']): StoredTenant {
  const metadata = { name: 'acme', uid: 'uid-acme', resourceVersion: '7', generation: 1, creationTimestamp: CREATED, ...meta };
  const parsed = parseTenant({ apiVersion: 'millrace.dev/v1alpha1', kind: 'Tenant', metadata, spec });
  if (!parsed.ok) throw new Error(parsed.problems.join('; '));
  return { ...parsed.value, metadata, ...(status === undefined ? {} : { status }) };
}

export function observed(over: Partial<Observed> = {}): Observed {
  return {
    children: [],
    jobs: { pending: 0, running: 0, suspended: 0, complete: 0, failed: 0 },
    liveWorkers: 0,
    rivals: [],
    contests: new Map(),
    settings: { operatorNamespace: 'millrace-system', syncPort: 9443, operatorLabels: { 'app.kubernetes.io/name': 'millrace' } },
    ...over,
  };
}

export function stored<T extends KubeObject>(object: T, meta: Partial<ObjectMeta> = {}): Stored<T> {
  return { ...object, metadata: { uid: `uid-of-${object.metadata.name}`, resourceVersion: '3', ...object.metadata, ...meta } };
}

/** The namespace as the operator made it for this Tenant. */
export const ownNamespace = (tenant: StoredTenant, meta: Partial<ObjectMeta> = {}, status?: NamespaceObject['status']): Stored<NamespaceObject> => ({
  ...stored(namespace(tenant), meta),
  ...(status === undefined ? {} : { status }),
});

export const foreignNamespace = (name: string, meta: Partial<ObjectMeta> = {}): Stored<NamespaceObject> =>
  stored({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }, meta);

export const ownChild = (tenant: StoredTenant, apiVersion: string, kind: string, name: string): Stored =>
  stored({ apiVersion, kind, metadata: { name, namespace: 'tenant-acme', labels: childLabels(tenant) } });

export const changes = (over: Partial<ChangeSet> = {}): ChangeSet => ({ created: [], configured: [], unchanged: [], removed: [], refused: [], ...over });

/** What the plan would report if every write went through without a change. */
export const reportOf = (plan: Plan, over: Partial<ChangeSet> = {}): ReturnType<Plan['report']> => plan.report(changes(over));

export const statusOf = (plan: Plan, over: Partial<ChangeSet> = {}): NonNullable<StoredTenant['status']> =>
  reportOf(plan, over).status as NonNullable<StoredTenant['status']>;

export const names = (objects: readonly KubeObject[]): string[] => objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
