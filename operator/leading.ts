import { systemClock as clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { counter, gauge, histogram, type Registry } from '../kit/metrics.ts';
import { Stopwatch } from '../kit/stopwatch.ts';
import { FIELD_MANAGER } from './api/names.ts';
import type { WorkerSettings } from './batchjob/observe.ts';
import { BatchJobReconciler } from './batchjob/reconcile.ts';
import { watchForBatchJobs } from './batchjob/triggers.ts';
import { UnseenPods } from './batchjob/unseen-pods.ts';
import type { OperatorConfig } from './config.ts';
import { Dispatcher } from './dispatch/dispatcher.ts';
import type { SyncMetrics } from './dispatch/metrics.ts';
import type { Informers } from './informers.ts';
import type { KubeClient } from './kube/client.ts';
import type { EventRecorder } from './kube/events.ts';
import { controllerOf, keyOf } from './kube/object.ts';
import type { Leadership } from './kube/lease.ts';
import { Controller, type Reconcile } from './runtime/controller.ts';
import { AppliedObjects } from './runtime/applied.ts';
import { execute, type ExecuteContext } from './runtime/execute.ts';
import { Turns } from './runtime/turns.ts';
import { Scheduling } from './scheduling.ts';
import { openSyncEndpoint } from './serving/sync-endpoint.ts';
import { cachedChild, reconcileTenant, type TenantDeps, watchForTenants } from './tenant/controller.ts';

/** Progress and usage are written ten times a second over all objects at most, and once a second for each. */
const TURNS = { gapMs: 100, perIdMs: 1_000 };
/** Who gets or loses workers goes first, and changes of phase before progress. */
const PRIORITY = { grant: 1, progress: -1 };

export interface Leading {
  config: OperatorConfig;
  client: KubeClient;
  informers: Informers;
  recorder: EventRecorder;
  log: Log;
  registry: Registry;
}

/**
 * All that only the leader does: it controls tenants and jobs, keeps the ledgers and serves the workers. Returns how to
 * end it in order; when the leadership is lost instead, the process exits and nothing has to end in order.
 */
export async function lead(deps: Leading, leadership: Leadership): Promise<{ drain(timeoutMs: number): Promise<void> }> {
  const { config, client, informers, recorder, log, registry } = deps;
  const { signal } = leadership;
  const turns = new Turns({ clock, ...TURNS });
  const { startDelay, leaveDelay } = stopwatches(registry);
  const workerId = (uid: string, slot: number, attempt: number): string => `${uid}/${slot}/${attempt}`;
  const context: ExecuteContext = { client, recorder, fieldManager: FIELD_MANAGER, applied: new AppliedObjects(), held: () => leadership.held() };

  let batchjobs: Controller;
  let reconciler: BatchJobReconciler;
  const jobTurn = (key: string): [id: string, lane: 0 | 1, ready: () => void] => {
    const state = informers.jobs.store.get(key)?.status?.state ?? 'Pending';
    return [`job/${key}`, state === 'Pending' || state === 'Suspended' ? 1 : 0, () => batchjobs.enqueue(key, { priority: PRIORITY.progress })];
  };
  const dispatcher = new Dispatcher({
    clock,
    onChange: (uid, phaseChanged) => {
      const job = informers.jobs.store.byIndex('uid', uid)[0];
      if (!job) return;
      reconciler.progressed(uid);
      if (phaseChanged) batchjobs.enqueue(keyOf(job.metadata));
      else turns.want(...jobTurn(keyOf(job.metadata)));
    },
  });
  dispatcher.term = leadership.term;
  showEngines(registry, dispatcher);

  const endpoint = await openSyncEndpoint({ config, client, pods: informers.pods.store, jobs: informers.jobs.store, dispatcher, metrics: syncMetrics(registry, ({ job, slot, attempt }) => leaveDelay.end(workerId(job, slot, attempt), clock.monotonic())), log, signal });
  const unseen = new UnseenPods();
  const { tenants, jobs, namespaces, pods, claims, nodes } = informers;
  const scheduling = new Scheduling({
    informers,
    clock,
    log,
    registry,
    minRuntimeSeconds: config.minRuntimeSeconds,
    pendingWorkers: config.pendingWorkers,
    leave: (uid, slot, attempt) => {
      const id = workerId(uid, slot, attempt);
      leaveDelay.begin(id, clock.monotonic());
      // One that holds no sync open hears it with its next one: that is its own time.
      if (!dispatcher.leave(uid, slot, attempt)) leaveDelay.drop(id);
    },
    changed: (key, urgent) => {
      if (urgent) batchjobs.enqueue(key, { priority: PRIORITY.grant });
      else turns.want(...jobTurn(key));
    },
  });
  reconciler = new BatchJobReconciler({
    caches: { tenants: tenants.store, jobs: jobs.store, namespaces: namespaces.store, pods: pods.store, claims: claims.store, nodes: nodes.store },
    client,
    dispatcher,
    unseen,
    clock,
    settings: workerSettings(config, endpoint.url, endpoint.ca),
    scheduling,
    execute: (object, plan, abort) => execute(jobContext, object, plan, abort),
  });
  const jobContext: ExecuteContext = {
    ...context,
    turn: ({ metadata }) => turns.take(...jobTurn(keyOf(metadata))),
    posting: ({ kind, metadata }) => {
      if (kind === 'Pod') startDelay.end(controllerOf(metadata)?.uid ?? '', clock.monotonic());
    },
  };
  const reconcileJob = async (key: string, abort: AbortSignal): ReturnType<Reconcile> => {
    const result = await reconciler.reconcile(key, abort);
    turns.pass(`job/${key}`);
    // A job that has to wait for something starts when that is over.
    if ('outcome' in result && (result.outcome.kind === 'waiting' || scheduling.grantOf(result.object.metadata.uid)?.workers === 0)) startDelay.drop(result.object.metadata.uid);
    return result;
  };
  batchjobs = new Controller({ name: 'batchjob', workers: 64, clock, log, registry, reconcile: (key, { signal: abort }) => reconcileJob(key, abort) });
  let areNew = false;
  jobs.onChange(({ type, object }) => {
    if (type === 'add' && areNew) startDelay.begin(object.metadata.uid, clock.monotonic());
    if (type === 'delete') startDelay.drop(object.metadata.uid);
  });
  areNew = true;
  watchForBatchJobs({
    informers,
    enqueue: (key) => batchjobs.enqueue(key),
    forget: (uid) => reconciler.forget(uid),
    seen: (key) => unseen.seen(key),
    workerGone: (uid, slot, attempt, byCrash) => dispatcher.workerGone(uid, slot, attempt, byCrash),
    wasRefused: (uid) => reconciler.wasRefused(uid),
  });
  const tenantCaches = Object.fromEntries(Object.entries(informers).map(([name, { store }]) => [name, store])) as unknown as TenantDeps['caches'];
  let tenantsController: Controller;
  const tenantContext: ExecuteContext = {
    ...context,
    observed: cachedChild(tenantCaches),
    turn: ({ metadata: { name } }) => turns.take(`tenant/${name}`, 1, () => tenantsController.enqueue(name, { priority: PRIORITY.progress })),
  };
  const tenantDeps: TenantDeps = {
    caches: tenantCaches,
    client,
    clock,
    settings: { operatorNamespace: config.namespace, syncPort: config.syncPort, operatorLabels: config.operatorLabels },
    execute: (object, plan, abort) => execute(tenantContext, object, plan, abort),
    contests: new Map(),
  };
  tenantsController = new Controller({ name: 'tenant', workers: 16, clock, log, registry, reconcile: (key, { signal: abort }) => reconcileTenant(key, tenantDeps, abort).finally(() => turns.pass(`tenant/${key}`)) });
  watchForTenants(informers, (key) => tenantsController.enqueue(key));

  const running = Promise.all([batchjobs.start(signal), tenantsController.start(signal)]);
  running.catch((error: unknown) => log.fatal({ err: error }, 'a controller ended'));
  await endpoint.announce();
  log.info({ term: leadership.term }, 'leading');

  return {
    async drain(timeoutMs) {
      await Promise.all([batchjobs.drain(timeoutMs), tenantsController.drain(timeoutMs)]);
      turns.close();
      scheduling.close();
      dispatcher.close();
      await endpoint.close();
    },
  };
}

function workerSettings(config: OperatorConfig, syncUrl: string, syncCa: string): WorkerSettings {
  return {
    image: config.workerImage,
    imagePullPolicy: config.workerImagePullPolicy,
    syncUrl,
    syncCa,
    defaultResources: config.workerDefaults.resources,
    logLevel: config.logLevel,
    imagePullDeadlineSeconds: config.imagePullDeadlineSeconds,
    allowedModelImages: config.allowedModelImages,
  };
}

function stopwatches(registry: Registry): { startDelay: Stopwatch; leaveDelay: Stopwatch } {
  const started = histogram(registry, {
    name: 'millrace_job_start_delay_seconds',
    help: 'Time from the watch event of a new job that has to wait for nothing to sending the POST of its first worker, in seconds.',
    buckets: [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1, 2, 5, 10],
  });
  const told = histogram(registry, {
    name: 'millrace_preemption_answer_seconds',
    help: 'Time from the decision that a worker is to leave to the answer on the sync that it holds open, in seconds.',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
  });
  return { startDelay: new Stopwatch((seconds) => started.observe(seconds)), leaveDelay: new Stopwatch((seconds) => told.observe(seconds)) };
}

function showEngines(registry: Registry, dispatcher: Pick<Dispatcher, 'engines'>): void {
  gauge(registry, {
    name: 'millrace_workers',
    help: 'Workers that have loaded their model, by what runs it.',
    labels: ['provider', 'device', 'runtime'],
    collect: (metric) => {
      metric.reset();
      for (const { provider, device, runtime } of dispatcher.engines()) metric.inc({ provider, device, runtime });
    },
  });
}

function syncMetrics(registry: Registry, toldToLeave: SyncMetrics['toldToLeave']): SyncMetrics {
  const requests = counter(registry, { name: 'millrace_sync_requests_total', help: 'Syncs of workers by HTTP status.', labels: ['code'] });
  const open = gauge(registry, { name: 'millrace_sync_requests_open', help: 'Syncs that are held open.' });
  const seconds = histogram(registry, { name: 'millrace_sync_request_duration_seconds', help: 'Time to the answer of a sync, holding included, in seconds.', buckets: [0.005, 0.05, 0.5, 1, 2.5, 5, 10] });
  return {
    answered(status, duration) {
      requests.inc({ code: `${status}` });
      seconds.observe(duration);
    },
    open: (delta) => open.inc(delta),
    toldToLeave,
  };
}
