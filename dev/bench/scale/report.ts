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

  usage(when: string, pods: readonly { pod: string; rssMiB: number; cores: number; busiest: number }[], aimed: boolean): void {
    for (const { pod, rssMiB, cores, busiest } of pods) {
      this.add(`${pod} ${when}: CPU`, cores, aimed ? CORES : undefined, 'cores', `${number(busiest)} in its busiest interval`);
      this.add(`${pod} ${when}: resident`, rssMiB, RSS_MIB, 'MiB');
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
