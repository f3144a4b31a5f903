import type { Usage } from './operator.ts';

interface Row {
  what: string;
  got: number;
  target: number | undefined;
  unit: string;
  note: string;
}

const RSS_MIB = 600 * 1e6 / 2 ** 20;
const CORES = 1;

/** What was measured, beside what was aimed at. */
export class Report {
  readonly #rows: Row[] = [];

  /** Prints it at once too. @param target the most that it may be */
  add(what: string, got: number, target: number | undefined, unit: string, note = ''): void {
    const row: Row = { what, got, target, unit, note };
    this.#rows.push(row);
    console.log(`  ${line(row)}`);
  }

  usage(when: string, leader: string, replicas: readonly Usage[]): void {
    for (const { replica, rssMiB, cores } of replicas) {
      const who = replica === leader ? 'leader' : 'standby';
      this.add(`${who} ${when}: CPU, mean`, cores, CORES, 'cores');
      this.add(`${who} ${when}: resident at most`, rssMiB, RSS_MIB, 'MiB');
    }
  }

  missed(): number {
    return this.#rows.filter(({ got, target }) => target !== undefined && !(got <= target)).length;
  }

  text(): string {
    return this.#rows.map(line).join('\n');
  }
}

const number = (value: number): string => (Number.isInteger(value) ? `${value}` : value.toFixed(value < 10 ? 2 : 0));

function line({ what, got, target, unit, note }: Row): string {
  const aim = target === undefined ? '' : ` (target ${number(target)}, ${got <= target ? 'met' : 'MISSED'})`;
  return `${what.padEnd(62)} ${number(got).padStart(8)} ${unit.padEnd(5)}${aim}${note === '' ? '' : `  ${note}`}`;
}
