import type { BatchJobSpec, BatchJobStatus } from '../../operator/api/batchjob.gen.ts';
import type { Condition } from '../../operator/api/conditions.ts';
import { API_VERSION, kueue, labels, MANAGED_BY, WORKER_CONTAINER } from '../../operator/api/names.ts';
import { parseBatchJob } from '../../operator/api/parse.ts';
import type {
  ClaimView, ContainerState, ContainerStatus, Grant, InputCopy, Observed, StoredBatchJob, TenantView, WorkerPod, WorkerSettings,
} from '../../operator/batchjob/observe.ts';
import { podName } from '../../operator/batchjob/pod-state.ts';
import type { LedgerProgress, WorkerProgress } from '../../operator/dispatch/progress.ts';
import type { SavedProgress } from '../../operator/dispatch/state.ts';
import type { ObjectMeta, Stored } from '../../operator/kube/object.ts';

/** The clock of the tests: whole seconds, so that timestamps read back equal. */
export const NOW = Date.parse('2026-06-01T12:00:00Z');
export const at = (secondsFromNow: number): string => new Date(NOW + secondsFromNow * 1000).toISOString().replace(/\.\d+Z$/, 'Z');

type Patch<T> = { [K in keyof T]?: T[K] extends object | undefined ? Patch<T[K]> : T[K] };

function merged<T>(base: T, patch: Patch<T>): T {
  const out = { ...base } as Record<string, unknown>;
  for (const [key, value] of Object.entries(patch as Record<string, unknown>)) {
    const old = out[key];
    const both = [old, value].every((part) => typeof part === 'object' && part !== null && !Array.isArray(part));
    out[key] = both ? merged(old as object, value as object) : value;
    if (value === undefined) delete out[key];
  }
  return out as T;
}

/** A BatchJob as the API server stores it: defaults filled in from the CRD. On one ReadWriteMany claim unless changed. */
export function aBatchJob(): BatchJobBuilder {
  return new BatchJobBuilder();
}

export class BatchJobBuilder {
  #spec: unknown = {
    model: { image: 'registry.example/digits:v3' },
    input: { volume: { claimName: 'data', path: 'in.jsonl' } },
    output: { volume: { claimName: 'data', path: 'out' } },
    workers: { max: 2 },
  };
  #metadata: ObjectMeta = { name: 'digits', namespace: 'acme', uid: 'job-uid', resourceVersion: '1', generation: 1, creationTimestamp: at(-60) };
  #status: BatchJobStatus | undefined;

  named(name: string): this {
    this.#metadata = { ...this.#metadata, name };
    return this;
  }

  /** An own UID too, and its place in time among others. */
  numbered(uid: string, secondsFromNow: number): this {
    this.#metadata = { ...this.#metadata, uid, creationTimestamp: at(secondsFromNow) };
    return this;
  }

  with(patch: Patch<BatchJobSpec>): this {
    this.#spec = merged(this.#spec, patch as object);
    return this;
  }

  workers(max: number): this {
    return this.with({ workers: { max } });
  }

  suspended(): this {
    return this.with({ suspend: true });
  }

  inline(text: string): this {
    return this.with({ input: { volume: undefined, inline: text } as object });
  }

  beingDeleted(): this {
    this.#metadata = { ...this.#metadata, deletionTimestamp: at(0) };
    return this;
  }

  status(status: BatchJobStatus): this {
    this.#status = { ...this.#status, ...status };
    return this;
  }

  condition(type: string, status: Condition['status'] = 'True', more: Partial<Condition> = {}): this {
    const condition: Condition = { type, status, reason: 'Test', message: 'set by a test', lastTransitionTime: at(0), observedGeneration: 1, ...more };
    return this.status({ conditions: [...(this.#status?.conditions ?? []), condition] });
  }

  build(): StoredBatchJob {
    const parsed = parseBatchJob({ apiVersion: API_VERSION, kind: 'BatchJob', metadata: this.#metadata, spec: this.#spec, ...(this.#status && { status: this.#status }) });
    if (!parsed.ok) throw new Error(parsed.problems.join('\n'));
    return parsed.value as StoredBatchJob;
  }
}

/** The worker pod of a slot and attempt of `digits`; pending until something else is said. */
export function aWorkerPod(slot = 0, attempt = 0): WorkerPodBuilder {
  return new WorkerPodBuilder(slot, attempt);
}

export class WorkerPodBuilder {
  readonly #pod: Stored<WorkerPod>;

  constructor(slot: number, attempt: number) {
    const name = podName('digits', slot, attempt);
    this.#pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name, namespace: 'acme', uid: `uid-of-${name}`, resourceVersion: '1', creationTimestamp: at(-120),
        labels: { [labels.managedBy]: MANAGED_BY, [labels.jobUid]: 'job-uid', [labels.slot]: `${slot}`, [labels.attempt]: `${attempt}` },
      },
      status: { phase: 'Pending' },
    };
  }

  born(secondsFromNow: number): this {
    this.#pod.metadata.creationTimestamp = at(secondsFromNow);
    return this;
  }

  on(node: string, sinceSeconds = -1): this {
    this.#pod.spec = { nodeName: node };
    return this.podCondition({ type: 'PodScheduled', status: 'True', lastTransitionTime: at(sinceSeconds) });
  }

  /** Held back by Kueue; `noticed`: Kueue has marked it as its own. */
  gated(noticed = true): this {
    this.#pod.spec = { ...this.#pod.spec, schedulingGates: [{ name: kueue.gate }] };
    this.#pod.metadata.labels = { ...this.#pod.metadata.labels, [kueue.queueLabel]: 'team', ...(noticed ? { [kueue.managedLabel]: 'true' } : {}) };
    return this.podCondition({ type: 'PodScheduled', status: 'False', reason: 'SchedulingGated', message: 'Scheduling is blocked due to non-empty scheduling gates' });
  }

  /** Made by the operator, not shown by the cache yet. */
  unseen(): this {
    this.#pod.metadata.uid = '';
    return this;
  }

  running(): this {
    this.#pod.status = { ...this.#pod.status, phase: 'Running' };
    return this.container({ ready: true, state: { running: { startedAt: at(-60) } } });
  }

  phase(phase: 'Pending' | 'Running' | 'Succeeded' | 'Failed'): this {
    this.#pod.status = { ...this.#pod.status, phase };
    return this;
  }

  beingDeleted(): this {
    this.#pod.metadata.deletionTimestamp = at(-1);
    return this;
  }

  waiting(reason: string, message?: string): this {
    return this.container({ state: { waiting: { reason, ...(message === undefined ? {} : { message }) } } });
  }

  /** How its process ended: now, if the pod is terminal, else before the present run. */
  ended(exitCode: number, more: Partial<NonNullable<ContainerState['terminated']>> = {}): this {
    const terminated = { exitCode, startedAt: at(-30), finishedAt: at(-1), ...more };
    const over = this.#pod.status?.phase === 'Succeeded' || this.#pod.status?.phase === 'Failed';
    return this.container(over ? { state: { terminated } } : { lastState: { terminated }, restartCount: 1 });
  }

  podCondition(condition: { type: string; status: string; reason?: string; message?: string; lastTransitionTime?: string }): this {
    const others = this.#pod.status?.conditions?.filter(({ type }) => type !== condition.type) ?? [];
    this.#pod.status = { ...this.#pod.status, conditions: [...others, condition] };
    return this;
  }

  container(part: Partial<ContainerStatus>): this {
    const before = this.#pod.status?.containerStatuses?.[0] ?? { name: WORKER_CONTAINER };
    this.#pod.status = { ...this.#pod.status, containerStatuses: [{ ...before, ...part }] };
    return this;
  }

  build(): Stored<WorkerPod> {
    return structuredClone(this.#pod);
  }
}

export function aTenantView(patch: Partial<TenantView> = {}): TenantView {
  return {
    name: 'acme', ready: true, message: '', terminating: false, cordoned: false,
    imagePullSecrets: [], allowedModelImages: [], nodeSelector: {}, tolerations: [], ...patch,
  };
}

export const aClaim = (...accessModes: string[]): ClaimView => ({ accessModes, phase: 'Bound', terminating: false });

export const someSettings: WorkerSettings = {
  image: 'millrace/worker:test', imagePullPolicy: 'IfNotPresent', syncUrl: 'https://sync:9443', syncCa: 'PEM',
  defaultResources: { cpu: '500m', memory: '512Mi' }, logLevel: 'info', imagePullDeadlineSeconds: 120, allowedModelImages: [],
};

/** What a ledger of `shards` shards with ten items each says. */
export function aLedger(patch: Partial<LedgerProgress> & { saved?: Partial<SavedProgress> } = {}): NonNullable<Observed['ledger']> {
  const { saved, ...rest } = patch;
  const progress: LedgerProgress = {
    version: 1, phase: 'Planning', plan: undefined,
    shards: { total: 0, completed: '', completedCount: 0, leased: 0, retried: 0 },
    items: { succeeded: 0, failed: 0, total: 0, exact: true }, bytes: { done: 0, total: 0 },
    rate: 0, etaSeconds: undefined, workers: [], warnings: [], checkpointAgeMs: undefined, failure: undefined, finish: undefined,
    ...rest,
  };
  return { progress, saved: { completed: progress.shards.completed, items: { succeeded: 0, failed: 0 }, bytes: 0, ...saved } };
}

/** A ledger in the phase Running, `completed` of `total` shards done, ten items each. */
export function aRunningLedger(completed: number, total: number, patch: Partial<LedgerProgress> = {}): NonNullable<Observed['ledger']> {
  return aLedger({
    phase: 'Running',
    plan: { shards: total, items: total * 10, exact: true, bytes: total * 100, files: 1 },
    shards: { total, completed: completed === 0 ? '' : completed === 1 ? '0' : `0-${completed - 1}`, completedCount: completed, leased: 0, retried: 0 },
    items: { succeeded: completed * 10, failed: 0, total: total * 10, exact: true },
    bytes: { done: completed * 100, total: total * 100 },
    saved: { items: { succeeded: completed * 10, failed: 0 }, bytes: completed * 100 },
    ...patch,
  });
}

export function aWorker(slot: number, attempt: number, patch: Partial<WorkerProgress> = {}): WorkerProgress {
  return {
    slot, attempt, state: 'Working', shard: slot, leases: 1, rate: 10, heartbeatAgeMs: 0, load: { itemsPerSecond: 10, cpuSeconds: 1, rssBytes: 1 }, ...patch,
  };
}

/** The scheduler gives this many workers, and says why if that is none. */
export const aGrant = (workers: number, patch: Partial<Grant> = {}): Grant => ({ workers, dismissed: new Map(), reason: 'Running', message: '', ...patch });

/** What a plan is made from. A healthy tenant, room for two workers, one ReadWriteMany claim and a ledger that waits for its plan unless changed. */
export function observed(patch: Partial<Observed> & { pods?: Stored<WorkerPod>[] } = {}): Observed {
  return {
    tenant: aTenantView(),
    pods: [],
    lostNodes: new Set<string>(),
    claims: new Map([['data', aClaim('ReadWriteMany')]]),
    inputCopy: { kind: 'none' } as InputCopy,
    ledger: aLedger(),
    grant: aGrant(2),
    toldWarnings: new Set<string>(),
    settings: someSettings,
    ...patch,
  };
}

/** `observed` without the parts of that name. */
export function without(from: Observed, ...parts: ('tenant' | 'ledger' | 'refusal' | 'grant')[]): Observed {
  const out = { ...from };
  for (const part of parts) delete out[part];
  return out;
}
