import type { LedgerProgress } from './progress.ts';

/** The ready-made texts of printer columns and of the command line. */

/** `61% (1097/1797)`; an estimated total is marked: `61% (1097/~1797)`. 100 % only when every item is done. */
export function progressText({ phase, plan, items }: Pick<LedgerProgress, 'phase' | 'plan' | 'items'>): string {
  if (!plan) return '0%';
  const done = items.succeeded + items.failed;
  const whole = phase === 'Finishing' || phase === 'Finished' || (items.exact && done >= items.total);
  const percent = whole ? 100 : Math.min(99, Math.floor((100 * done) / Math.max(1, items.total)));
  return `${percent}% (${done}/${items.exact ? '' : '~'}${Math.max(items.total, done)})`;
}

/** `412/s`, three significant digits; empty outside of `Running`. */
export function rateText({ phase, rate }: Pick<LedgerProgress, 'phase' | 'rate'>): string {
  if (phase !== 'Running') return '';
  return `${rate >= 1_000 ? Math.round(rate) : Number(rate.toPrecision(3))}/s`;
}

/** As kubectl prints ages: `2s`, `3m12s`, `4h5m`, `3d2h`; empty when unknown. */
export function etaText({ etaSeconds }: Pick<LedgerProgress, 'etaSeconds'>): string {
  if (etaSeconds === undefined) return '';
  const seconds = Math.ceil(Math.max(0, etaSeconds));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3_600) return pair(seconds, 60, 'm', 1, 's');
  if (seconds < 86_400) return pair(seconds, 3_600, 'h', 60, 'm');
  return pair(seconds, 86_400, 'd', 3_600, 'h');
}

function pair(seconds: number, big: number, bigUnit: string, small: number, smallUnit: string): string {
  const rest = Math.floor((seconds % big) / small);
  return `${Math.floor(seconds / big)}${bigUnit}${rest > 0 ? `${rest}${smallUnit}` : ''}`;
}
