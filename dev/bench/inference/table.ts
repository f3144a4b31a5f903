import type { Usage } from './usage.ts';

export interface Row {
  name: string;
  runs: readonly Usage[];
  /** In place of figures. */
  missing?: string;
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
};

export const whole = (value: number): string => Math.round(value).toLocaleString('en');
const mebibytes = (bytes: number): string => `${whole(bytes / 2 ** 20)} MiB`;

/** Markdown: medians with ranges, and how many times as much the first row does per CPU-second. */
export function table(items: number, rows: readonly Row[]): string {
  const rate = ({ cpuSeconds }: Usage): number => items / cpuSeconds;
  const first = median((rows[0]?.runs ?? []).map(rate));
  const lines = rows.map(({ name, runs, missing }) => {
    if (missing !== undefined || runs.length === 0) return `| ${name} | missing: ${missing ?? 'no run'} | | | | |`;
    const rates = runs.map(rate);
    return `| ${name} | **${whole(median(rates))}** (${whole(Math.min(...rates))}–${whole(Math.max(...rates))}) | ${(first / median(rates)).toFixed(2)}× | ${median(runs.map(({ cpuSeconds }) => cpuSeconds)).toFixed(1)} s | ${whole(median(runs.map(({ wallSeconds }) => items / wallSeconds)))} | ${mebibytes(Math.max(...runs.map(({ peakBytes }) => peakBytes)))} |`;
  });
  return ['| | items per CPU-second: median (range) | Millrace does | CPU | items/s | largest process |', '|---|---|---|---|---|---|', ...lines].join('\n');
}
