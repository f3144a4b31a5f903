import type { ApiObject } from '../api.ts';
import type { Caller } from './caller.ts';
import { pathOf, type Resource } from './resources.ts';

/** What moves by itself: status, and what the API server counts along with it. */
function still({ metadata, ...rest }: ApiObject & { status?: unknown; count?: unknown; lastTimestamp?: unknown }): object {
  const { resourceVersion: _version, managedFields: _fields, ...kept } = metadata as ApiObject['metadata'] & { managedFields?: unknown };
  const { status: _status, ...content } = rest;
  return { ...content, metadata: kept };
}

const busy = new Set(['events', 'events.k8s.io', 'leases', 'endpointslices', 'endpoints', 'pods']);

/**
 * Every object in these namespaces, and the namespaces and Tenants themselves, as far as they change only when somebody
 * changes them; pods by name and UID.
 */
export async function standing(caller: Caller, resources: readonly Resource[], namespaces: readonly string[]): Promise<Map<string, unknown>> {
  const found = new Map<string, unknown>();
  const listable = resources.filter(({ subresource, verbs }) => subresource === '' && verbs.includes('list'));
  const read = async (resource: Resource, namespace: string | undefined): Promise<void> => {
    const { status, body, text } = await caller.request('GET', pathOf(resource, namespace));
    if (status !== 200) throw new Error(`${pathOf(resource, namespace)} could not be listed: ${status} ${text}`);
    for (const object of (body as unknown as { items: ApiObject[] }).items) {
      if (namespace === undefined && resource.plural === 'namespaces' && !namespaces.includes(object.metadata.name)) continue;
      found.set(pathOf(resource, namespace, object.metadata.name), resource.plural === 'pods' ? object.metadata.uid : still(object));
    }
  };
  const inNamespaces = listable.filter(({ namespaced, group, plural }) => namespaced && (plural === 'pods' || (!busy.has(plural) && !busy.has(group))));
  const atLarge = listable.filter(({ namespaced, plural }) => !namespaced && ['namespaces', 'clusterroles', 'clusterrolebindings', 'persistentvolumes', 'validatingadmissionpolicies', 'validatingadmissionpolicybindings'].includes(plural));
  await Promise.all([...inNamespaces.flatMap((resource) => namespaces.map((namespace) => read(resource, namespace))), ...atLarge.map((resource) => read(resource, undefined))]);
  return found;
}
