export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

/** A scrape in the text format of Prometheus. */
export class Scrape {
  readonly #samples: readonly Sample[];

  constructor(samples: readonly Sample[]) {
    this.#samples = samples;
  }

  static parse(text: string): Scrape {
    const samples = text.split('\n').flatMap((line): Sample[] => {
      const match = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
      if (!match) return [];
      const labels = Object.fromEntries([...(match[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]));
      return [{ name: match[1] ?? '', labels, value: match[3] === '+Inf' ? Number.POSITIVE_INFINITY : Number(match[3]) }];
    });
    return new Scrape(samples);
  }

  /** Over all series of that name with these labels. */
  sum(name: string, labels: Record<string, string> = {}): number {
    return this.#samples
      .filter((sample) => sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
      .reduce((total, { value }) => total + value, 0);
  }

  /** What was counted of this metric since `before`, by the value of one label. */
  since(before: Scrape, name: string, label: string): Map<string, number> {
    const counts = new Map<string, number>();
    for (const sample of this.#samples) {
      if (sample.name !== name) continue;
      const by = sample.labels[label] ?? '';
      counts.set(by, (counts.get(by) ?? 0) + sample.value);
    }
    return new Map([...counts].map(([by, count]) => [by, count - before.sum(name, { [label]: by })]));
  }

  /** Upper bounds of a histogram's buckets, with how much of what came since `before` lies at or below each. */
  buckets(before: Scrape, name: string): { le: number; count: number }[] {
    return [...this.since(before, `${name}_bucket`, 'le')].map(([le, count]) => ({ le: le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le), count })).sort((a, b) => a.le - b.le);
  }
}

/** The upper bound of the bucket that holds the quantile: what is told is never better than what was. */
export function quantile(buckets: readonly { le: number; count: number }[], q: number): number {
  const all = buckets.at(-1)?.count ?? 0;
  return buckets.find(({ count }) => all > 0 && count >= all * q)?.le ?? Number.NaN;
}

export function percentile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * q) - 1)] ?? Number.NaN;
}
