import { priorityClass, priorityClasses } from '../../operator/scheduler/priority-class.ts';
import { addTo, namesIn, vector } from '../../operator/scheduler/resources.ts';
import type { Amounts } from '../../operator/scheduler/snapshot.ts';
import type { Cluster, Outcome, Scheduler } from './cluster.ts';
import { replay } from './cluster.ts';
import type { JobRun } from './job-run.ts';
import type { Trace } from './trace.ts';

export interface Measures {
  policy: string;
  jobs: number;
  stuck: Outcome['stuck'];
  rounds: number;
  /** Milliseconds of waiting, ascending, by class, lowest first. */
  waits: Waits[];
  /** Of the jobs with a deadline. */
  missed: number;
  deadlines: number;
  /** Jobs that lost all workers, and workers that others took. */
  suspensions: number;
  workersTaken: number;
  fairness: number;
  /** By resource: part of it on which work was done, until the last job came. */
  used: Record<string, number>;
  /** The same of the resource that is asked for most, by time. */
  overTime: { resource: string; everyMs: number; parts: readonly number[] };
  meanTurnaroundMs: number;
  endedAt: number;
}

export interface Waits {
  /** Of the class. */
  name: string;
  /** All the time in which a job could run and had no worker, also after it was suspended. */
  sorted: readonly number[];
  /** Until its first worker had a node. */
  first: readonly number[];
  /** The longest at a time. */
  longest: readonly number[];
}

const BUCKETS = 240;

/** Replays the trace and measures what comes of it. */
export function measure(trace: Trace, policy: string, scheduler: Scheduler): Measures {
  const lastArrival = trace.jobs.at(-1)?.arrivesAt ?? 0;
  const window = Math.max(1, lastArrival);
  const total = sumOf(trace.nodes.map(({ allocatable }) => allocatable));
  const resources = Object.keys(total).filter((resource) => resource !== 'pods' && resource !== 'memory' && (total[resource] ?? 0) > 0);
  const scarce = mostAsked(trace, resources, total);
  const used = new Map(resources.map((resource) => [resource, 0]));
  const everyMs = window / BUCKETS;
  const buckets = new Float64Array(BUCKETS);
  const fairness = new Fairness(trace, scarce, window);
  let workersTaken = 0;

  const outcome = replay(trace, scheduler, {
    worked({ job }, workers, from, to) {
      const until = Math.min(to, window);
      if (until <= from) return;
      for (const resource of resources) used.set(resource, (used.get(resource) ?? 0) + (job.perWorker[resource] ?? 0) * workers * (until - from));
      const each = (job.perWorker[scarce] ?? 0) * workers;
      if (each > 0) for (let at = from; at < until; ) {
        const bucket = Math.min(BUCKETS - 1, Math.floor(at / everyMs));
        const next = bucket === BUCKETS - 1 ? until : Math.min(until, (bucket + 1) * everyMs);
        buckets[bucket] = (buckets[bucket] as number) + each * (next - at);
        if (next <= at) break;
        at = next;
      }
    },
    scheduled(cluster, { victims }, now) {
      for (const { from, to } of victims) workersTaken += from - to;
      fairness.see(cluster, now);
    },
  });

  const done = outcome.runs.filter(({ doneAt }) => doneAt !== undefined);
  const due = outcome.runs.filter(({ job }) => job.deadlineAt !== undefined);
  return {
    policy, jobs: outcome.runs.length, stuck: outcome.stuck, rounds: outcome.rounds,
    waits: priorityClasses.map(({ name }): Waits => {
      const runs = outcome.runs.filter(({ job }) => priorityClass(job.priority) === name);
      const sorted = (of: (run: JobRun) => number): number[] => runs.map(of).sort((a, b) => a - b);
      return { name, sorted: sorted(({ waitedMs }) => waitedMs), first: sorted(({ firstWaitMs }) => firstWaitMs ?? 0), longest: sorted(({ longestWaitMs }) => longestWaitMs) };
    }),
    missed: due.filter(({ job, doneAt }) => doneAt === undefined || doneAt > (job.deadlineAt as number)).length,
    deadlines: due.length,
    suspensions: outcome.runs.reduce((sum, { suspensions }) => sum + suspensions, 0),
    workersTaken,
    fairness: fairness.index(),
    used: Object.fromEntries(resources.map((resource) => [resource, (used.get(resource) ?? 0) / ((total[resource] as number) * window)])),
    overTime: { resource: scarce, everyMs, parts: [...buckets].map((sum) => sum / ((total[scarce] as number) * everyMs)) },
    meanTurnaroundMs: done.reduce((sum, { doneAt, job }) => sum + (doneAt as number) - job.arrivesAt, 0) / Math.max(1, done.length),
    endedAt: Math.max(0, ...done.map(({ doneAt }) => doneAt as number)),
  };
}

/** The value below which that part lies: the nearest rank. */
export const quantile = (sorted: readonly number[], part: number): number => sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? 0;
export const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);

/** Jain's index: 1 when all have the same, 1/n when one of n has all. */
export function jain(values: readonly number[]): number {
  const sum = values.reduce((all, value) => all + value, 0);
  const squares = values.reduce((all, value) => all + value * value, 0);
  return squares === 0 ? 1 : (sum * sum) / (values.length * squares);
}

/**
 * Jain's index over the tenants that want more of the scarcest resource than they have and whose quota would let them, of
 * what they hold divided by their weight; the mean over the time in which there are at least two of those.
 */
class Fairness {
  readonly #trace: Trace;
  readonly #resource: string;
  readonly #until: number;
  #since = 0;
  #index: number | undefined;
  #sum = 0;
  #time = 0;

  constructor(trace: Trace, resource: string, until: number) {
    this.#trace = trace;
    this.#resource = resource;
    this.#until = until;
  }

  see({ active }: Cluster, now: number): void {
    this.#add(now);
    const has = new Map<string, number>();
    const wants = new Map<string, number>();
    for (const run of active) {
      const each = run.job.perWorker[this.#resource] ?? 0;
      if (each === 0 || (run.pods.length === 0 && run.waitingFrom === undefined)) continue;
      const workers = workersOf(run);
      has.set(run.job.tenant, (has.get(run.job.tenant) ?? 0) + each * workers);
      wants.set(run.job.tenant, (wants.get(run.job.tenant) ?? 0) + each * Math.max(workers, run.job.max));
    }
    const values = this.#trace.tenants.flatMap(({ name, weight, quota }) => {
      const held = has.get(name) ?? 0;
      const most = Math.min(wants.get(name) ?? 0, quota[`requests.${this.#resource}`] ?? Number.POSITIVE_INFINITY);
      return most > held ? [held / weight] : [];
    });
    this.#index = values.length < 2 ? undefined : jain(values);
  }

  index(): number {
    return this.#time === 0 ? 1 : this.#sum / this.#time;
  }

  #add(now: number): void {
    const time = Math.max(0, Math.min(now, this.#until) - this.#since);
    if (this.#index !== undefined) {
      this.#sum += this.#index * time;
      this.#time += time;
    }
    this.#since = Math.min(now, this.#until);
  }
}

const workersOf = ({ pods }: JobRun): number => pods.reduce((count, { boundAt, endingAt }) => count + Number(boundAt !== undefined && endingAt === undefined), 0);

function sumOf(list: readonly Amounts[]): Record<string, number> {
  const names = namesIn(list);
  const sum = new Float64Array(names.length);
  for (const amounts of list) addTo(sum, vector(names, amounts), 1);
  return Object.fromEntries(names.map((name, index) => [name, sum[index] as number]));
}

/** The resource of which all jobs together want the largest part. */
function mostAsked({ jobs }: Trace, resources: readonly string[], total: Amounts): string {
  const part = (resource: string): number => jobs.reduce((sum, { perWorker, items, rate }) => sum + (perWorker[resource] ?? 0) * (items / rate), 0) / (total[resource] as number);
  return resources.reduce((most, resource) => (part(resource) > part(most) ? resource : most), resources[0] ?? 'cpu');
}
