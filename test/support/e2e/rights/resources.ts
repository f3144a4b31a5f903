import type { Caller } from './caller.ts';

/** A resource or subresource that the API server serves. */
export interface Resource {
  group: string;
  /** Of the version that was found first. */
  version: string;
  plural: string;
  /** Empty for the resource itself. */
  subresource: string;
  namespaced: boolean;
  /** Verbs that the API server answers. */
  verbs: readonly string[];
}

interface Discovery {
  items: {
    metadata?: { name?: string };
    versions: {
      version: string;
      resources?: { resource: string; scope: 'Namespaced' | 'Cluster'; verbs: string[]; subresources?: { subresource: string; verbs: string[] }[] }[];
    }[];
  }[];
}

const aggregated = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';

/** Everything that the API server serves, in all groups and versions, each resource once. */
export async function discover(caller: Caller): Promise<Resource[]> {
  const found = new Map<string, Resource>();
  for (const root of ['/api', '/apis']) {
    const { status, body, text } = await caller.request('GET', root, { accept: aggregated });
    if (status !== 200) throw new Error(`GET ${root}: ${status} ${text}`);
    for (const { metadata, versions } of (body as unknown as Discovery).items) {
      for (const { version, resources = [] } of versions) {
        for (const { resource: plural, scope, verbs, subresources = [] } of resources) {
          for (const part of [{ subresource: '', verbs }, ...subresources]) {
            const resource: Resource = { group: metadata?.name ?? '', version, plural, namespaced: scope === 'Namespaced', ...part };
            const name = nameOf(resource);
            if (!found.has(name)) found.set(name, resource);
          }
        }
      }
    }
  }
  return [...found.values()].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
}

/** Groups that are part of Kubernetes itself: the API server registers these, and no other, when it starts. */
export async function builtInGroups(caller: Caller): Promise<Set<string>> {
  const { status, body, text } = await caller.request('GET', '/apis/apiregistration.k8s.io/v1/apiservices?labelSelector=kube-aggregator.kubernetes.io%2Fautomanaged%3Donstart');
  if (status !== 200) throw new Error(`the groups of Kubernetes could not be listed: ${status} ${text}`);
  const services = (body as { items: { spec: { group?: string } }[] }).items;
  return new Set(services.map(({ spec }) => spec.group ?? '').concat('apiregistration.k8s.io'));
}

/** As in a rule of a role or on a command line: `pods/log`, `roles.rbac.authorization.k8s.io`. */
export const nameOf = ({ group, plural, subresource }: Pick<Resource, 'group' | 'plural' | 'subresource'>): string =>
  `${plural}${group === '' ? '' : `.${group}`}${subresource === '' ? '' : `/${subresource}`}`;

/** Path of the collection, of the object `name`, or of a subresource of it. */
export function pathOf({ group, version, plural, subresource }: Resource, namespace: string | undefined, name?: string): string {
  const root = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
  return [root, ...(namespace === undefined ? [] : ['namespaces', namespace]), plural, ...(name === undefined ? [] : [name]), ...(subresource === '' ? [] : [subresource])].join('/');
}
