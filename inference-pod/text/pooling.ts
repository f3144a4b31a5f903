import type { Elements } from '../engine/dtypes.ts';
import { ItemError } from '../engine/item-error.ts';
import type { Pooling } from './settings.ts';

/** What the model gave for a batch: of each text one vector, or one for each of `longest` tokens, all of `width` numbers. */
export interface Hidden {
  data: Elements;
  longest: number | undefined;
  width: number;
}

/** The embedding of the text in `row`, which has `tokens` tokens: of them alone, whatever fills up the row. Throws ItemError. */
export function poolRow({ data, longest, width }: Hidden, row: number, tokens: number, pooling: Pooling | undefined): Float64Array {
  const values = data as Float32Array;
  const sums = new Float64Array(width);
  const count = longest === undefined || pooling === 'cls' ? 1 : tokens;
  const start = row * (longest ?? 1) * width;
  for (let token = 0; token < count; token++) {
    const at = start + token * width;
    for (let i = 0; i < width; i++) sums[i] = (sums[i] as number) + (values[at + i] as number);
  }
  for (let i = 0; i < width; i++) {
    const value = (sums[i] as number) / count;
    if (!Number.isFinite(value)) throw new ItemError('NonFiniteOutput', `embedding: the model gave ${value}`);
    sums[i] = value;
  }
  return sums;
}

/** Below this a vector counts as zero, as with torch.nn.functional.normalize. */
const least = 1e-12;

/** The first `dimensions` numbers, of length 1 where that is wanted, in single precision. */
export function finish(vector: Float64Array, normalize: boolean, dimensions: number): Float32Array {
  const kept = vector.subarray(0, dimensions);
  if (!normalize) return Float32Array.from(kept);
  let squares = 0;
  for (const value of kept) squares += value * value;
  const length = Math.max(Math.sqrt(squares), least);
  return Float32Array.from(kept, (value) => value / length);
}
