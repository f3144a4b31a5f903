import type { JsonPatch } from '../kube/client.ts';
import { KubeError, isInvalid } from '../kube/errors.ts';
import type { ObjectMeta, Stored } from '../kube/object.ts';

/**
 * JSON patches on `metadata.finalizers`. They hold only for the very version that was looked at, so that a finalizer of
 * someone else is never overwritten; undefined when there is nothing to do.
 */
export function addFinalizer(meta: ObjectMeta, finalizer: string): JsonPatch | undefined {
  if (meta.finalizers?.includes(finalizer) === true) return undefined;
  // The API server refuses new finalizers on an object that is being deleted.
  if (meta.deletionTimestamp !== undefined) return undefined;
  return [
    { op: 'test', path: '/metadata/resourceVersion', value: meta.resourceVersion },
    meta.finalizers === undefined || meta.finalizers.length === 0
      ? { op: 'add', path: '/metadata/finalizers', value: [finalizer] }
      : { op: 'add', path: '/metadata/finalizers/-', value: finalizer },
  ];
}

export function removeFinalizer(meta: ObjectMeta, finalizer: string): JsonPatch | undefined {
  const index = meta.finalizers?.indexOf(finalizer) ?? -1;
  if (index === -1) return undefined;
  return [
    { op: 'test', path: '/metadata/resourceVersion', value: meta.resourceVersion },
    { op: 'test', path: `/metadata/finalizers/${index}`, value: finalizer },
    { op: 'remove', path: `/metadata/finalizers/${index}` },
  ];
}

/** A `test` that fails comes as 422 Invalid; for everyone else it is what it means: a conflict. */
export async function guarded<T extends Stored>(patch: () => Promise<T>): Promise<T> {
  try {
    return await patch();
  } catch (error) {
    if (!isInvalid(error)) throw error;
    throw new KubeError({
      code: 409,
      reason: 'Conflict',
      message: `the finalizers were not changed: ${error.detail}`,
      cause: error,
    });
  }
}
