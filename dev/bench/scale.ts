/**
 * The operator among many: 10,000 BatchJobs of 200 tenants and 1,000 nodes, on a real control plane that is made for it. kwok
 * plays the kubelets; a process plays the syncs of the workers, each with its own token. Measures a cold start, rest, a stream
 * of new jobs, the flow of progress, and preemptions. Nothing is left behind, also on Ctrl-C.
 *
 *   npm run bench -- scale [--jobs 10000] [--nodes 1000] [--tenants 200] [--rate 20] [--seconds 60] [--workers 200] [--profile FOLDER]
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { KubeConfig } from '@kubernetes/client-node';
import { systemClock as clock } from '../../kit/clock.ts';
import { createLog } from '../../kit/log.ts';
import { createRegistry } from '../../kit/metrics.ts';
import { labels } from '../../operator/api/names.ts';
import type { StoredBatchJob, WorkerPod } from '../../operator/batchjob/observe.ts';
import { KubeClient } from '../../operator/kube/client.ts';
import { kubeConfigCredentials } from '../../operator/kube/credentials.ts';
import { Informer } from '../../operator/kube/informer.ts';
import { kinds } from '../../operator/kube/kinds.ts';
import type { Stored } from '../../operator/kube/object.ts';
import { step } from '../step.ts';
import { ControlPlane } from './scale/control-plane.ts';
import { percentile, quantile, type Scrape } from './scale/metrics.ts';
import { busyTenants, roomyTenants, tenantName } from './scale/objects.ts';
import { Operator } from './scale/operator.ts';
import { Report } from './scale/report.ts';
import { Workers } from './scale/workers.ts';
import { applyJob, createJob, each, jobsOf, makeNodes, makeTenants, waitFor } from './scale/world.ts';

const defaults = { jobs: '10000', nodes: '1000', tenants: '200', rate: '20', seconds: '60', workers: '200' };
const options = Object.fromEntries(Object.entries(defaults).map(([name, value]) => [name, { type: 'string' as const, default: value }]));
const values: Record<string, string | undefined> = parseArgs({ options: { ...options, profile: { type: 'string' } } }).values;
const size = Object.fromEntries(Object.keys(defaults).map((name) => {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < 1) throw new RangeError(`--${name}: got "${values[name]}", expected a whole number of at least 1`);
  return [name, value];
})) as Record<keyof typeof defaults, number>;
if (size.tenants < 10) throw new RangeError(`--tenants: got "${size.tenants}", expected at least 10, of which one has room`);

const stop = new AbortController();
const { signal } = stop;
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.removeAllListeners(name);
  process.on(name, () => (signal.aborted ? process.exit(130) : stop.abort(new Error('stopped'))));
}

const plane = await ControlPlane.start(signal);
await plane.installChart();
const kubeConfig = new KubeConfig();
kubeConfig.loadFromFile(plane.kubeconfig);
const [registry, log] = [createRegistry({ process: false }), createLog('bench', 'error')];
const client = new KubeClient({ credentials: kubeConfigCredentials(() => kubeConfig, clock), clock, registry, userAgent: 'millrace-bench', timeoutMs: 60_000 });
const operator = await Operator.start(plane, values['profile']);
const report = new Report();
const watching = new AbortController();
let workers: Workers | undefined;
try {
  await makeNodes(plane, size.nodes, signal);
  await makeTenants(plane, size.tenants, signal);

  const jobs = new Informer<StoredBatchJob>({ client, kind: kinds.BatchJob, clock, log, registry });
  const pods = new Informer<WorkerPod>({ client, kind: kinds.Pod, clock, log, registry, selection: { labelSelector: labels.jobUid } });
  const tenants = new Informer({ client, kind: kinds.Tenant, clock, log, registry });
  for (const informer of [jobs, pods, tenants]) void informer.run(watching.signal);
  await Promise.all([jobs.synced, pods.synced, tenants.synced]);
  /** Every change of a job or tenant, by whomever. */
  let changes: { uid: string; at: number }[] = [];
  for (const informer of [jobs, tenants]) (informer as Informer<StoredBatchJob>).onChange(({ type, object }) => void (type === 'update' && changes.push({ uid: object.metadata.uid, at: performance.now() })));
  const firstPods = new Map<string, number>();
  pods.onChange(({ type, object }) => {
    const uid = object.metadata.labels?.[labels.jobUid] ?? '';
    if (type === 'add' && !firstPods.has(uid)) firstPods.set(uid, performance.now());
  });

  const writes = (after: Scrape, before: Scrape): Map<string, number> => {
    const counts = after.since(before, 'rest_client_requests_total', 'method');
    // Only the Lease is ever PUT.
    return new Map([...counts].filter(([method, count]) => ['POST', 'PATCH', 'DELETE'].includes(method) && count > 0));
  };
  const total = (counts: Map<string, number>): number => [...counts.values()].reduce((sum, count) => sum + count, 0);
  const quiet = async (what: string): Promise<void> => {
    await step(what, async () => {
      for (let [before, calm] = [await operator.leader(signal), 0]; calm < 3; ) {
        await sleep(5_000, undefined, { signal });
        const after = await operator.leader(signal);
        calm = after.replica === before.replica && total(writes(after.scrape, before.scrape)) === 0 ? calm + 1 : 0;
        before = after;
      }
    });
  };

  await step(`create ${size.jobs} jobs`, () => each(jobsOf(busyTenants(size.tenants), 'job', size.jobs), 16, signal, (made) => createJob(client, made)));
  const spread = (): string => [...Map.groupBy(jobs.store.list(), ({ status }) => status?.state ?? 'not looked at')].map(([state, { length }]) => `${length} ${state}`).sort().join(', ');
  await step('wait until each has been looked at', () => waitFor('every job has a status', signal, async () => jobs.store.list().every(({ status }) => status?.state !== undefined)));
  console.log(`  ${spread()}; ${pods.store.size} worker pods`);

  await step('cold start: kill both replicas and start them anew', async () => {
    const killed = performance.now();
    await operator.restart();
    operator.resetUsage();
    await waitFor('a new leader knows all jobs', signal, async () => {
      const { scrape } = await operator.leader(signal);
      return scrape.sum('millrace_jobs_unheard') === 0 && scrape.sum('millrace_informer_objects', { kind: 'BatchJob' }) >= size.jobs && scrape.sum('millrace_scheduling_duration_seconds_count') > 0;
    });
    report.add('all jobs known after a cold start', (performance.now() - killed) / 1_000, 60, 's', 'the Lease of the killed leader has to run out first');
  });
  report.usage('in the cold start', (await operator.leader(signal)).replica, operator.usage());
  await quiet('wait until nothing is written any more');

  operator.resetUsage();
  await step(`rest for ${size.seconds} s`, async () => {
    changes = [];
    const before = await operator.leader(signal);
    await sleep(size.seconds * 1_000, undefined, { signal });
    const after = await operator.leader(signal);
    const counts = writes(after.scrape, before.scrape);
    report.add(`writes in ${size.seconds} s of rest, the Lease aside`, total(counts), 0, '', [...counts].map(([method, count]) => `${count} ${method}`).join(', '));
    report.add(`changes of jobs and tenants seen in that time`, changes.length, 0, '');
  });
  report.usage('at rest', (await operator.leader(signal)).replica, operator.usage());

  operator.resetUsage();
  await step(`${size.rate} new jobs a second for ${size.seconds} s`, async () => {
    const before = await operator.leader(signal);
    const sent = new Map<string, number>();
    const made = jobsOf(roomyTenants(size.tenants), 'new', size.rate * size.seconds, { min: 1, max: 1 });
    const begun = performance.now();
    const running = made.map(async (one, n) => {
      await sleep(Math.max(0, begun + (n * 1_000) / size.rate - performance.now()), undefined, { signal });
      const at = performance.now();
      sent.set(await applyJob(client, one), at);
    });
    await Promise.all(running);
    await waitFor('all have a pod', signal, async () => [...sent.keys()].every((uid) => firstPods.has(uid)));
    const after = await operator.leader(signal);
    const buckets = after.scrape.buckets(before.scrape, 'millrace_job_start_delay_seconds');
    report.add('watch event → POST sent, p50', quantile(buckets, 0.5) * 1_000, undefined, 'ms', `${buckets.at(-1)?.count ?? 0} of ${sent.size} jobs, bucket bounds`);
    report.add('watch event → POST sent, p99', quantile(buckets, 0.99) * 1_000, 500, 'ms');
    const whole = [...sent].map(([uid, at]) => (firstPods.get(uid) ?? Number.POSITIVE_INFINITY) - at);
    report.add('apply sent → pod seen, p50', percentile(whole, 0.5), undefined, 'ms');
    report.add('apply sent → pod seen, p99', percentile(whole, 0.99), undefined, 'ms');
    const grown = (name: string): number => after.scrape.sum(name) - before.scrape.sum(name);
    const mean = (name: string): number => (grown(`${name}_sum`) * 1_000) / grown(`${name}_count`);
    report.add('requests a job', grown('rest_client_requests_total') / sent.size, undefined, '', [...after.scrape.since(before.scrape, 'rest_client_requests_total', 'method')].map(([method, count]) => `${(count / sent.size).toFixed(1)} ${method}`).join(', '));
    report.add('a request, mean', mean('rest_client_request_duration_seconds'), undefined, 'ms', `behind ${mean('rest_client_rate_limiter_duration_seconds').toFixed(0)} ms for the limit of requests a second`);
    report.add('a round of the scheduler, mean', mean('millrace_scheduling_duration_seconds'), undefined, 'ms');
  });
  report.usage(`at ${size.rate} new jobs a second`, (await operator.leader(signal)).replica, operator.usage());
  await quiet('wait until nothing is written any more');

  const isRunning = (pod: Stored<WorkerPod>): boolean => pod.status?.phase === 'Running' && pod.metadata.deletionTimestamp === undefined;
  const played = pods.store.list().filter((pod) => isRunning(pod) && busyTenants(size.tenants).some((n) => tenantName(n) === pod.metadata.namespace)).slice(0, size.workers);
  const [like] = played;
  if (!like) throw new Error('no worker pod runs');
  workers = await Workers.start(client, plane.folder, operator.address, like as Parameters<typeof Workers.start>[3]);
  const speaking = workers;
  await step(`let ${played.length} workers begin`, async () => {
    await speaking.play(played);
    await waitFor(`all workers speak (${speaking.lastFailure})`, signal, async () => speaking.count('begun') === played.length);
    await sleep(10_000, undefined, { signal });
  });
  operator.resetUsage();
  await step(`progress of ${played.length} workers for ${size.seconds} s`, async () => {
    const items = (): number => jobs.store.list().reduce((sum, { status }) => sum + (status?.items?.succeeded ?? 0), 0);
    const [before, itemsBefore] = [await operator.leader(signal), items()];
    changes = [];
    await sleep(size.seconds * 1_000, undefined, { signal });
    const [after, seen] = [await operator.leader(signal), changes];
    const moved = (items() - itemsBefore) / size.seconds;
    if (moved === 0) throw new Error(`no progress came: ${speaking.lastFailure}`);
    const window = (times: readonly number[]): number => Math.max(0, ...times.map((at, first) => times.filter((other, n) => n >= first && other < at + 1_000).length));
    report.add('progress written a second, mean', seen.length / size.seconds, 10, '', `${Math.round(moved)} items/s, ${Math.round((after.scrape.since(before.scrape, 'millrace_sync_requests_total', 'code').get('200') ?? 0) / size.seconds)} syncs/s`);
    report.add('… in the busiest second seen', window(seen.map(({ at }) => at)), undefined, '', 'as events arrive, phase changes included');
    report.add('… of one job in its busiest second', Math.max(0, ...[...Map.groupBy(seen, ({ uid }) => uid).values()].map((of) => window(of.map(({ at }) => at)))), undefined, '');
  });
  report.usage('while progress flows', (await operator.leader(signal)).replica, operator.usage());

  await step('preempt', async () => {
    const before = await operator.leader(signal);
    const victims = new Set(played.map(({ metadata }) => metadata.namespace ?? ''));
    const urgent = busyTenants(size.tenants).filter((n) => victims.has(tenantName(n)));
    await each(jobsOf(urgent, 'urgent', urgent.length, { min: 4, max: 4, priority: 1_000 }), 8, signal, (made) => createJob(client, made));
    let told = 0;
    for (let idle = 0; idle < 12; ) {
      await sleep(5_000, undefined, { signal });
      idle = speaking.count('leave') === told ? idle + 1 : 0;
      told = speaking.count('leave');
      if (told > 0 && idle > 3) break;
    }
    const buckets = (await operator.leader(signal)).scrape.buckets(before.scrape, 'millrace_preemption_answer_seconds');
    report.add('preemption decided → answered on the open sync, p50', quantile(buckets, 0.5) * 1_000, undefined, 'ms', `${buckets.at(-1)?.count ?? 0} workers, bucket bounds; ${told} workers heard it`);
    report.add('preemption decided → answered on the open sync, p99', quantile(buckets, 0.99) * 1_000, 50, 'ms');
  });
} catch (cause) {
  // At once: taking things away takes minutes.
  if (!signal.aborted) console.error(cause instanceof Error ? cause.message : cause);
  process.exitCode = signal.aborted ? 130 : 1;
} finally {
  console.log(`\n${size.jobs} jobs, ${size.tenants} tenants, ${size.nodes} nodes\n${report.text()}`);
  if (operator.restarts > 0) console.log(`${operator.restarts} time(s) a replica ended by itself and was started again: the machine was too busy for it to renew its Lease`);
  workers?.close();
  watching.abort();
  await operator.close();
  await client.close();
  await plane.close();
}
if (process.exitCode === undefined) console.log(report.missed() === 0 ? 'every target was met' : `${report.missed()} target(s) missed`);
