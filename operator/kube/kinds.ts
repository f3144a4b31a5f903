/**
 * The one table of kinds: request paths, informers and the rules of the chart's roles come from it.
 *
 * Rules never hold a wildcard, nor `escalate`, `bind` or `impersonate`. Without these the API server lets the operator
 * write a tenant's owner Role only if the operator itself holds every verb in it, everywhere a tenant may be. That alone
 * (`grants`) is why its ClusterRole covers reading Secrets: it reads no tenant's Secret, has no informer for them, and
 * its own Secret is a matter of the `release` rules.
 */
export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete';

export interface Kind {
  apiVersion: string;
  kind: string;
  plural: string;
  namespaced: boolean;
  /** What the operator does itself, in the whole cluster; keys are '' for the resource and names of subresources. */
  cluster?: Readonly<Record<string, readonly Verb[]>>;
  /** What the operator does in its own namespace only. */
  release?: Readonly<Record<string, readonly Verb[]>>;
  /** What a tenant's owners may do in the tenant's namespace. */
  grants?: Readonly<Record<string, readonly Verb[]>>;
  /** May have an informer. */
  watched: boolean;
  /** Those that we apply are ours whole: a field that someone else adds is taken away, since it could open a fence. */
  whole?: true;
}

const READ = ['get', 'list', 'watch'] as const;
const EDIT = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete'] as const;
/** Server-side apply is `patch`, and `create` where the object is new. */
const MANAGE = ['get', 'list', 'watch', 'create', 'patch', 'delete'] as const;

export const kinds = {
  Tenant: {
    apiVersion: 'millrace.dev/v1alpha1',
    kind: 'Tenant',
    plural: 'tenants',
    namespaced: false,
    // `finalizers: update` is asked of whoever sets blockOwnerDeletion where OwnerReferencesPermissionEnforcement is on.
    cluster: { '': ['get', 'list', 'watch', 'patch'], status: ['patch'], finalizers: ['update'] },
    watched: true,
  },
  BatchJob: {
    apiVersion: 'millrace.dev/v1alpha1',
    kind: 'BatchJob',
    plural: 'batchjobs',
    namespaced: true,
    cluster: { '': ['get', 'list', 'watch', 'patch', 'delete'], status: ['patch'], finalizers: ['update'] },
    grants: { '': EDIT, status: ['get'], scale: ['get', 'update', 'patch'] },
    watched: true,
  },
  Namespace: {
    apiVersion: 'v1',
    kind: 'Namespace',
    plural: 'namespaces',
    namespaced: false,
    cluster: { '': MANAGE },
    watched: true,
  },
  ResourceQuota: {
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    plural: 'resourcequotas',
    namespaced: true,
    cluster: { '': MANAGE },
    grants: { '': READ },
    watched: true,
    whole: true,
  },
  LimitRange: {
    apiVersion: 'v1',
    kind: 'LimitRange',
    plural: 'limitranges',
    namespaced: true,
    cluster: { '': MANAGE },
    grants: { '': READ },
    watched: true,
    whole: true,
  },
  NetworkPolicy: {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    plural: 'networkpolicies',
    namespaced: true,
    cluster: { '': MANAGE },
    grants: { '': READ },
    watched: true,
    whole: true,
  },
  ServiceAccount: {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    plural: 'serviceaccounts',
    namespaced: true,
    cluster: { '': MANAGE },
    watched: true,
  },
  Role: {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'Role',
    plural: 'roles',
    namespaced: true,
    cluster: { '': MANAGE },
    watched: true,
    whole: true,
  },
  RoleBinding: {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    plural: 'rolebindings',
    namespaced: true,
    cluster: { '': MANAGE },
    watched: true,
    whole: true,
  },
  ConfigMap: {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    plural: 'configmaps',
    namespaced: true,
    // Read by name (a job's input) and written once per job; never listed, so that other people's stay out of memory.
    cluster: { '': ['get', 'create', 'patch', 'delete'] },
    grants: { '': EDIT },
    watched: false,
  },
  Secret: {
    apiVersion: 'v1',
    kind: 'Secret',
    plural: 'secrets',
    namespaced: true,
    release: { '': ['get', 'create', 'update', 'patch'] },
    grants: { '': EDIT },
    watched: false,
  },
  Pod: {
    apiVersion: 'v1',
    kind: 'Pod',
    plural: 'pods',
    namespaced: true,
    cluster: { '': ['get', 'list', 'watch', 'create', 'delete'] },
    grants: { '': READ, log: ['get'] },
    watched: true,
  },
  PersistentVolumeClaim: {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    plural: 'persistentvolumeclaims',
    namespaced: true,
    cluster: { '': READ },
    grants: { '': EDIT },
    watched: true,
  },
  PersistentVolume: {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    plural: 'persistentvolumes',
    namespaced: false,
    cluster: { '': READ },
    watched: true,
  },
  Node: { apiVersion: 'v1', kind: 'Node', plural: 'nodes', namespaced: false, cluster: { '': READ }, watched: true },
  Event: {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    plural: 'events',
    namespaced: true,
    cluster: { '': ['create', 'patch'] },
    grants: { '': READ },
    watched: false,
  },
  /** `kubectl describe` reads events through the older group. */
  CoreEvent: {
    apiVersion: 'v1',
    kind: 'Event',
    plural: 'events',
    namespaced: true,
    grants: { '': READ },
    watched: false,
  },
  Lease: {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    plural: 'leases',
    namespaced: true,
    release: { '': ['get', 'create', 'update'] },
    watched: false,
  },
  EndpointSlice: {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    plural: 'endpointslices',
    namespaced: true,
    release: { '': ['get', 'create', 'patch', 'update', 'delete'] },
    watched: false,
  },
  Service: {
    apiVersion: 'v1',
    kind: 'Service',
    plural: 'services',
    namespaced: true,
    release: { '': ['get'] },
    watched: false,
  },
  TokenReview: {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    plural: 'tokenreviews',
    namespaced: false,
    cluster: { '': ['create'] },
    watched: false,
  },
} as const satisfies Record<string, Kind>;

export type KindName = keyof typeof kinds;

const byGvk = new Map<string, Kind>(
  Object.values(kinds).map((kind: Kind) => [`${kind.apiVersion}/${kind.kind}`, kind]),
);

/** The table's row for an object. An unknown kind is a mistake of the program: its rules would be missing too. */
export function kindOf(object: { apiVersion: string; kind: string }): Kind {
  const kind = byGvk.get(`${object.apiVersion}/${object.kind}`);
  if (kind === undefined) throw new TypeError(`${object.apiVersion} ${object.kind} is not in the table of kinds`);
  return kind;
}

/** Path of a collection, or of one object when `name` is given. Without `namespace` a namespaced kind gives all namespaces. */
export function pathOf(
  kind: Kind,
  at: { namespace?: string | undefined; name?: string | undefined },
  subresource?: string,
): string {
  const root = kind.apiVersion.includes('/') ? `/apis/${kind.apiVersion}` : `/api/${kind.apiVersion}`;
  const scope = kind.namespaced && at.namespace !== undefined ? `/namespaces/${encodeURIComponent(at.namespace)}` : '';
  if (kind.namespaced && at.namespace === undefined && at.name !== undefined) {
    throw new TypeError(`${kind.kind} ${at.name}: a namespaced object needs its namespace`);
  }
  const name = at.name === undefined ? '' : `/${encodeURIComponent(at.name)}`;
  return `${root}${scope}/${kind.plural}${name}${subresource === undefined ? '' : `/${subresource}`}`;
}

/** A rule of a Role or ClusterRole. */
export interface PolicyRule {
  apiGroups: string[];
  resources: string[];
  verbs: Verb[];
}

function rulesOf(...parts: ('cluster' | 'release' | 'grants')[]): PolicyRule[] {
  const verbs = new Map<string, Set<Verb>>();
  for (const kind of Object.values<Kind>(kinds)) {
    const group = kind.apiVersion.includes('/') ? kind.apiVersion.slice(0, kind.apiVersion.indexOf('/')) : '';
    for (const part of parts) {
      for (const [subresource, list] of Object.entries(kind[part] ?? {})) {
        const key = `${group} ${kind.plural}${subresource === '' ? '' : `/${subresource}`}`;
        const known = verbs.get(key) ?? new Set<Verb>();
        for (const verb of list) known.add(verb);
        verbs.set(key, known);
      }
    }
  }
  const order: Verb[] = [...EDIT];
  return [...verbs].map(([key, set]) => {
    const [group = '', resource = ''] = key.split(' ');
    return { apiGroups: [group], resources: [resource], verbs: order.filter((verb) => set.has(verb)) };
  });
}

/** The operator's ClusterRole: its own needs and what it has to hold to grant it. */
export const clusterRules = (): PolicyRule[] => rulesOf('cluster', 'grants');
/** The operator's Role in its own namespace. */
export const releaseRules = (): PolicyRule[] => rulesOf('release');
/** The Role of a tenant's owners. */
export const grantRules = (): PolicyRule[] => rulesOf('grants');
