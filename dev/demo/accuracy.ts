import { createReadStream, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { imageId, sampleFile } from './samples.ts';

export interface Tally {
  items: number;
  correct: number;
}
export interface Accuracy {
  all: Tally;
  /** Images that the model never saw in training. */
  heldOut: Tally;
}

/** Compares the digits in a results file with the known labels. */
export async function accuracyOf(resultsFile: string): Promise<Accuracy> {
  const labels = new Map(Object.entries(JSON.parse(readFileSync(sampleFile('data/digits.labels.json'), 'utf8')) as Record<string, { label: number; heldOut: boolean }>));
  const all = { items: 0, correct: 0 };
  const heldOut = { items: 0, correct: 0 };
  for await (const line of createInterface({ input: createReadStream(resultsFile), crlfDelay: Number.POSITIVE_INFINITY })) {
    const { id, outputs } = JSON.parse(line) as { id: string; outputs: { digit: number } };
    const known = labels.get(imageId(id));
    if (known === undefined) throw new Error(`${resultsFile} names the item ${id}, which is none of the sample`);
    const correct = outputs.digit === known.label ? 1 : 0;
    for (const tally of known.heldOut ? [all, heldOut] : [all]) {
      tally.items += 1;
      tally.correct += correct;
    }
  }
  return { all, heldOut };
}

export const percent = ({ items, correct }: Tally): string => (items === 0 ? 'no items' : `${((100 * correct) / items).toFixed(2)} % (${correct} of ${items})`);
