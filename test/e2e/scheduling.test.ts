import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBench } from '../support/e2e/bench.ts';
import { apply, completed, conditionOf, doneItems, fromVolume, getJob, isLive, jobManifest, jobTells, lines, outcomeOf, podsOf, putInput, smallWorker, stalled } from '../support/e2e/jobs.ts';
import { slowItems, slowResults } from '../support/e2e/slow.ts';
import { makeTenant, type TestTenant } from '../support/e2e/tenant.ts';
import { until } from '../support/e2e/until.ts';

const bench = openBench();
const { api, kubectl } = bench;
/** A resource that only one node has, and only so much of: what jobs compete for, as for GPUs. */
const seat = 'example.com/seat';
const SEATS = 3;
/** For the one job that is awaited; the others are dropped before they end. */
const ITEMS = 8_000;
const ENDLESS = 60_000;
let node = '';
let big: TestTenant;
let little: TestTenant;

const seats = (op: 'add' | 'remove'): Promise<string> =>
  kubectl(['patch', 'node', node, '--subresource=status', '--type=json', '--patch', JSON.stringify([{ op, path: '/status/capacity/example.com~1seat', ...(op === 'add' ? { value: `${SEATS}` } : {}) }])]);
const job = (tenant: TestTenant, name: string, max: number, more: object = {}, workers: object = {}): object =>
  jobManifest(tenant, name, 'slow.onnx', fromVolume('endless.jsonl'), {
    sharding: { targetBytes: '4Ki' },
    workers: { max, resources: { requests: smallWorker.requests, limits: { ...smallWorker.limits, [seat]: 1 } }, ...workers },
    ...more,
  });
const workersOf = async (tenant: TestTenant, name: string): Promise<number> =>
  (await podsOf(bench, tenant, name)).filter((pod) => isLive(pod) && pod.metadata.deletionTimestamp === undefined && pod.status.phase === 'Running').length;
const drop = async (tenant: TestTenant, ...names: string[]): Promise<void> => {
  await kubectl(['delete', 'batchjobs', ...names, '--namespace', tenant.namespace, '--timeout=60s']);
  for (const name of names) await until(`the workers of ${name} are gone`, 60_000, async () => (await podsOf(bench, tenant, name)).length === 0);
};

beforeAll(async () => {
  node = bench.cluster.nodes.find((name) => name.endsWith('-worker')) ?? '';
  await seats('add');
  [big, little] = [await makeTenant(bench, 'big', { weight: 2 }), await makeTenant(bench, 'little', { weight: 1 })];
  for (const tenant of [big, little]) putInput(tenant, 'endless.jsonl', lines(slowItems(ENDLESS)));
  putInput(big, 'in.jsonl', lines(slowItems(ITEMS)));
});
afterAll(() => seats('remove'));

test('a job that waits says for what, and where it stands; the one of higher priority goes first, whoever came first', async () => {
  await apply(bench, job(big, 'first', 3, {}, { min: 3 }));
  await jobTells(bench, big, 'first', 'works', (found) => doneItems(found) > 0);
  await apply(bench, job(big, 'low', 3, {}, { min: 3 }));
  await jobTells(bench, big, 'low', 'waits', ({ status }) => status?.queuePosition === 1);
  await apply(bench, job(big, 'high', 3, { priority: 150 }, { min: 3 }));
  const low = await jobTells(bench, big, 'low', 'stands behind', ({ status }) => status?.queuePosition === 2);
  expect(low.status).toMatchObject({ state: 'Pending', message: expect.stringMatching(/^waiting for capacity: needs 3 example\.com\/seat, 0 of 3 is free on \d+ node\(s\); 1 ahead$/) });
  expect(conditionOf(low, 'Reconciling')?.reason).toBe('WaitingForCapacity');
  expect(await podsOf(bench, big, 'low')).toEqual([]);
  await drop(big, 'first');
  await jobTells(bench, big, 'high', 'works', (found) => doneItems(found) > 0);
  expect(await workersOf(big, 'low')).toBe(0);
  await drop(big, 'high', 'low');
});

test('a job of much higher priority takes the place of a running one, which goes on later where it was', async () => {
  await apply(bench, job(big, 'victim', 3, { input: fromVolume('in.jsonl') }, { min: 3 }));
  await jobTells(bench, big, 'victim', 'works', (found) => doneItems(found) > 0);
  await apply(bench, job(big, 'urgent', 3, { priority: 900 }, { min: 3 }));
  const preempted = await jobTells(bench, big, 'victim', 'is preempted', ({ status }) => status?.state === 'Pending' && (status.message ?? '').startsWith(`preempted for ${big.namespace}/urgent; waiting for capacity`));
  const done = doneItems(preempted);
  expect(done).toBeGreaterThan(0);
  await jobTells(bench, big, 'urgent', 'works', (found) => doneItems(found) > 0);
  expect(await kubectl(['describe', 'batchjob', 'victim', '--namespace', big.namespace])).toMatch(/Preempted/);
  await drop(big, 'urgent');
  const resumed = await jobTells(bench, big, 'victim', 'goes on', ({ status }) => status?.state === 'Running');
  expect(doneItems(resumed)).toBeGreaterThanOrEqual(done);
  await completed(bench, big, 'victim', 120_000);
  expect(outcomeOf(big, 'victim').results).toBe(slowResults(ITEMS));
});

describe('tenants that want more than there is', () => {
  test('lend what they do not use, and get it back by their weight', async () => {
    await apply(bench, job(little, 'lent', 3));
    await until('one tenant has all while the other wants nothing', 60_000, async () => (await workersOf(little, 'lent')) === SEATS);
    await apply(bench, job(big, 'owed', 3));
    await until('two of three seats are its own again', 60_000, async () => (await workersOf(big, 'owed')) === 2 && (await workersOf(little, 'lent')) === 1);
    expect((await getJob(bench, little, 'lent'))?.status?.state).toBe('Running');
    await drop(big, 'owed');
    await until('it grows again', 60_000, async () => (await workersOf(little, 'lent')) === SEATS);
    await drop(little, 'lent');
  });
});

describe('a job that depends on others', () => {
  test('starts when they are complete', async () => {
    putInput(big, 'few.jsonl', lines(slowItems(50)));
    const few = { input: fromVolume('few.jsonl') };
    await apply(bench, job(big, 'second', 1, { ...few, dependsOn: ['one'] }));
    await jobTells(bench, big, 'second', 'waits for one that is not there yet', (found) => conditionOf(found, 'Reconciling')?.reason === 'WaitingForDependencies');
    await apply(bench, job(big, 'one', 1, few));
    await completed(bench, big, 'second');
    const [one, second] = [await getJob(bench, big, 'one'), await getJob(bench, big, 'second')];
    expect(Date.parse(second?.status?.startTime ?? '')).toBeGreaterThanOrEqual(Date.parse(one?.status?.completionTime ?? ''));
  });

  test('is stalled by one that failed, and by a circle', async () => {
    await apply(bench, job(big, 'broken', 1, { model: { volume: { claimName: 'data' }, path: 'nothing.onnx' } }));
    await apply(bench, job(big, 'after-broken', 1, { dependsOn: ['broken'] }));
    expect(await stalled(bench, big, 'after-broken')).toMatchObject({ reason: 'DependencyFailed', message: expect.stringContaining('broken') });
    await apply(bench, job(big, 'egg', 1, { dependsOn: ['hen'] }));
    await apply(bench, job(big, 'hen', 1, { dependsOn: ['egg'] }));
    for (const name of ['egg', 'hen']) expect(await stalled(bench, big, name)).toMatchObject({ reason: 'DependencyCycle' });
    expect(await podsOf(bench, big, 'egg')).toEqual([]);
  });
});

test('a job that somebody else manages is left alone', async () => {
  putInput(big, 'few.jsonl', lines(slowItems(50)));
  const few = (name: string, more: object): object => job(big, name, 1, { ...more, input: fromVolume('few.jsonl') });
  await apply(bench, few('theirs', { managedBy: 'example.com/multicluster' }));
  await apply(bench, few('ours', { managedBy: 'millrace.dev/operator' }));
  await completed(bench, big, 'ours');
  expect((await getJob(bench, big, 'theirs'))?.status).toBeUndefined();
  expect(await podsOf(bench, big, 'theirs')).toEqual([]);
  expect(await bench.refused(['patch', 'batchjob', 'theirs', '--namespace', big.namespace, '--type=merge', '--patch={"spec":{"managedBy":"millrace.dev/operator"}}'])).toContain('spec.managedBy cannot be changed');
});

test('near its end a job lets workers go that have nothing left to do', async () => {
  putInput(big, 'short.jsonl', lines(slowItems(900)));
  await apply(bench, job(big, 'ending', 3, { input: fromVolume('short.jsonl'), sharding: { targetBytes: '8Ki' } }));
  await completed(bench, big, 'ending');
  expect((await podsOf(bench, big, 'ending')).filter(isLive)).toEqual([]);
  expect((await api.list<{ status: { phase: string } }>(`/api/v1/namespaces/${big.namespace}/pods?labelSelector=millrace.dev/job-name=ending`)).every(({ status }) => status.phase === 'Succeeded')).toBe(true);
});
