import { addTo, namesIn, timesIn, vector } from '../../operator/scheduler/resources.ts';
import type { Decision, Schedule } from '../../operator/scheduler/result.ts';
import type { JobState, Snapshot } from '../../operator/scheduler/snapshot.ts';
import { Events } from './events.ts';
import { advance, beginWork, busy, dismiss, endWait, hasSpare, type JobRun, newRun, nextChange, type Pod, stateOf } from './job-run.ts';
import type { Trace } from './trace.ts';

export type Scheduler = (snapshot: Snapshot, now: number) => Schedule;

/** News that come together are scheduled together. The operator gathers for 20 ms; this saves rounds and is little beside the waits. */
const GATHER_MS = 200;
/** As in the operator's loop: time itself is news to those who wait. */
const IDLE_MS = 5_000;
/** From when a worker is told to go until its node is free. */
const DRAIN_MS = 2_000;
/** When nothing has happened for so long, nothing will: longer than any wait that ends by itself. */
const GIVE_UP_MS = 6 * 3_600_000;

/** Called while time passes; for what is measured. */
export interface Watcher {
  /** `workers` of the job were busy from `from` to `to`. */
  worked?(run: JobRun, workers: number, from: number, to: number): void;
  /** A round was carried out. */
  scheduled?(cluster: Cluster, schedule: Schedule, now: number): void;
}

export interface Outcome {
  runs: readonly JobRun[];
  /** Rounds of the scheduler. */
  rounds: number;
  /** Jobs that never came to their end, with what was said of them last. */
  stuck: { key: string; message: string }[];
}

type Event = { kind: 'arrives' | 'paces'; run: JobRun; version: number } | { kind: 'works' | 'gone'; pod: Pod };

/** Replays a trace: time jumps from event to event, and a round of the scheduler follows on those that are news to it. */
export function replay(trace: Trace, scheduler: Scheduler, watcher: Watcher = {}): Outcome {
  return new Cluster(trace, scheduler, watcher).play();
}

export class Cluster {
  readonly trace: Trace;
  readonly runs: readonly JobRun[];
  /** Jobs that have come and are not done, in the order in which they came. */
  active: JobRun[] = [];
  readonly #scheduler: Scheduler;
  readonly #watcher: Watcher;
  readonly #events = new Events<Event>();
  readonly #resources;
  readonly #free: ReadonlyMap<string, Float64Array>;
  readonly #needs = new Map<JobRun, Float64Array>();
  readonly #finished = new Map<string, 'Complete'>();
  readonly #dependents = new Map<string, JobRun[]>();
  readonly #named: ReadonlySet<string>;
  /** Pods without a node, in the order in which they were made. */
  #unbound: Pod[] = [];
  #roundAt = Number.POSITIVE_INFINITY;
  #eventAt = 0;
  #rounds = 0;
  #last: readonly Decision[] = [];

  constructor(trace: Trace, scheduler: Scheduler, watcher: Watcher) {
    this.trace = trace;
    this.#scheduler = scheduler;
    this.#watcher = watcher;
    this.#resources = namesIn([...trace.nodes.map(({ allocatable }) => allocatable), ...trace.jobs.map(({ perWorker }) => perWorker)]);
    this.#free = new Map(trace.nodes.map(({ name, allocatable }) => [name, vector(this.#resources, allocatable)]));
    this.runs = trace.jobs.map(newRun);
    this.#named = new Set(trace.jobs.flatMap(({ dependsOn }) => dependsOn));
    for (const run of this.runs) {
      this.#needs.set(run, vector(this.#resources, run.job.perWorker));
      for (const key of run.job.dependsOn) this.#dependents.set(key, [...(this.#dependents.get(key) ?? []), run]);
      this.#events.add(run.job.arrivesAt, { kind: 'arrives', run, version: 0 });
    }
  }

  play(): Outcome {
    for (;;) {
      const at = this.#events.nextAt;
      if (at <= this.#roundAt) {
        if (at === Number.POSITIVE_INFINITY) break;
        this.#eventAt = at;
        this.#happen(this.#events.take(at) as Event, at);
      } else {
        if (at === Number.POSITIVE_INFINITY && this.#roundAt - this.#eventAt > GIVE_UP_MS) break;
        this.#round(this.#roundAt);
      }
    }
    const messages = new Map(this.#last.map(({ key, message }) => [key, message]));
    return { runs: this.runs, rounds: this.#rounds, stuck: this.active.map(({ job: { key } }) => ({ key, message: messages.get(key) ?? '' })) };
  }

  /** What is free of a node, by resource. */
  freeOf(node: string): Record<string, number> {
    const free = this.#free.get(node) ?? [];
    return Object.fromEntries(this.#resources.map((resource, index) => [resource, free[index] ?? 0]));
  }

  #happen(event: Event, now: number): void {
    switch (event.kind) {
      case 'arrives':
        this.active.push(event.run);
        if (this.#isReady(event.run)) event.run.waitingFrom = now;
        return this.#news(now);
      case 'paces':
        if (event.version !== event.run.version) return;
        this.#advance(event.run, now);
        if (event.run.left > 0) this.#foresee(event.run, now);
        else this.#finish(event.run, now);
        return event.run.plannedAt === now || hasSpare(event.run) || event.run.doneAt === now ? this.#news(now) : undefined;
      case 'works':
        if (event.pod.endingAt !== undefined) return;
        this.#advance(event.pod.run, now);
        beginWork(event.pod.run, now);
        return this.#foresee(event.pod.run, now);
      case 'gone':
        this.#vacate(event.pod);
        return this.#bind(now);
    }
  }

  #round(now: number): void {
    this.#rounds++;
    for (const run of this.active) if (run.pods.length > 0) this.#advance(run, now);
    const jobs = this.active.map((run) => stateOf(run, now));
    const schedule = this.#scheduler({ nodes: this.trace.nodes, tenants: this.trace.tenants, jobs, finished: this.#finished }, now);
    this.#last = schedule.decisions;
    for (const [index, decision] of schedule.decisions.entries()) this.#carryOut(this.active[index] as JobRun, decision, now);
    this.#bind(now);
    this.#watcher.scheduled?.(this, schedule, now);
    this.#roundAt = schedule.decisions.every((decision, index) => isContent(decision, jobs[index] as JobState)) ? Number.POSITIVE_INFINITY : now + IDLE_MS;
  }

  #carryOut(run: JobRun, { workers, remove, planned, held }: Decision, now: number): void {
    run.held = held;
    const before = run.pods.filter(({ endingAt }) => endingAt === undefined).length;
    if (remove.length > 0) {
      for (const index of remove) dismiss(run, run.pods[index] as Pod, now);
      const leaving = run.pods.filter(({ endingAt }) => endingAt === now);
      for (const pod of leaving) {
        if (pod.boundAt === undefined) this.#vacate(pod);
        else this.#events.add(now + DRAIN_MS, { kind: 'gone', pod });
      }
      if (workers === 0) {
        run.suspensions++;
        run.waitingFrom ??= now;
      }
      this.#foresee(run, now);
    }
    if (workers === 0 && before === 0) return;
    const unbound = run.pods.filter(({ boundAt, endingAt }) => boundAt === undefined && endingAt === undefined);
    for (let have = before - remove.length; have < workers; have++) {
      const pod: Pod = { run, node: undefined, boundAt: undefined, worksAt: undefined, endingAt: undefined };
      run.pods.push(pod);
      unbound.push(pod);
      this.#unbound.push(pod);
    }
    unbound.forEach((pod, index) => { pod.node = planned[index]; });
  }

  /** Pods get their node as soon as those that leave it are gone. */
  #bind(now: number): void {
    if (this.#unbound.length === 0) return;
    this.#unbound = this.#unbound.filter((pod) => {
      const { run, node } = pod;
      const free = this.#free.get(node ?? '');
      const need = this.#needs.get(run) as Float64Array;
      if (free === undefined || timesIn(free, need) < 1) return true;
      addTo(free, need, -1);
      pod.boundAt = now;
      pod.worksAt = now + run.job.startupMs;
      this.#events.add(pod.worksAt, { kind: 'works', pod });
      endWait(run, now);
      return false;
    });
  }

  #vacate(pod: Pod): void {
    const { run, node, boundAt } = pod;
    const at = run.pods.indexOf(pod);
    if (at < 0) return;
    run.pods.splice(at, 1);
    if (boundAt === undefined) this.#unbound = this.#unbound.filter((other) => other !== pod);
    else addTo(this.#free.get(node ?? '') as Float64Array, this.#needs.get(run) as Float64Array, 1);
  }

  #finish(run: JobRun, now: number): void {
    run.doneAt = now;
    run.version++;
    for (const pod of [...run.pods]) {
      pod.endingAt ??= now;
      this.#vacate(pod);
    }
    this.active = this.active.filter((other) => other !== run);
    if (this.#named.has(run.job.key)) this.#finished.set(run.job.key, 'Complete');
    for (const other of this.#dependents.get(run.job.key) ?? []) if (other.job.arrivesAt <= now && this.#isReady(other)) other.waitingFrom = now;
    this.#bind(now);
  }

  #isReady({ job }: JobRun): boolean {
    return job.dependsOn.every((key) => this.#finished.has(key));
  }

  #advance(run: JobRun, now: number): void {
    const from = run.updatedAt;
    const workers = busy(run, from);
    advance(run, now);
    if (workers > 0 && now > from) this.#watcher.worked?.(run, workers, from, now);
  }

  #foresee(run: JobRun, now: number): void {
    const at = nextChange(run, now);
    run.version++;
    if (at !== undefined) this.#events.add(at, { kind: 'paces', run, version: run.version });
  }

  #news(now: number): void {
    this.#roundAt = Math.min(this.#roundAt, now + GATHER_MS);
  }
}

/** It has all that it can have, or waits for something that is news when it comes. */
const isContent = ({ workers, reason, held }: Decision, { max, deadlineAt }: JobState): boolean =>
  (reason === 'Running' && workers === max && (deadlineAt === undefined || held.hurried)) || reason === 'WaitingForDependencies';
