import { systemClock as clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { counter, gauge, histogram, type Registry } from '../kit/metrics.ts';
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
import { keyOf } from './kube/object.ts';
import type { Leadership } from './kube/lease.ts';
import { Controller } from './runtime/controller.ts';
import { AppliedObjects } from './runtime/applied.ts';
import { execute, type ExecuteContext } from './runtime/execute.ts';
import { Scheduling } from './scheduling.ts';
import { openSyncEndpoint } from './serving/sync-endpoint.ts';
import { cachedChild, reconcileTenant, type TenantDeps, watchForTenants } from './tenant/controller.ts';

/** Progress is written ten times a second over all jobs at most. */
const PROGRESS_GAP_MS = 100;
/** Changes of phase go before progress. */
const PROGRESS_PRIORITY = -1;

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
  const context: ExecuteContext = { client, recorder, fieldManager: FIELD_MANAGER, applied: new AppliedObjects(), held: () => leadership.held() };

  let batchjobs: Controller;
  let reconciler: BatchJobReconciler;
  let nextProgressAt = 0;
  const dispatcher = new Dispatcher({
    clock,
    onChange: (uid) => {
      const job = informers.jobs.store.byIndex('uid', uid)[0];
      if (!job) return;
      reconciler.progressed(uid);
      atLeisure(keyOf(job.metadata));
    },
  });
  const atLeisure = (key: string): void => {
    nextProgressAt = Math.max(clock.monotonic(), nextProgressAt + PROGRESS_GAP_MS);
    batchjobs.enqueue(key, { priority: PROGRESS_PRIORITY, afterMs: nextProgressAt - clock.monotonic() });
  };
  dispatcher.term = leadership.term;

  const endpoint = await openSyncEndpoint({ config, client, pods: informers.pods.store, jobs: informers.jobs.store, dispatcher, metrics: syncMetrics(registry), log, signal });
  const unseen = new UnseenPods();
  const { tenants, jobs, namespaces, pods, claims, nodes } = informers;
  const scheduling = new Scheduling({
    informers,
    clock,
    log,
    registry,
    minRuntimeSeconds: config.minRuntimeSeconds,
    pendingWorkers: config.pendingWorkers,
    leave: (uid, slot, attempt) => dispatcher.leave(uid, slot, attempt),
    changed: (key, urgent) => (urgent ? batchjobs.enqueue(key) : atLeisure(key)),
  });
  reconciler = new BatchJobReconciler({
    caches: { tenants: tenants.store, jobs: jobs.store, namespaces: namespaces.store, pods: pods.store, claims: claims.store, nodes: nodes.store },
    client,
    dispatcher,
    unseen,
    clock,
    settings: workerSettings(config, endpoint.url, endpoint.ca),
    scheduling,
    execute: (object, plan, abort) => execute(context, object, plan, abort),
  });
  batchjobs = new Controller({ name: 'batchjob', workers: 8, clock, log, registry, reconcile: (key, { signal: abort }) => reconciler.reconcile(key, abort) });
  watchForBatchJobs({
    informers,
    enqueue: (key) => batchjobs.enqueue(key),
    forget: (uid) => reconciler.forget(uid),
    seen: (key) => unseen.seen(key),
    workerGone: (uid, slot, attempt, byCrash) => dispatcher.workerGone(uid, slot, attempt, byCrash),
    wasRefused: (uid) => reconciler.wasRefused(uid),
  });
  const tenantCaches = Object.fromEntries(Object.entries(informers).map(([name, { store }]) => [name, store])) as unknown as TenantDeps['caches'];
  const tenantContext: ExecuteContext = { ...context, observed: cachedChild(tenantCaches) };
  const tenantDeps: TenantDeps = {
    caches: tenantCaches,
    client,
    clock,
    settings: { operatorNamespace: config.namespace, syncPort: config.syncPort, operatorLabels: config.operatorLabels },
    execute: (object, plan, abort) => execute(tenantContext, object, plan, abort),
    contests: new Map(),
  };
  const tenantsController = new Controller({ name: 'tenant', workers: 16, clock, log, registry, reconcile: (key, { signal: abort }) => reconcileTenant(key, tenantDeps, abort) });
  watchForTenants(informers, (key) => tenantsController.enqueue(key));

  const running = Promise.all([batchjobs.start(signal), tenantsController.start(signal)]);
  running.catch((error: unknown) => log.fatal({ err: error }, 'a controller ended'));
  await endpoint.announce();
  log.info({ term: leadership.term }, 'leading');

  return {
    async drain(timeoutMs) {
      await Promise.all([batchjobs.drain(timeoutMs), tenantsController.drain(timeoutMs)]);
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

function syncMetrics(registry: Registry): SyncMetrics {
  const requests = counter(registry, { name: 'millrace_sync_requests_total', help: 'Syncs of workers by HTTP status.', labels: ['code'] });
  const open = gauge(registry, { name: 'millrace_sync_requests_open', help: 'Syncs that are held open.' });
  const seconds = histogram(registry, { name: 'millrace_sync_request_duration_seconds', help: 'Time to the answer of a sync, holding included, in seconds.', buckets: [0.005, 0.05, 0.5, 1, 2.5, 5, 10] });
  return {
    answered(status, duration) {
      requests.inc({ code: `${status}` });
      seconds.observe(duration);
    },
    open: (delta) => open.inc(delta),
  };
}
