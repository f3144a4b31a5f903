import type { JsonPatch } from '../kube/client.ts';
import type { KubeObject, Stored } from '../kube/object.ts';

interface ManagedFields {
  manager?: string;
  subresource?: string;
  fieldsV1?: Record<string, unknown>;
}

const NOT_CONTENT = new Set(['apiVersion', 'kind', 'metadata', 'status']);

/** What an object says, apart from its identity and its status. */
export function contentOf(object: KubeObject): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !NOT_CONTENT.has(key)));
}

/** Whether someone other than `manager` owns a field of the content, by the API server's own record. */
export function hasForeignFields(stored: Stored, manager: string): boolean {
  const { managedFields = [] } = stored.metadata as { managedFields?: ManagedFields[] };
  return managedFields.some(
    (entry) =>
      entry.manager !== manager &&
      (entry.subresource ?? '') === '' &&
      Object.keys(entry.fieldsV1 ?? {}).some((field) => field.startsWith('f:') && !NOT_CONTENT.has(field.slice(2))),
  );
}

/** Makes the content what is wanted and nothing else; it fails if anybody wrote since. */
export function rewriting(wanted: KubeObject, stored: Stored): JsonPatch {
  const content = contentOf(wanted);
  const extra = Object.keys(contentOf(stored)).filter((key) => !(key in content));
  return [
    { op: 'test', path: '/metadata/resourceVersion', value: stored.metadata.resourceVersion },
    ...Object.entries(content).map(([key, value]) => ({ op: 'add' as const, path: `/${key}`, value })),
    ...extra.map((key) => ({ op: 'remove' as const, path: `/${key}` })),
  ];
}
