import { createHash } from 'node:crypto';
import { idOf, linesOf, type Workload } from './workloads.ts';

const tolerance = 1e-5;

/**
 * The same check for every contestant: as many lines as items, the ids in the order of the input, and each row close to
 * that of the item run alone. Throws with the first difference.
 */
export function checkOutput(path: string, { kind, items, width, expected, model }: Workload): void {
  const ids = createHash('sha256');
  let count = 0;
  for (const line of linesOf(path)) {
    const { id, outputs } = JSON.parse(line) as { id: string; outputs: Record<string, number[]> };
    ids.update(`${id}\n`);
    const row = outputs[model.output];
    if (row?.length !== width) throw new Error(`${path}: "${id}" has ${row?.length ?? 'no'} outputs, expected ${width}`);
    for (const [at, value] of row.entries()) {
      const wanted = expected[count * width + at] as number;
      if (!(Math.abs(value - wanted) <= tolerance + tolerance * Math.abs(wanted))) throw new Error(`${path}: "${id}" has ${value} at ${at}, expected ${wanted}`);
    }
    count += 1;
  }
  if (count !== items) throw new Error(`${path}: ${count} results, expected ${items}`);
  const wanted = createHash('sha256');
  for (let index = 0; index < items; index++) wanted.update(`${idOf(kind, index)}\n`);
  if (ids.digest('hex') !== wanted.digest('hex')) throw new Error(`${path}: the ids are not those of the input in its order`);
}
