import { JOB_CONTROLLER } from '../api/names.ts';
import { parseBatchJob } from '../api/parse.ts';
import type { Dispatcher } from '../dispatch/dispatcher.ts';
import type { Clock } from '../../kit/clock.ts';
import type { KubeClient } from '../kube/client.ts';
import { isNotFound } from '../kube/errors.ts';
import { kinds } from '../kube/kinds.ts';
import { keyOf, type KubeObject } from '../kube/object.ts';
import type { Executed } from '../runtime/execute.ts';
import { type Outcome, soonest } from '../runtime/outcome.ts';
import { OwnWrites } from '../runtime/own-writes.ts';
import type { Plan } from '../runtime/plan.ts';
import { type Caches, claimsOf, lostNodes, tenantOf } from './caches.ts';
import { type Demand, withPods } from './demand.ts';
import { type ConfigMapData, inputToCopy } from './input-copy.ts';
import type { Grant, InputCopy, Observed, StoredBatchJob, WorkerSettings } from './observe.ts';
import { planBatchJob } from './plan.ts';
import { keyIndex, type KeyRole, keyRole } from './idempotency-key.ts';
import { inputCopyName } from './pod.ts';
import { attemptOf, slotOf } from './pod-state.ts';
import { ledgerJob, savedProgress } from './saved-progress.ts';
import { isOver } from './state.ts';
import type { UnseenPods } from './unseen-pods.ts';

/** How often the status of a job is brought up to date while its ledger has no news. */
const QUIET_REFRESH_MS = 10_000;

export interface ReconcileDeps {
  caches: Caches;
  client: Pick<KubeClient, 'get'>;
  dispatcher: Dispatcher;
  unseen: UnseenPods;
  clock: Clock;
  settings: WorkerSettings;
  scheduling: { ask(uid: string, demand: Demand | undefined): void; grantOf(uid: string): Grant | undefined };
  execute: (object: StoredBatchJob, plan: Plan, signal: AbortSignal) => Promise<Executed>;
}

/** What this process remembers of a job beside the caches. Losing it costs a repeated event or a repeated read. */
interface Memory {
  inputCopied: boolean;
  refusal: Observed['refusal'];
  toldWarnings: Set<string>;
  /** The ledger as the status shows it, and when it was taken. It is taken anew when the ledger has news, not at every event. */
  snapshot: { at: number; ledger: NonNullable<Observed['ledger']> } | undefined;
  news: boolean;
  /** The generation whose spec was found to fit the schema, so that each is checked once. */
  checked: number;
}

/** observe → plan → execute for one BatchJob. */
export class BatchJobReconciler {
  readonly #deps: ReconcileDeps;
  readonly #memory = new Map<string, Memory>();
  readonly #written = new OwnWrites<StoredBatchJob>();
  /** UIDs of jobs that were given their idempotency key by this process: others must know before the status says so. */
  readonly #keyClaims = new Set<string>();

  constructor(deps: ReconcileDeps) {
    this.#deps = deps;
  }

  async reconcile(key: string, signal: AbortSignal): Promise<Outcome | Executed> {
    const { unseen, clock, execute } = this.#deps;
    const cached = this.#deps.caches.jobs.get(key);
    if (!cached) return { kind: 'settled' };
    const job = this.#written.freshest(cached);
    if ((job.spec.managedBy ?? JOB_CONTROLLER) !== JOB_CONTROLLER) {
      this.#deps.scheduling.ask(job.metadata.uid, undefined);
      return { kind: 'settled' };
    }
    const memory = this.#memoryOf(job);
    const problem = this.#misfit(job, memory);
    if (problem) {
      this.#deps.scheduling.ask(job.metadata.uid, undefined);
      return problem;
    }
    const observed = await this.#observe(job, memory, signal);
    const plan = planBatchJob(job, observed, clock.now());
    // Before the POST: the event about a pod, and about the quota that it uses, may come in before the answer to it.
    const pods = plan.create.filter(({ kind }) => kind === 'Pod');
    const ask = (beingMade: readonly KubeObject[]): void => this.#deps.scheduling.ask(job.metadata.uid, plan.demand && withPods(plan.demand, beingMade));
    const failed = (those: readonly KubeObject[]): void => {
      for (const pod of those) unseen.failed(pod);
      if (those.length > 0) ask(pods.filter((pod) => !those.includes(pod)));
    };
    ask(pods);
    for (const pod of pods) unseen.made(job.metadata.uid, pod, clock.monotonic());
    const executed = await execute(job, plan, signal).catch((error: unknown) => {
      failed(pods);
      throw error;
    });
    const made = new Set([...executed.changes.created, ...executed.changes.unchanged]);
    failed(pods.filter((pod) => !made.has(`Pod/${pod.metadata.name}`)));
    if (executed.object.metadata.resourceVersion !== job.metadata.resourceVersion) this.#written.wrote(executed.object as StoredBatchJob);
    memory.refusal = executed.changes.refused[0];
    for (const warning of observed.ledger?.progress.warnings ?? []) memory.toldWarnings.add(warning);
    // A rate that falls because nothing moves is no news to the ledger, but it is to whoever watches.
    const outcome = observed.ledger?.progress.workers.length ? soonest(executed.outcome, { kind: 'requeue', afterMs: QUIET_REFRESH_MS }) : executed.outcome;
    return { ...executed, outcome };
  }

  /** The ledger of this job has news for the status. */
  progressed(uid: string): void {
    const memory = this.#memory.get(uid);
    if (memory) memory.news = true;
  }

  /** The BatchJob is gone: its workers are told to leave, and nothing is remembered. */
  forget(uid: string): void {
    this.#memory.delete(uid);
    this.#written.forget(uid);
    this.#keyClaims.delete(uid);
    this.#deps.dispatcher.forget(uid);
    this.#deps.scheduling.ask(uid, undefined);
  }

  /** Whether a pod of this job was refused: a change of the quota is worth another try. */
  wasRefused(uid: string): boolean {
    return this.#memory.get(uid)?.refusal !== undefined;
  }

  #memoryOf(job: StoredBatchJob): Memory {
    const known = this.#memory.get(job.metadata.uid);
    if (known) return known;
    const memory: Memory = { inputCopied: false, refusal: undefined, toldWarnings: new Set(), snapshot: undefined, news: true, checked: -1 };
    this.#memory.set(job.metadata.uid, memory);
    return memory;
  }

  /** A stored object that the schema of this version does not take: the installed CRD is of another version. */
  #misfit(job: StoredBatchJob, memory: Memory): Outcome | undefined {
    if (memory.checked === job.metadata.generation) return undefined;
    const parsed = parseBatchJob({ apiVersion: job.apiVersion, kind: job.kind, metadata: { name: job.metadata.name }, spec: job.spec });
    if (!parsed.ok) {
      return { kind: 'stalled', reason: 'SchemaMismatch', message: `the stored object does not fit this operator's schema (${parsed.problems[0]}); install the CRD of the operator's version` };
    }
    memory.checked = job.metadata.generation ?? 0;
    return undefined;
  }

  async #observe(job: StoredBatchJob, memory: Memory, signal: AbortSignal): Promise<Observed> {
    const { caches, dispatcher, unseen, clock, settings } = this.#deps;
    const { uid, namespace = '' } = job.metadata;
    const tenant = tenantOf(namespace, caches);
    const made = unseen.of(uid, clock.monotonic()).filter(({ metadata }) => !caches.pods.get(keyOf(metadata)));
    const pods = [...caches.pods.byIndex('job', `${namespace}/${uid}`), ...made];
    const role = this.#keyRole(job);
    const stands = role === undefined || role.kind === 'first';
    if (isOver(job) || !stands) dispatcher.forget(uid);
    const grant = this.#deps.scheduling.grantOf(uid);
    if (tenant && !isOver(job) && stands) this.#openLedger(job, pods, grant);
    const ledger = this.#ledger(uid, memory);
    return {
      ...(tenant ? { tenant } : {}),
      pods,
      lostNodes: lostNodes(pods, caches.nodes),
      claims: claimsOf(job, caches.claims),
      inputCopy: isOver(job) || job.spec.suspend || !stands ? { kind: 'none' } : await this.#inputCopy(job, memory, signal),
      ...(ledger ? { ledger } : {}),
      ...(role ? { keyRole: role } : {}),
      ...(grant ? { grant } : {}),
      ...(memory.refusal ? { refusal: memory.refusal } : {}),
      toldWarnings: memory.toldWarnings,
      settings,
    };
  }

  /** A job that is first claims its key in the same turn of the event loop, before another one is looked at. */
  #keyRole(job: StoredBatchJob): KeyRole | undefined {
    const [key] = keyIndex(job);
    if (key === undefined) return undefined;
    const others = this.#deps.caches.jobs.byIndex('idempotencyKey', key).filter(({ metadata }) => metadata.uid !== job.metadata.uid);
    const role = keyRole(job, [job, ...others.map((other) => this.#written.freshest(other))], this.#keyClaims);
    if (role?.kind === 'first') this.#keyClaims.add(job.metadata.uid);
    return role;
  }

  /**
   * The ledger's progress, paced by its own news (once a second, changes of phase at once). Were it read at each event,
   * our own status write would be the event that brings the next one.
   */
  #ledger(uid: string, memory: Memory): Observed['ledger'] {
    const { dispatcher, clock } = this.#deps;
    if (!dispatcher.has(uid)) return undefined;
    const now = clock.monotonic();
    if (memory.news || !memory.snapshot || now - memory.snapshot.at >= QUIET_REFRESH_MS) {
      memory.news = false;
      const ledger = dispatcher.snapshot(uid);
      memory.snapshot = ledger && { at: now, ledger };
    }
    return memory.snapshot?.ledger;
  }

  /**
   * For a job that has workers, may have some now or had some: the thousands that wait for their first need none. A ledger
   * that is opened anew is told which of the workers in the status did not outlive the former leader.
   */
  #openLedger(job: StoredBatchJob, pods: Observed['pods'], grant: Grant | undefined): void {
    const { dispatcher } = this.#deps;
    const { uid } = job.metadata;
    const isNew = !dispatcher.has(uid);
    const saved = savedProgress(job);
    if (isNew && pods.length === 0 && !saved && (grant?.workers ?? 0) === 0) return;
    dispatcher.open(ledgerJob(job), saved);
    if (!isNew) return;
    const alive = new Set(pods.map((pod) => `${slotOf(pod)}/${attemptOf(pod)}`));
    for (const { slot, attempt } of job.status?.workers ?? []) {
      if (attempt !== undefined && !alive.has(`${slot}/${attempt}`)) dispatcher.workerGone(uid, slot, attempt);
    }
  }

  async #inputCopy(job: StoredBatchJob, memory: Memory, signal: AbortSignal): Promise<InputCopy> {
    const { inline, configMap, volume } = job.spec.input;
    if (volume) return { kind: 'none' };
    if (memory.inputCopied) return { kind: 'stored' };
    const copy = await this.#configMap(job, inputCopyName(job.metadata.name), signal);
    if (copy?.metadata.ownerReferences?.some(({ uid }) => uid === job.metadata.uid)) {
      memory.inputCopied = true;
      return { kind: 'stored' };
    }
    return inputToCopy(job, inline !== undefined || !configMap ? undefined : await this.#configMap(job, configMap.name, signal));
  }

  async #configMap(job: StoredBatchJob, name: string, signal: AbortSignal): Promise<(ConfigMapData & KubeObject) | undefined> {
    try {
      return await this.#deps.client.get<ConfigMapData & KubeObject>(kinds.ConfigMap, { namespace: job.metadata.namespace, name }, { signal });
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }
}
