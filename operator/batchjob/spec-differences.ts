import { sameQuantity } from '../api/quantity.ts';
import type { BatchJobSpec } from '../api/batchjob.gen.ts';

/**
 * Where two specs differ in what makes the result: all that the CRD does not let anybody change on a job that exists.
 * What may be changed (the size of the pool, priority, limits, suspension) makes no other job of it.
 * @returns paths such as `spec.input.volume.path`, in alphabetical order
 */
export function specDifferences(one: BatchJobSpec, other: BatchJobSpec): string[] {
  return differences(fixedParts(one), fixedParts(other), 'spec').sort();
}

function fixedParts({ model, input, output, sharding, batching, workers: { accelerator, resources } }: BatchJobSpec): object {
  return { model, input, output, sharding, batching, workers: { accelerator, resources } };
}

function differences(one: unknown, other: unknown, path: string): string[] {
  if (isMap(one) && isMap(other)) {
    return [...new Set([...Object.keys(one), ...Object.keys(other)])].flatMap((key) => differences(one[key], other[key], `${path}.${key}`));
  }
  return isSame(one, other, path) ? [] : [path];
}

function isSame(one: unknown, other: unknown, path: string): boolean {
  if (JSON.stringify(one) === JSON.stringify(other)) return true;
  return QUANTITIES.test(path) && isScalar(one) && isScalar(other) && sameQuantity(one, other);
}

const QUANTITIES = /^spec\.(workers\.resources|sharding\.targetBytes)/;
const isMap = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
const isScalar = (value: unknown): value is string | number => typeof value === 'string' || typeof value === 'number';
