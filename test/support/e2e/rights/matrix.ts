import { type Caller, forEach, type Subject } from './caller.ts';
import { nameOf, type Resource } from './resources.ts';

/** Where a right may hold. `namespace` is undefined for what is in none. */
export interface Scope {
  title: string;
  namespace: string | undefined;
}

/** One right to ask for. `name`: of one object; absent for all. */
export interface Question {
  group: string;
  plural: string;
  subresource: string;
  verb: string;
  name?: string;
}

/** The verbs of requests. */
export const verbs = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete', 'deletecollection'] as const;

const authentication = 'authentication.k8s.io';
const rbac = 'rbac.authorization.k8s.io';

/**
 * Rights that are no requests of their own: the verbs by which Kubernetes guards escalation, impersonation (constrained
 * impersonation too, KEP-5284) and the signing of certificates, and the subresources by which the kubelet guards its own API.
 */
const special: { group: string; plural: string; verbs: string[]; subresources?: string[]; name?: string; namespaced: boolean }[] = [
  ...['clusterroles', 'roles'].map((plural) => ({ group: rbac, plural, verbs: ['escalate', 'bind'], namespaced: plural === 'roles' })),
  { group: rbac, plural: 'clusterroles', name: 'cluster-admin', verbs: ['bind'], namespaced: true },
  ...['users', 'groups'].map((plural) => ({ group: '', plural, verbs: ['impersonate'], namespaced: false })),
  { group: '', plural: 'groups', name: 'system:masters', verbs: ['impersonate'], namespaced: false },
  { group: '', plural: 'serviceaccounts', verbs: ['impersonate'], namespaced: true },
  ...['uids', 'userextras'].map((plural) => ({ group: authentication, plural, verbs: ['impersonate', 'impersonate:user-info'], namespaced: false })),
  ...['users', 'groups'].map((plural) => ({ group: authentication, plural, verbs: ['impersonate:user-info'], namespaced: false })),
  { group: authentication, plural: 'serviceaccounts', verbs: ['impersonate:serviceaccount'], namespaced: true },
  { group: authentication, plural: 'nodes', verbs: ['impersonate:arbitrary-node', 'impersonate:associated-node'], namespaced: false },
  { group: 'certificates.k8s.io', plural: 'signers', verbs: ['approve', 'sign', 'attest'], namespaced: false },
  { group: '', plural: 'nodes', subresources: ['checkpoint', 'configz', 'healthz', 'log', 'metrics', 'pods', 'spec', 'stats'], verbs: ['get', 'create'], namespaced: false },
];

const urls = ['/', '/api', '/apis', '/configz', '/debug/pprof/', '/flagz', '/healthz', '/livez', '/logs', '/metrics', '/openapi/v3', '/openid/v1/jwks', '/readyz', '/statusz', '/version', '/.well-known/openid-configuration'];

/** Every verb on every resource, and the special rights, in a namespace or outside of all. */
export function questionsOf(resources: readonly Resource[], named: readonly NamedRule[], { namespace }: Scope): Question[] {
  const inNamespace = namespace !== undefined;
  const here = resources.filter(({ namespaced }) => namespaced === inNamespace);
  const plain = here.flatMap(({ group, plural, subresource }) => verbs.map((verb) => ({ group, plural, subresource, verb })));
  // Asked of whoever sets blockOwnerDeletion, where OwnerReferencesPermissionEnforcement is on; no request goes there.
  const finalizers = here.filter(({ subresource }) => subresource === '').map(({ group, plural }) => ({ group, plural, subresource: 'finalizers', verb: 'update' }));
  const extra = special.filter(({ namespaced }) => namespaced === inNamespace).flatMap(({ group, plural, verbs: list, subresources = [''], name }) =>
    subresources.flatMap((subresource) => list.map((verb) => ({ group, plural, subresource, verb, ...(name === undefined ? {} : { name }) }))));
  // Rights on one object of a name show up only when they are asked for by that name.
  const byName = named.filter((rule) => rule.namespace === namespace).flatMap(({ namespace: _, ...rule }) => verbs.map((verb) => ({ ...rule, verb })));
  return [...plain, ...finalizers, ...extra, ...byName];
}

/** An object that a rule names. */
export interface NamedRule {
  namespace: string | undefined;
  group: string;
  plural: string;
  subresource: string;
  name: string;
}

interface RoleList {
  items: { metadata: { name: string }; rules?: { apiGroups?: string[]; resources?: string[]; resourceNames?: string[] }[] }[];
}

/** Every object that a Role in these namespaces, or a ClusterRole that is not the system's own, names. */
export async function namedRules(caller: Caller, namespaces: readonly string[]): Promise<NamedRule[]> {
  const read = async (namespace: string | undefined): Promise<NamedRule[]> => {
    const path = namespace === undefined ? `/apis/${rbac}/v1/clusterroles` : `/apis/${rbac}/v1/namespaces/${namespace}/roles`;
    const { status, body, text } = await caller.request('GET', path);
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${text}`);
    const rules = (body as unknown as RoleList).items.filter(({ metadata }) => !metadata.name.startsWith('system:')).flatMap((role) => role.rules ?? []);
    return rules.flatMap(({ apiGroups = [], resources = [], resourceNames = [] }) =>
      apiGroups.flatMap((group) => resources.flatMap((resource) => {
        const [plural = '', subresource = ''] = resource.split('/');
        return resourceNames.map((name) => ({ namespace, group, plural, subresource, name }));
      })));
  };
  const found = (await Promise.all([undefined, ...namespaces].map(read))).flat();
  return [...new Map(found.map((rule) => [JSON.stringify(rule), rule])).values()];
}

/** What a subject may do: titles of scopes → resources (with the name, where it holds for one object only) → verbs. */
export type Rights = Map<string, Map<string, string[]>>;

const URLS = 'URLs that are no resources';

/** Asks the API server's authorizers for each right of a subject. @returns the allowed ones, and how many were asked for. */
export async function rightsOf(caller: Caller, subject: Subject, scopes: readonly Scope[], resources: readonly Resource[], named: readonly NamedRule[]): Promise<{ rights: Rights; asked: number }> {
  const allowed = new Set<string>();
  const rights: Rights = new Map();
  const keyOf = (scope: string, resource: string, verb: string): string => JSON.stringify([scope, resource, verb]);
  const ask = async (key: string, attributes: object): Promise<void> => {
    if (await isAllowed(caller, subject, attributes)) allowed.add(key);
  };
  const all: { scope: string; resource: string; verb: string; attributes: object }[] = scopes.flatMap((scope) =>
    questionsOf(resources, named, scope).map(({ plural, verb, group, subresource, name }) => ({
      scope: scope.title,
      resource: labelOf({ group, plural, subresource }, name),
      verb,
      attributes: { resourceAttributes: { verb, group, resource: plural, subresource, ...(name === undefined ? {} : { name }), ...(scope.namespace === undefined ? {} : { namespace: scope.namespace }) } },
    })));
  for (const path of urls) for (const verb of ['get', 'post']) all.push({ scope: URLS, resource: path, verb, attributes: { nonResourceAttributes: { path, verb } } });
  await forEach(all, ({ scope, resource, verb, attributes }) => ask(keyOf(scope, resource, verb), attributes));
  for (const { scope, resource, verb } of all) {
    const ofScope = rights.get(scope) ?? new Map<string, string[]>();
    rights.set(scope, ofScope);
    if (!allowed.has(keyOf(scope, resource, verb))) continue;
    const list = ofScope.get(resource) ?? [];
    if (!list.includes(verb)) ofScope.set(resource, [...list, verb]);
  }
  // What holds for all objects need not be told again for one.
  for (const ofScope of rights.values()) {
    for (const [resource, list] of ofScope) {
      const whole = ofScope.get(resource.replace(/ ".*"$/, ''));
      if (!resource.endsWith('"') || whole === undefined) continue;
      const more = list.filter((verb) => !whole.includes(verb));
      if (more.length === 0) ofScope.delete(resource);
      else ofScope.set(resource, more);
    }
  }
  return { rights, asked: all.length };
}

export const labelOf = (resource: Pick<Resource, 'group' | 'plural' | 'subresource'>, name?: string): string => `${nameOf(resource)}${name === undefined ? '' : ` "${name}"`}`;

async function isAllowed(caller: Caller, { user, groups = [] }: Subject, attributes: object): Promise<boolean> {
  const { status, body, text } = await caller.request('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', {
    body: { apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview', spec: { user, groups, ...attributes } },
  });
  const answer = (body as { status?: { allowed?: boolean; evaluationError?: string } }).status;
  if (status !== 201 || typeof answer?.allowed !== 'boolean') throw new Error(`no answer to ${JSON.stringify(attributes)}: ${status} ${text}`);
  return answer.allowed;
}

/** What `rights` has beyond `known`. */
export function beyond(rights: Rights, known: Rights): Rights {
  return new Map([...rights].map(([scope, resources]) => [
    scope,
    new Map([...resources].flatMap(([resource, list]): [string, string[]][] => {
      const more = list.filter((verb) => known.get(scope)?.get(resource)?.includes(verb) !== true);
      return more.length === 0 ? [] : [[resource, more]];
    })),
  ]));
}

/** The text of a golden file: a heading, then each scope with what is allowed in it. */
export function toText(heading: readonly string[], rights: Rights): string {
  const lines = heading.map((line) => `# ${line}`.trimEnd());
  const told = new Map<string, string>();
  for (const [scope, resources] of rights) {
    const sorted = [...resources].sort(([a], [b]) => (a < b ? -1 : 1));
    const width = Math.max(...sorted.map(([resource]) => resource.length));
    const text = sorted.map(([resource, list]) => `  ${resource.padEnd(width)}  ${list.join(' ')}`).join('\n');
    const same = told.get(text);
    lines.push('', scope, text === '' ? '  nothing' : same === undefined ? text : `  as ${same}`);
    if (same === undefined) told.set(text, scope);
  }
  return `${lines.join('\n')}\n`;
}
