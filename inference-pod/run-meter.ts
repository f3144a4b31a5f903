import type { WorkerRuns } from './contract.ts';
import type { RunTimes } from './reading/chunk.ts';
import { SlidingQuantiles } from './sliding-quantiles.ts';

/** How the model runs of one process went lately, over all its sessions. */
export class RunMeter {
  readonly #times = new SlidingQuantiles();
  #failures = 0;

  add({ ms, failuresInARow, anySucceeded }: RunTimes, now: number): void {
    for (const one of ms) this.#times.add(one, now);
    this.#failures = anySucceeded ? failuresInARow : this.#failures + failuresInARow;
  }

  /** Items in a row that the model refused, to the present. */
  get failuresInARow(): number {
    return this.#failures;
  }

  /** Undefined when there were no runs lately. */
  times(now: number): WorkerRuns | undefined {
    const [p50, p90, p99] = [0.5, 0.9, 0.99].map((share) => this.#times.at(share, now));
    if (p50 === undefined || p90 === undefined || p99 === undefined) return undefined;
    return { count: this.#times.count(now), p50, p90, p99 };
  }
}
