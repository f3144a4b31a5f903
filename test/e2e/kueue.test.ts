import { afterAll, beforeAll, expect, test } from 'vitest';
import { paths } from '../support/e2e/api.ts';
import { openBench } from '../support/e2e/bench.ts';
import { apply, completed, conditionOf, doneItems, fromVolume, getJob, isLive, jobManifest, jobTells, lines, outcomeOf, podsOf, type PodObject, putInput } from '../support/e2e/jobs.ts';
import { slowItems, slowResults } from '../support/e2e/slow.ts';
import { makeTenant, type TestTenant } from '../support/e2e/tenant.ts';
import { until } from '../support/e2e/until.ts';

/**
 * This test plays the part of Kueue's plain-pod integration on the API server (pkg/controller/jobs/pod): it marks pods as
 * its own, takes the gate away from those that it admits, evicts by a condition and a delete, and takes its finalizer off
 * when a pod has ended.
 */
const bench = openBench();
const { api } = bench;
const MANAGED = 'kueue.x-k8s.io/managed';
const ITEMS = 3_000;
let tenant: TestTenant;

type Gated = PodObject & { spec: { schedulingGates?: { name: string }[] }; metadata: PodObject['metadata'] & { finalizers?: string[] } };
const pods = async (name: string): Promise<Gated[]> => ((await podsOf(bench, tenant, name)) as Gated[]).filter((pod) => isLive(pod) && pod.metadata.deletionTimestamp === undefined);
const path = ({ metadata }: Gated): string => paths.pod(tenant.namespace, metadata.name);
/** As Kueue's webhook does when a pod is made. */
const mark = (pod: Gated): Promise<void> => api.mergePatch(path(pod), { metadata: { labels: { [MANAGED]: 'true' }, annotations: { 'kueue.x-k8s.io/role-hash': 'abc' }, finalizers: [MANAGED] } });
const admit = (pod: Gated): Promise<void> => api.mergePatch(path(pod), { spec: { schedulingGates: null } });
const letGo = (pod: Gated): Promise<void> => api.mergePatch(path(pod), { metadata: { finalizers: null } });
async function evict(pod: Gated): Promise<void> {
  await bench.kubectl(['patch', 'pod', pod.metadata.name, '--namespace', tenant.namespace, '--subresource=status', '--type=strategic', '--patch',
    JSON.stringify({ status: { conditions: [{ type: 'TerminationTarget', status: 'True', reason: 'WorkloadEvicted', message: 'Preempted' }] } })]);
  await api.delete(path(pod));
}

const queued = (name: string, max: number, more: object = {}): object =>
  jobManifest(tenant, name, 'slow.onnx', fromVolume('in.jsonl'), { queueName: 'team', sharding: { targetBytes: '4Ki' }, workers: { max }, ...more });

beforeAll(async () => {
  tenant = await makeTenant(bench, 'kueue');
  putInput(tenant, 'in.jsonl', lines(slowItems(ITEMS)));
});
// A finalizer that nobody takes off would hold the namespace, and the next tests with it.
afterAll(async () => {
  for (const pod of await api.list<Gated>(paths.pods(tenant.namespace))) if (pod.metadata.finalizers) await letGo(pod);
});

test('workers wait for Kueue, one by one; the job runs with those admitted, and replaces one that is evicted by another that waits', async () => {
  await apply(bench, queued('job', 3));
  const waits = await jobTells(bench, tenant, 'job', 'waits for a Kueue that is not there', ({ status }) => /admitted by queue team; Kueue has not marked/.test(status?.message ?? ''));
  expect(waits.status).toMatchObject({ state: 'Pending', replicas: 3, message: expect.stringMatching(/^waiting for Kueue: 0 of 3 worker\(s\) admitted by queue team/) });
  expect(waits.status?.startTime).toBeUndefined();
  expect(conditionOf(waits, 'Reconciling')?.reason).toBe('WaitingForKueue');
  const first = await pods('job');
  expect(first.map(({ metadata, spec }) => [metadata.labels?.['kueue.x-k8s.io/queue-name'], spec.schedulingGates, spec.nodeName])).toEqual(Array(3).fill(['team', [{ name: 'kueue.x-k8s.io/admission' }], undefined]));

  for (const pod of first) await mark(pod);
  await admit(first[0] as Gated);
  const one = await jobTells(bench, tenant, 'job', 'works with one', ({ status }) => status?.message === '1 of 3 worker(s) at work; waiting for Kueue: 1 of 3 worker(s) admitted by queue team');
  expect(one.status).toMatchObject({ state: 'Running', startTime: expect.any(String) });
  // What Kueue writes into pods makes no others of them.
  expect((await pods('job')).map(({ metadata }) => metadata.uid).sort()).toEqual(first.map(({ metadata }) => metadata.uid).sort());
  await admit(first[1] as Gated);
  const two = await jobTells(bench, tenant, 'job', 'works with two', ({ status }) => status?.message?.startsWith('2 of 3 worker(s) at work') ?? false);

  await evict(first[0] as Gated);
  const next = await until('the next attempt waits in its place', 40_000, async () => (await pods('job')).find(({ metadata }) => metadata.name === 'job-w0-1'));
  expect(next.spec.schedulingGates).toEqual([{ name: 'kueue.x-k8s.io/admission' }]);
  const evicted = await until('the evicted pod is held by Kueue’s finalizer alone', 40_000, async () => {
    const pod = await api.get<Gated>(path(first[0] as Gated));
    return pod && !isLive(pod) ? pod : undefined;
  });
  expect(evicted.metadata.finalizers).toEqual([MANAGED]);
  await letGo(evicted);

  // One that Kueue drops before it was admitted is replaced as well, at once, though its finalizer holds it.
  await evict(first[2] as Gated);
  await until('its slot is filled', 20_000, async () => (await pods('job')).find(({ metadata }) => metadata.name === 'job-w2-1'));
  await letGo(first[2] as Gated);

  await admit(next);
  const done = await completed(bench, tenant, 'job', 240_000);
  expect(done.status).toMatchObject({ startTime: two.status?.startTime, shards: { retried: expect.any(Number) }, items: { succeeded: ITEMS } });
  expect(outcomeOf(tenant, 'job').results).toBe(slowResults(ITEMS));
  expect((await podsOf(bench, tenant, 'job')).filter((pod) => isLive(pod) && pod.metadata.deletionTimestamp === undefined)).toEqual([]);
}, 300_000);

test('an admitted worker that finds no node tells why, in the words of the cluster’s scheduler', async () => {
  await apply(bench, queued('no-gpu', 1, { workers: { max: 1, accelerator: 'cuda', resources: { limits: { 'nvidia.com/gpu': 64 } } } }));
  await apply(bench, queued('tainted', 1, { workers: { max: 1, nodeSelector: { 'node-role.kubernetes.io/control-plane': '' } } }));
  for (const [name, words] of [['no-gpu', 'Insufficient nvidia.com/gpu'], ['tainted', 'untolerated taint']] as const) {
    const [pod] = await until(`${name} waits`, 30_000, async () => {
      const found = await pods(name);
      return found.length > 0 ? found : undefined;
    });
    await admit(pod as Gated);
    const job = await jobTells(bench, tenant, name, 'tells why', (found) => conditionOf(found, 'Reconciling')?.reason === 'Unschedulable');
    expect(job.status?.message).toMatch(new RegExp(`^worker ${name}-w0-0: 0/\\d+ nodes are available: .*${words}`));
    await bench.kubectl(['delete', 'batchjob', name, '--namespace', tenant.namespace]);
  }
});

test('the pool follows spec.workers.max, waits for dependencies and a cordon, and the queue is fixed', async () => {
  await apply(bench, queued('held', 2, { dependsOn: ['absent'] }));
  await jobTells(bench, tenant, 'held', 'waits for what it depends on', (found) => conditionOf(found, 'Reconciling')?.reason === 'WaitingForDependencies');
  await apply(bench, queued('scaled', 3));
  await until('three wait', 30_000, async () => (await pods('scaled')).length === 3);
  await bench.kubectl(['scale', 'batchjob', 'scaled', '--replicas=1', '--namespace', tenant.namespace]);
  await until('one waits', 30_000, async () => (await pods('scaled')).length === 1);
  await api.mergePatch(paths.tenant(tenant.name), { spec: { cordoned: true } });
  await jobTells(bench, tenant, 'scaled', 'is held back by the cordon', (found) => conditionOf(found, 'Reconciling')?.reason === 'TenantCordoned');
  await until('none waits that Kueue could admit', 30_000, async () => (await pods('scaled')).length === 0);
  expect(await pods('held')).toEqual([]);
  expect(doneItems((await getJob(bench, tenant, 'scaled')) ?? { metadata: {} } as never)).toBe(0);
  expect(await bench.refused(['patch', 'batchjob', 'scaled', '--namespace', tenant.namespace, '--type=merge', '--patch={"spec":{"queueName":"other"}}'])).toContain('spec.queueName cannot be changed');
});
