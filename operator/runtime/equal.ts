const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Equality of JSON values; a field that is `undefined` is an absent one. */
export function deepEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, index) => deepEqual(item, b[index]));
  }
  if (!isRecord(a) || !isRecord(b)) return false;
  for (const key of Object.keys(a)) {
    if (!deepEqual(a[key], b[key])) return false;
  }
  return Object.keys(b).every((key) => b[key] === undefined || a[key] !== undefined);
}

/**
 * Whether every field of `wanted` has the same value in `stored`, which may have more. Lists have to hold the same
 * number of items in the same order, but each item may have more fields, as defaulting adds them.
 */
export function covers(stored: unknown, wanted: unknown): boolean {
  if (wanted === undefined || Object.is(stored, wanted)) return true;
  if (Array.isArray(wanted)) {
    return (
      Array.isArray(stored) &&
      stored.length === wanted.length &&
      wanted.every((item, index) => covers(stored[index], item))
    );
  }
  if (!isRecord(wanted) || !isRecord(stored)) return false;
  return Object.entries(wanted).every(([key, value]) => covers(stored[key], value));
}

/** JSON with sorted keys and without `undefined`: equal values give equal text. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    isRecord(part) ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))) : part,
  );
}
