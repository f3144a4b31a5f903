import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../kit/clock.ts';
import type { Registry } from '../../../kit/metrics.ts';
import { KubeError } from '../../../operator/kube/errors.ts';
import { Informer } from '../../../operator/kube/informer.ts';
import { kinds } from '../../../operator/kube/kinds.ts';
import type { KubeObject } from '../../../operator/kube/object.ts';
import { Controller, toOwnKey, toOwnerKey } from '../../../operator/runtime/controller.ts';
import type { ControllerOptions } from '../../../operator/runtime/controller.ts';
import { execute } from '../../../operator/runtime/execute.ts';
import { FakeApiServer } from '../../support/fake-api-server.ts';
import { bareRegistry, clientOf, quickTimings, silentLog, until } from '../../support/kube.ts';
import { aConfigMap, aPlan, contextOf } from '../../support/plans.ts';

const jobs = '/apis/millrace.dev/v1alpha1/namespaces/a/batchjobs';
const configMaps = '/api/v1/namespaces/a/configmaps';
const pods = '/api/v1/namespaces/a/pods';

let server: FakeApiServer;
let registry: Registry;
let stop: AbortController;
let running: Promise<unknown>[];

beforeEach(async () => {
  server = await FakeApiServer.start();
  registry = bareRegistry();
  stop = new AbortController();
  running = [];
});
afterEach(async () => {
  stop.abort();
  await Promise.all(running);
  await server.close();
});

function informerOf(kind: Informer<KubeObject>['kind']): Informer<KubeObject> {
  const informer = new Informer<KubeObject>({
    client: clientOf(server),
    kind,
    clock: systemClock,
    log: silentLog,
    registry,
    timings: quickTimings,
  });
  running.push(informer.run(stop.signal));
  return informer;
}

function controllerOf(reconcile: ControllerOptions['reconcile'], options: Partial<ControllerOptions> = {}): Controller {
  return new Controller({
    name: 'job',
    reconcile,
    clock: systemClock,
    log: silentLog,
    registry,
    backoff: { baseMs: 2, capMs: 20 },
    ...options,
  });
}

const metric = async (line: string): Promise<number> => {
  const found = (await registry.metrics()).split('\n').find((text) => text.startsWith(`${line} `));
  return found === undefined ? 0 : Number(found.slice(line.length + 1));
};

describe('a controller', () => {
  it('brings the world to what the plan says and keeps it there, through restarts, lost watches and failing writes', async () => {
    const start = async (): Promise<{ controller: Controller; lost: AbortController }> => {
      const lost = new AbortController();
      stop.signal.addEventListener('abort', () => lost.abort(stop.signal.reason));
      const ctx = contextOf(server);
      const batchjobs = informerOf(kinds.BatchJob);
      const controller = controllerOf(async (key, { signal }) => {
        const job = batchjobs.store.get(key);
        if (job === undefined) return { kind: 'settled' };
        const child = aConfigMap(
          `${job.metadata.name}-child`,
          { k: '1' },
          { name: job.metadata.name, uid: job.metadata.uid },
        );
        return execute(ctx, job, aPlan({ apply: [child], report: { status: { state: 'Ready' } } }), signal);
      });
      controller.watch(batchjobs, toOwnKey);
      running.push(controller.start(lost.signal));
      return { controller, lost };
    };
    for (let index = 0; index < 20; index += 1)
      server.put(jobs, { kind: 'BatchJob', metadata: { name: `j${index}` }, spec: {} });
    server.fail(({ method }) => method === 'PATCH', { code: 500, reason: 'InternalError' }, 10);
    server.fail(({ method }) => method === 'PATCH', { code: 429, headers: { 'retry-after': '0.05' } }, 5);
    const first = await start();
    const done = (): boolean =>
      server.all(configMaps).length === server.all(jobs).length &&
      server.all(jobs).every((job) => (job['status'] as { state?: string } | undefined)?.state === 'Ready');
    await until(done, 'all jobs are ready');
    first.lost.abort(new Error('lost'));
    server.cutWatches('reset');
    server.put(jobs, { kind: 'BatchJob', metadata: { name: 'late' }, spec: {} });
    await start();
    await until(done, 'the late job is ready too');
    const writesNow = (): number => server.count(({ method }) => method !== 'GET');
    const before = writesNow();
    await new Promise((resolve) => setTimeout(resolve, 300));
    // Settled: of the 21 children each is applied once more by the new process at the most.
    expect(writesNow() - before).toBeLessThanOrEqual(21);
    const after = writesNow();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(writesNow()).toBe(after);
  });

  it('reconciles the owner of a changed object, and both owners when it changes hands', async () => {
    const seen: string[] = [];
    const controller = controllerOf(async (key) => {
      seen.push(key);
      return { kind: 'settled' };
    });
    controller.watch(informerOf(kinds.Pod), toOwnerKey(kinds.BatchJob));
    running.push(controller.start(stop.signal));
    const owned = (name: string) => ({
      kind: 'Pod',
      metadata: {
        name: 'p',
        ownerReferences: [{ apiVersion: 'millrace.dev/v1alpha1', kind: 'BatchJob', name, uid: 'u', controller: true }],
      },
    });
    server.put(pods, owned('one'));
    await until(() => seen.includes('a/one'), 'the owner was reconciled');
    seen.length = 0;
    server.put(pods, owned('two'));
    await until(() => seen.length === 2, 'both were reconciled');
    expect(seen.sort()).toEqual(['a/one', 'a/two']);
  });

  it('does nothing before its caches are full', async () => {
    server.fail(() => true, { code: 500, reason: 'InternalError' }, 5);
    const informer = informerOf(kinds.Pod);
    const seen: boolean[] = [];
    const controller = controllerOf(async () => {
      seen.push(informer.hasSynced);
      return { kind: 'settled' };
    });
    controller.watch(informer, toOwnKey);
    controller.enqueue('early');
    running.push(controller.start(stop.signal));
    await until(() => seen.length === 1, 'it was reconciled');
    expect(seen).toEqual([true]);
  });

  it('brings keys back as their outcomes say', async () => {
    const times: Record<string, number> = {};
    const controller = controllerOf(async (key) => {
      times[key] = (times[key] ?? 0) + 1;
      if (key === 'requeue') return { kind: 'requeue', afterMs: 10 };
      if (key === 'waiting') return { kind: 'waiting', reason: 'Quota', afterMs: 10 };
      if (key === 'stalled') return { kind: 'stalled', reason: 'Invalid', message: 'no' };
      return { kind: 'settled' };
    });
    for (const key of ['requeue', 'waiting', 'stalled', 'settled']) controller.enqueue(key);
    running.push(controller.start(stop.signal));
    await until(() => (times['requeue'] ?? 0) > 3 && (times['waiting'] ?? 0) > 3, 'they came back');
    expect(times).toMatchObject({ stalled: 1, settled: 1 });
    expect(await metric('controller_runtime_terminal_reconcile_errors_total{controller="job"}')).toBe(1);
    expect(await metric('controller_runtime_reconcile_total{controller="job",result="success"}')).toBe(2);
  });

  it('tries again after errors, counts mistakes apart, and says nothing of conflicts', async () => {
    const failures = [
      new KubeError({ code: 500, reason: 'InternalError', message: 'x' }),
      new TypeError('a mistake'),
      new KubeError({ code: 409, reason: 'Conflict', message: 'x' }),
    ];
    const controller = controllerOf(async () => {
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      return { kind: 'settled' };
    });
    controller.enqueue('k');
    running.push(controller.start(stop.signal));
    await until(
      async () => (await metric('controller_runtime_reconcile_total{controller="job",result="success"}')) === 1,
      'it succeeded',
    );
    expect(await metric('controller_runtime_reconcile_errors_total{controller="job"}')).toBe(2);
    expect(await metric('controller_runtime_reconcile_panics_total{controller="job"}')).toBe(1);
    expect(await metric('controller_runtime_reconcile_total{controller="job",result="requeue"}')).toBe(1);
    expect(controller.queue.failures('k')).toBe(0);
  });

  it('aborts a reconcile that takes too long', async () => {
    let aborted = 0;
    const controller = controllerOf(
      (_key, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            aborted += 1;
            reject(signal.reason);
          });
        }),
      { timeoutMs: 20 },
    );
    controller.enqueue('k');
    running.push(controller.start(stop.signal));
    await until(() => aborted >= 2, 'it was aborted and tried again');
  });

  it('drains: lets what runs end and begins nothing new; what takes too long is aborted', async () => {
    const release = Promise.withResolvers<void>();
    const begun: string[] = [];
    const controller = controllerOf(
      async (key, { signal }) => {
        begun.push(key);
        if (key === 'quick') await release.promise;
        else await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
        return { kind: 'settled' };
      },
      { workers: 1 },
    );
    controller.enqueue('quick');
    controller.enqueue('never');
    running.push(controller.start(stop.signal));
    await until(() => begun.length === 1, 'it began');
    const drained = controller.drain(1_000);
    release.resolve();
    expect(await drained).toBe(true);
    expect(begun).toEqual(['quick']);

    const stuck = controllerOf(
      (_key, { signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      { name: 'other' },
    );
    stuck.enqueue('k');
    running.push(stuck.start(stop.signal));
    await until(() => stuck.queue.processing === 1, 'it began');
    expect(await stuck.drain(20)).toBe(false);
  });
});
