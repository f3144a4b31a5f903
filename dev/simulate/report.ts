import { type Measures, mean, quantile } from './measures.ts';
import type { Trace } from './trace.ts';

/** What was replayed, in a sentence. */
export function describe({ jobs, tenants, nodes }: Trace): string {
  const length = jobs.at(-1)?.arrivesAt ?? 0;
  return `${jobs.length} jobs of ${tenants.length} tenants that come within ${time(length)}, on ${nodes.length} nodes`;
}

/** One column for each policy. */
export function table(all: readonly Measures[]): string {
  const [first] = all;
  if (!first) return '';
  const row = (title: string, cell: (measures: Measures) => string): string[] => [title, ...all.map(cell)];
  const rows = [
    ['', ...all.map(({ policy }) => policy)],
    ...first.waits.flatMap(({ name }, index) => {
      const of = (measures: Measures): readonly number[] => measures.waits[index]?.sorted ?? [];
      return [
        row(`wait, ${name} priority: mean`, (measures) => time(mean(of(measures)))),
        ...[[0.5, 'median'], [0.9, 'p90'], [0.99, 'p99'], [1, 'longest']].map(([part, title]) => row(`- ${title}`, (measures) => time(quantile(of(measures), part as number)))),
        row('- until the first start, p99', ({ waits }) => time(quantile(waits[index]?.first ?? [], 0.99))),
        row('- at a time, p99', ({ waits }) => time(quantile(waits[index]?.longest ?? [], 0.99))),
      ];
    }),
    row('deadlines missed', ({ missed, deadlines }) => `${missed} of ${deadlines} (${percent(missed / Math.max(1, deadlines))})`),
    row("fairness (Jain's index)", ({ fairness }) => fairness.toFixed(3)),
    ...Object.keys(first.used).map((resource) => row(`utilisation, ${resource}`, ({ used }) => percent(used[resource] ?? 0))),
    row('arrival to end, mean', ({ meanTurnaroundMs }) => time(meanTurnaroundMs)),
    row('last job ends after', ({ endedAt }) => time(endedAt)),
    row('jobs suspended / workers taken', ({ suspensions, workersTaken }) => `${suspensions} / ${workersTaken}`),
    row('rounds of the scheduler', ({ rounds }) => String(rounds)),
    ...(all.some(({ stuck }) => stuck.length > 0) ? [row('never finished', ({ stuck }) => String(stuck.length))] : []),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(3, ...rows.map((cells) => (cells[column] ?? '').length))) ?? [];
  const line = (cells: readonly string[]): string => `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join(' | ')} |`;
  const rule = `|${widths.map((width, column) => (column === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  return [line(rows[0] as string[]), rule, ...rows.slice(1).map(line)].join('\n');
}

export interface Target {
  text: string;
  met: boolean;
}

/** What ours is meant to reach beside the others. */
export function targets(ours: Measures, strict: Measures, fifo: Measures): Target[] {
  const p99 = ({ waits }: Measures): number => quantile(waits.find(({ sorted }) => sorted.length > 0)?.sorted ?? [], 0.99);
  const { resource } = fifo.overTime;
  const [use, fifoUse] = [ours.used[resource] ?? 0, fifo.used[resource] ?? 0];
  return [
    { text: `deadlines missed: ${ours.missed}, at most half of ${strict.missed} with ${strict.policy}`, met: ours.missed <= strict.missed / 2 },
    { text: `p99 wait of the lowest class: ${time(p99(ours))}, at most a fifth of ${time(p99(strict))} with ${strict.policy}`, met: p99(ours) <= p99(strict) / 5 },
    { text: `utilisation of ${resource}: ${percent(use)}, within 2 % of ${percent(fifoUse)} with ${fifo.policy}`, met: use >= fifoUse * 0.98 },
  ];
}

export const percent = (part: number): string => `${(part * 100).toFixed(1)} %`;

/** "0 s", "45 s", "3 min 20 s", "2 h 5 min". */
export function time(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min${seconds % 60 === 0 ? '' : ` ${seconds % 60} s`}`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h${minutes % 60 === 0 ? '' : ` ${minutes % 60} min`}`;
}
