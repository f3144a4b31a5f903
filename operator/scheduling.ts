import type { Clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { counter, gauge, histogram, type Registry } from '../kit/metrics.ts';
import type { Demand } from './batchjob/demand.ts';
import type { Grant } from './batchjob/observe.ts';
import { slotAndAttempt } from './batchjob/pod-state.ts';
import type { Informers } from './informers.ts';
import { isTrue } from './api/conditions.ts';
import { controllerOf, type Stored } from './kube/object.ts';
import { deepEqual } from './runtime/equal.ts';
import { isTenantQuota, type NodeObject, nodeState, tenantState } from './scheduler/observe.ts';
import { type Amounts, podRequests } from './scheduler/pod-requests.ts';
import { defaultPolicy, type Policy } from './scheduler/policy.ts';
import { priorityClass } from './scheduler/priority-class.ts';
import type { Decision } from './scheduler/result.ts';
import { schedule } from './scheduler/schedule.ts';
import type { Held, JobState, NodeState, Snapshot } from './scheduler/snapshot.ts';
import { namespaceOf } from './tenant/observe.ts';

/** News that come together are scheduled together. */
const GATHER_MS = 20;
/** Rounds take at most this part of the time: with ten thousand jobs, a new one is looked at within two rounds and a pause. */
const LOAD = 0.5;
/** Time itself is news to those who wait: they age, and deadlines come near. */
const IDLE_MS = 5_000;
/** A new leader waits this long at most for all jobs to have asked once, so that none is overtaken for being late. */
const HEARING_MS = 30_000;

export interface SchedulingDeps {
  informers: Pick<Informers, 'tenants' | 'jobs' | 'pods' | 'otherPods' | 'nodes' | 'quotas'>;
  clock: Clock;
  log: Log;
  registry: Registry;
  minRuntimeSeconds: number;
  pendingWorkers: number;
  /** Tells a worker to leave, over the sync that it holds open. Called before anything else comes of a decision. */
  leave: (jobUid: string, slot: number, attempt: number) => void;
  /** The job has another grant. `urgent`: it gets or loses workers, or waits for something else. */
  changed: (key: string, urgent: boolean) => void;
}

interface Entry {
  demand: Demand;
  /** What of the demand brings about a round; rates and counts do not. */
  shape: string;
  held: Held | undefined;
  grant: Grant | undefined;
}

/**
 * The scheduler's loop, on the leader only: collects what jobs ask for, runs the pure function over all of them, and tells
 * each job what it got. Who loses a worker is told in the same turn of the event loop, before anything is written.
 */
export class Scheduling {
  readonly #deps: SchedulingDeps;
  readonly #entries = new Map<string, Entry>();
  /** Requests of the pods on a node that are not workers, for nodes on which nothing changed since. */
  readonly #otherUse = new Map<string, Amounts>();
  /** What was made of each node, for as long as it stays as it is. */
  readonly #nodes = new Map<string, { node: Stored<NodeObject>; use: Amounts; state: NodeState | undefined }>();
  readonly #unheard: Set<string>;
  readonly #openedAt: number;
  readonly #metrics;
  readonly #policy: Policy;
  #timer: NodeJS.Timeout | undefined;
  #dueAt = Number.POSITIVE_INFINITY;
  #notBefore = 0;
  #closed = false;

  constructor(deps: SchedulingDeps) {
    this.#deps = deps;
    this.#openedAt = deps.clock.monotonic();
    this.#unheard = new Set(deps.informers.jobs.store.list().filter(({ status }) => !isTrue(status?.conditions, 'Complete') && !isTrue(status?.conditions, 'Failed')).map(({ metadata }) => metadata.uid));
    this.#metrics = schedulingMetrics(deps.registry);
    this.#metrics.unheard.set(this.#unheard.size);
    const minRuntimeMs = deps.minRuntimeSeconds * 1_000;
    this.#policy = { ...defaultPolicy, minRuntimeMs, minWorkerRuntimeMs: minRuntimeMs / 4, cooldownMs: minRuntimeMs / 4, pendingPerJob: deps.pendingWorkers };
    this.#watch();
    this.#plan(this.#unheard.size === 0 ? GATHER_MS : HEARING_MS);
  }

  /** Says what a job asks for now; undefined when it asks for nothing. */
  ask(uid: string, demand: Demand | undefined): void {
    const last = this.#hear(uid);
    const entry = this.#entries.get(uid);
    if (demand === undefined) {
      if (this.#entries.delete(uid) || last) this.#plan(GATHER_MS);
      return;
    }
    const shape = shapeOf(demand);
    this.#entries.set(uid, { demand, shape, held: entry?.held, grant: entry?.grant });
    if (entry?.shape !== shape || last) this.#plan(GATHER_MS);
  }

  /** True for the last of the jobs that were there when this process began to lead. */
  #hear(uid: string): boolean {
    if (!this.#unheard.delete(uid)) return false;
    this.#metrics.unheard.set(this.#unheard.size);
    if (this.#unheard.size > 0) return false;
    this.#deps.log.info({ jobs: this.#entries.size, tookMs: Math.round(this.#deps.clock.monotonic() - this.#openedAt) }, 'all jobs are known');
    return true;
  }

  grantOf(uid: string): Grant | undefined {
    return this.#entries.get(uid)?.grant;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #watch(): void {
    const { tenants, nodes, quotas, otherPods } = this.#deps.informers;
    const soon = (): void => this.#plan(GATHER_MS);
    // Our own status writes and heartbeats are no news.
    tenants.onChange((change) => {
      if (change.type !== 'update' || change.old.metadata.generation !== change.object.metadata.generation) soon();
    });
    quotas.onChange((change) => {
      if (change.type !== 'update' || !deepEqual(change.old.status, change.object.status)) soon();
    });
    nodes.onChange((change) => {
      if (change.type === 'delete') this.#nodes.delete(change.object.metadata.name);
      if (change.type !== 'update' || !deepEqual(nodeState(change.old, {}), nodeState(change.object, {}))) soon();
    });
    otherPods.onChange((change) => {
      const before = change.type === 'update' ? change.old.nodeName : undefined;
      const { nodeName } = change.object;
      if (change.type === 'update' && before === nodeName) return;
      for (const name of [before, nodeName]) if (name !== undefined && this.#otherUse.delete(name)) soon();
    });
  }

  /** A round in `afterMs`, unless one comes sooner. */
  #plan(afterMs: number): void {
    const now = this.#deps.clock.monotonic();
    if (this.#unheard.size > 0 && now - this.#openedAt < HEARING_MS) afterMs = Math.max(afterMs, this.#openedAt + HEARING_MS - now);
    const at = Math.max(now + afterMs, this.#notBefore);
    if (this.#closed || (this.#timer !== undefined && this.#dueAt <= at)) return;
    clearTimeout(this.#timer);
    this.#dueAt = at;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#dueAt = Number.POSITIVE_INFINITY;
      this.#round();
    }, at - now);
  }

  #round(): void {
    const { clock, log } = this.#deps;
    const started = clock.monotonic();
    const now = clock.now();
    const { decisions, victims } = schedule(this.#snapshot(), now, this.#policy);
    for (const { reason } of victims) this.#metrics.preemptions.inc({ reason });
    const dismissed = new Map(decisions.filter(({ remove }) => remove.length > 0).map((decision) => [decision.uid, this.#dismiss(decision, now)]));
    const tookMs = clock.monotonic() - started;
    this.#metrics.seconds.observe(tookMs / 1_000);
    this.#notBefore = clock.monotonic() + tookMs * (1 / LOAD - 1);
    if (decisions.length > 0) this.#plan(IDLE_MS);
    log.debug({ jobs: decisions.length, victims, tookMs: Math.round(tookMs) }, 'scheduled');
    // The answers to those that are dismissed go out in between.
    setImmediate(() => this.#takeAll(decisions, dismissed, now));
  }

  #takeAll(decisions: readonly Decision[], dismissed: ReadonlyMap<string, Grant['dismissed']>, now: number): void {
    const waiting = new Map<string, number>();
    for (const decision of decisions) {
      const entry = this.#entries.get(decision.uid);
      if (entry === undefined || this.#closed) continue;
      this.#take(entry, decision, dismissed.get(decision.uid) ?? stillDismissed(entry), now);
      const key = `${priorityClass(entry.demand.state.priority)} ${entry.demand.state.tenant}`;
      if (decision.workers === 0) waiting.set(key, (waiting.get(key) ?? 0) + 1);
    }
    this.#metrics.pending.reset();
    for (const [[priority = '', tenant = ''], jobs] of [...waiting].map(([key, jobs]) => [key.split(' '), jobs] as const)) this.#metrics.pending.set({ tenant, priority }, jobs);
  }

  /** Tells the workers that are to go. Returns all pods of the job that are on their way out, and since when. */
  #dismiss({ uid, remove }: Decision, now: number): Grant['dismissed'] {
    const entry = this.#entries.get(uid);
    const dismissed = new Map(entry && stillDismissed(entry));
    for (const index of remove) {
      const pod = entry?.demand.pods[index];
      if (pod === undefined || dismissed.has(pod)) continue;
      dismissed.set(pod, now);
      const { slot, attempt } = slotAndAttempt(pod);
      this.#deps.leave(uid, slot, attempt);
    }
    return dismissed;
  }

  #take(entry: Entry, decision: Decision, dismissed: Grant['dismissed'], now: number): void {
    const { demand, grant: before, held } = entry;
    const { workers, reason, message, limitedBy, position, startEstimate } = decision;
    entry.held = decision.held;
    entry.grant = { workers, dismissed, reason, message, ...(limitedBy === undefined ? {} : { limitedBy }), ...(position === undefined ? {} : { position }), ...(startEstimate === undefined ? {} : { startEstimate }) };
    if (decision.held.startedAt !== undefined && held?.startedAt === undefined) {
      this.#metrics.wait.observe((now - decision.held.waitingSince) / 1_000);
    }
    const urgent = before?.workers !== workers || before.reason !== reason || dismissed.size > before.dismissed.size;
    if (urgent || before?.message !== message || before.limitedBy !== limitedBy || before.position !== position || before.startEstimate !== startEstimate) this.#deps.changed(demand.state.key, urgent);
  }

  #snapshot(): Snapshot {
    const { informers } = this.#deps;
    const entries = [...this.#entries.values()];
    const jobs: JobState[] = entries.map(({ demand, held, grant }) => ({
      ...demand.state,
      workers: demand.state.workers.map((worker, index) => {
        const since = grant?.dismissed.get(demand.pods[index] ?? '');
        return since === undefined || worker.endingAt !== undefined ? worker : { ...worker, endingAt: since };
      }),
      held,
    }));
    const byTenant = Map.groupBy(jobs.filter(({ workers, externallyAdmitted }) => workers.length > 0 && !externallyAdmitted), ({ tenant }) => tenant);
    const unlisted = this.#useOfUnlisted();
    return {
      jobs,
      tenants: informers.tenants.store.list().map((tenant) => {
        const quota = informers.quotas.store.byIndex('namespace', namespaceOf(tenant)).find(isTenantQuota);
        return tenantState(tenant, quota, byTenant.get(tenant.metadata.name) ?? []);
      }),
      nodes: informers.nodes.store.list().flatMap((node) => {
        const state = this.#nodeState(node, unlisted.get(node.metadata.name));
        return state === undefined ? [] : [state];
      }),
      ...this.#dependencies(jobs),
    };
  }

  #nodeState(node: Stored<NodeObject>, unlisted: Amounts | undefined): NodeState | undefined {
    const { name } = node.metadata;
    const use = sum(this.#useOf(name), unlisted);
    const known = this.#nodes.get(name);
    if (known?.node === node && known.use === use) return known.state;
    const state = nodeState(node, use);
    this.#nodes.set(name, { node, use, state });
    return state;
  }

  #useOf(node: string): Amounts {
    const known = this.#otherUse.get(node);
    if (known !== undefined) return known;
    const use = this.#deps.informers.otherPods.store.byIndex('node', node).reduce<Amounts>((total, { requests }) => sum(total, requests), {});
    this.#otherUse.set(node, use);
    return use;
  }

  /** Workers of jobs that ask for nothing any more take room until they are gone, and those that Kueue admitted as long as they are there. */
  #useOfUnlisted(): Map<string, Amounts> {
    const use = new Map<string, Amounts>();
    for (const pod of this.#deps.informers.pods.store.values()) {
      const node = pod.spec?.nodeName;
      const phase = pod.status?.phase;
      const owner = controllerOf(pod.metadata);
      const state = this.#entries.get(owner?.uid ?? '')?.demand.state;
      const isListed = state?.key === `${pod.metadata.namespace}/${owner?.name}` && !state.externallyAdmitted;
      if (node === undefined || phase === 'Succeeded' || phase === 'Failed' || isListed) continue;
      use.set(node, sum(use.get(node) ?? {}, podRequests(pod)));
    }
    return use;
  }

  #dependencies(jobs: readonly JobState[]): Pick<Snapshot, 'finished' | 'idle'> {
    const finished = new Map<string, 'Complete' | 'Failed'>();
    const idle = new Set<string>();
    for (const key of new Set(jobs.flatMap(({ dependsOn }) => dependsOn))) {
      const job = this.#deps.informers.jobs.store.get(key);
      if (isTrue(job?.status?.conditions, 'Complete')) finished.set(key, 'Complete');
      else if (isTrue(job?.status?.conditions, 'Failed')) finished.set(key, 'Failed');
      else if (job && !this.#entries.has(job.metadata.uid)) idle.add(key);
    }
    return { finished, idle };
  }
}

const stillDismissed = ({ demand, grant }: Entry): Grant['dismissed'] => new Map([...(grant?.dismissed ?? [])].filter(([pod]) => demand.pods.includes(pod)));

function shapeOf({ state, pods }: Demand): string {
  const { ratePerWorker: _rate, itemsLeft: _left, lastCheckpointAt: _checkpoint, ...shape } = state;
  return JSON.stringify([shape, pods]);
}

function sum(a: Amounts, b: Amounts | undefined): Amounts {
  if (b === undefined) return a;
  const total: Record<string, number> = { ...a };
  for (const [resource, amount] of Object.entries(b)) total[resource] = (total[resource] ?? 0) + amount;
  return total;
}

function schedulingMetrics(registry: Registry) {
  return {
    seconds: histogram(registry, { name: 'millrace_scheduling_duration_seconds', help: 'Time of one round of the scheduler, in seconds.', buckets: [0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1] }),
    wait: histogram(registry, { name: 'millrace_job_wait_seconds', help: 'Time from when a job could run until it got its first workers, in seconds.', buckets: [0.1, 1, 5, 30, 60, 300, 1_800, 7_200, 43_200] }),
    pending: gauge(registry, { name: 'millrace_jobs_waiting', help: 'Jobs without workers, by tenant and class of priority: low, normal from 334, high from 667.', labels: ['tenant', 'priority'] }),
    unheard: gauge(registry, { name: 'millrace_jobs_unheard', help: 'Jobs that were there when this process began to lead and that it has not looked at yet.' }),
    preemptions: counter(registry, { name: 'millrace_preemptions_total', help: 'Jobs that lost workers to another one, by what gave it the right.', labels: ['reason'] }),
  };
}
