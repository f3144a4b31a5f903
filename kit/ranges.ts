/**
 * Sets of small non-negative integers as sorted, disjoint, non-adjacent inclusive intervals, written as batch/v1 writes
 * completed indexes: "0-11,13". Memory and text grow with the number of gaps, not with the number of members.
 */
export type Ranges = readonly (readonly [first: number, last: number])[];

/** Throws RangeError on anything that `formatRanges` could not have written. */
export function parseRanges(text: string): Ranges {
  if (text === '') return [];
  const ranges: [number, number][] = [];
  let next = 0;
  for (const part of text.split(',')) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? match?.[1]);
    if (!match || first < next || last < first) throw new RangeError(`"${text}" is not a list of ascending ranges such as "0-11,13"`);
    ranges.push([first, last]);
    next = last + 2;
  }
  return ranges;
}

export function formatRanges(ranges: Ranges): string {
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}

export function rangesOf(members: Iterable<number>): Ranges {
  const sorted = [...new Set(members)].sort((a, b) => a - b);
  const ranges: [number, number][] = [];
  for (const member of sorted) {
    const open = ranges.at(-1);
    if (open && open[1] + 1 === member) open[1] = member;
    else ranges.push([member, member]);
  }
  return ranges;
}

export function* membersOf(ranges: Ranges): Generator<number> {
  for (const [first, last] of ranges) for (let member = first; member <= last; member++) yield member;
}

export function countOf(ranges: Ranges): number {
  return ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
}

export function includes(ranges: Ranges, member: number): boolean {
  let low = 0;
  let high = ranges.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const [first, last] = ranges[middle] as readonly [number, number];
    if (member < first) high = middle - 1;
    else if (member > last) low = middle + 1;
    else return true;
  }
  return false;
}
