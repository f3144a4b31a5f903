import type { Found, Probe } from './endpoint.ts';
import type { Prober } from './prober.ts';

export interface Source {
  name: string;
  prober: Prober;
  /** Own address to try from. */
  from?: string;
}

export interface Target {
  name: string;
  probe: Probe;
  /** What it must say, so that nobody else's answer is taken for it. */
  says?: string;
  /** Names of the sources that must reach it. No other that is asked may. */
  openTo: readonly string[];
  /** Names of the sources that are asked. */
  asked: readonly string[];
}

/** A cell that the cluster's network cannot hold to what NetworkPolicy says, for a reason that somebody has written down. */
export interface Deviation {
  sources: readonly string[];
  /** Beginning of the targets' names. */
  targets: string;
  found: 'open' | 'shut' | 'either';
  because: string;
}

export type Verdict = 'open' | 'shut' | `other: ${string}`;

export interface Cell {
  source: string;
  target: string;
  wanted: 'open' | 'shut' | 'either';
  found: Verdict;
}

/** `other` is an answer from somebody else, or a probe that went wrong: neither open nor shut. */
export function verdict(found: Found | undefined, says?: string): Verdict {
  if (found === undefined) return 'other: not asked';
  if ('failed' in found) return `other: ${found.failed}`;
  if (!found.open) return 'shut';
  const heard = Buffer.from(found.heard ?? '', 'base64').toString();
  return says === undefined || heard === says ? 'open' : `other: ${heard} answers`;
}

/** Tries everything at once, from everywhere. */
export async function sweep(sources: readonly Source[], targets: readonly Target[], deviations: readonly Deviation[], timeoutMs: number): Promise<Cell[]> {
  const rows = await Promise.all(
    sources.map(async ({ name, prober, from }) => {
      const asked = targets.filter((target) => target.asked.includes(name));
      const found = await prober.probe(asked.map(({ probe }) => ({ ...probe, ...(from === undefined ? {} : { from }) })), timeoutMs);
      return asked.map((target, i): Cell => {
        const deviation = deviations.find((one) => one.sources.includes(name) && target.name.startsWith(one.targets));
        const wanted = deviation?.found ?? (target.openTo.includes(name) ? 'open' : 'shut');
        return { source: name, target: target.name, wanted, found: verdict(found[i], target.says) };
      });
    }),
  );
  return rows.flat();
}

/**
 * Sweeps until everything is as it must be, since policies take seconds to hold, and then once more with more patience:
 * what is shut must be shut to those who wait longer, too.
 * @returns the last sweep, as it must be or not
 * @throws Error when a prober is gone
 */
export async function settledSweep(sources: readonly Source[], targets: readonly Target[], deviations: readonly Deviation[], limitMs: number, patienceMs = 3_000): Promise<Cell[]> {
  for (const deadline = performance.now() + limitMs; ; ) {
    const cells = await sweep(sources, targets, deviations, 1_000);
    if (complaints(cells).length === 0) return sweep(sources, targets, deviations, patienceMs);
    if (performance.now() > deadline) return cells;
  }
}

const holds = ({ wanted, found }: Cell): boolean => (wanted === 'either' ? !found.startsWith('other') : wanted === found);

/** What is not as it must be, one sentence each; a target that nobody reached proves nothing and is told too. */
export function complaints(cells: readonly Cell[]): string[] {
  const dead = [...new Set(cells.map(({ target }) => target))].filter((target) => !cells.some((cell) => cell.target === target && cell.found === 'open'));
  return [
    ...cells.filter((cell) => !holds(cell)).map(({ source, target, wanted, found }) => `${source} -> ${target}: must be ${wanted}, is ${found}`),
    ...dead.map((target) => `${target}: nobody reaches it, so that it is shut to others proves nothing`),
  ];
}

/** One line a target, one column a source. */
export function render(cells: readonly Cell[], order: readonly Target[], deviations: readonly Deviation[]): string {
  const sources = [...new Set(cells.map(({ source }) => source))];
  const targets = order.map(({ name }) => name);
  const width = Math.max(...targets.map(({ length }) => length));
  const sign = (cell: Cell | undefined): string => {
    if (cell === undefined) return '  ';
    const mark = cell.found === 'open' ? '+' : cell.found === 'shut' ? '-' : '?';
    const excused = deviations.some((one) => one.sources.includes(cell.source) && cell.target.startsWith(one.targets));
    return `${mark}${holds(cell) ? (excused ? '*' : ' ') : '!'}`;
  };
  const head = sources.map((source, i) => `${' '.repeat(width + 2)}${'|  '.repeat(i)}${source}`);
  const lines = targets.map((target) => `${target.padEnd(width)}  ${sources.map((source) => sign(cells.find((cell) => cell.source === source && cell.target === target))).join(' ')}`);
  const reasons = deviations.map(({ sources: from, targets: to, found, because }) => `* ${from.join(', ')} -> ${to}…: ${found}, because ${because}`);
  return [...head, ...lines, '', '+ reached, - shut, blank not asked, ! not as it must be, * as told below', ...reasons].join('\n');
}
