import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { repoDir } from '../../dev/cluster/cache.ts';
import { accuracyOf } from '../../dev/demo/accuracy.ts';
import { paths } from '../support/e2e/api.ts';
import { openBench } from '../support/e2e/bench.ts';
import { apply, completed, conditionOf, doneItems, failed, fromVolume, getJob, isLive, jobManifest, jobTells, lines, outcomeOf, outputExists, podsOf, putInput } from '../support/e2e/jobs.ts';
import { slowItems, slowResults } from '../support/e2e/slow.ts';
import { makeTenant, type TestTenant } from '../support/e2e/tenant.ts';
import { until } from '../support/e2e/until.ts';

const bench = openBench();
const { api, kubectl, refused } = bench;
let tenant: TestTenant;
const digits = readFileSync(join(repoDir, 'config/samples/data/digits.jsonl'), 'utf8');
beforeAll(async () => {
  tenant = await makeTenant(bench, 'jobs');
  putInput(tenant, 'in/digits.jsonl', digits);
  putInput(tenant, 'in/slow.jsonl', lines(slowItems(2_400)));
});

describe('the digits sample', () => {
  beforeAll(async () => {
    await apply(bench, jobManifest(tenant, 'digits', 'digits.onnx', fromVolume('in/digits.jsonl'), { workers: { max: 2 } }));
    await kubectl(['wait', '--for=condition=Complete', 'batchjob/digits', '--namespace', tenant.namespace, '--timeout=90s']);
  });

  test('is complete with every item, in the order of the input', () => {
    const { resultLines, errors, manifest } = outcomeOf(tenant, 'digits');
    expect(resultLines.map(({ id }) => id)).toEqual(digits.split('\n').filter(Boolean).map((line) => (JSON.parse(line) as { id: string }).id));
    expect(errors).toBe('');
    expect(manifest.items).toEqual({ succeeded: 1797, failed: 0 });
  });

  test('reads at least 97 % of the images that it never saw in training', async () => {
    const { heldOut, all } = await accuracyOf(join(tenant.folder, 'out/digits/results.jsonl'));
    expect(all.items).toBe(1797);
    expect(heldOut.items).toBe(540);
    expect(heldOut.correct / heldOut.items).toBeGreaterThanOrEqual(0.97);
  });

  test('shows state, progress, failures, rate and age in kubectl get', async () => {
    const [header, row] = (await kubectl(['get', 'bj', 'digits', '--namespace', tenant.namespace])).trim().split('\n');
    expect(header).toMatch(/^NAME +STATE +PROGRESS +FAILED +RATE +ETA +AGE$/);
    expect(row).toMatch(/^digits +Complete +100% \(1797\/1797\) +0 +[\d.]+\/s +\S*\s*\d+m?\d*s?$/);
    const [wide] = (await kubectl(['get', 'bj', 'digits', '--namespace', tenant.namespace, '--output=wide'])).split('\n');
    expect(wide).toMatch(/AGE +TENANT +MODEL +WORKERS +QUEUE +MESSAGE$/);
  });

  test('has the conditions of a finished Job, and nothing that still reconciles', async () => {
    const job = await getJob(bench, tenant, 'digits');
    expect(conditionOf(job, 'Complete')?.reason).toBe('AllItemsDone');
    expect(conditionOf(job, 'SuccessCriteriaMet')).toBeDefined();
    for (const type of ['Failed', 'Stalled', 'Reconciling', 'Suspended']) expect(conditionOf(job, type), type).toBeUndefined();
    expect(job?.status).toMatchObject({ state: 'Complete', replicas: 0, items: { total: 1797, succeeded: 1797, failed: 0 }, progress: '100% (1797/1797)' });
    expect(Date.parse(job?.status?.completionTime ?? '')).toBeGreaterThanOrEqual(Date.parse(job?.status?.startTime ?? ''));
  });

  test('tells its story in events', async () => {
    const story = await until('an event Completed', 10_000, async () => {
      const text = await kubectl(['describe', 'bj', 'digits', '--namespace', tenant.namespace]);
      return text.includes('Completed') ? text : undefined;
    });
    for (const reason of ['WorkersCreated', 'Planned', 'Completed']) expect(story).toContain(reason);
    expect(story).toContain('1797 items');
  });

  test('left its worker pods, finished, for their logs, and no segments', async () => {
    const pods = await podsOf(bench, tenant, 'digits');
    expect(pods.map(({ metadata }) => metadata.name).sort()).toEqual(['digits-w0-0', 'digits-w1-0']);
    const job = await getJob(bench, tenant, 'digits');
    for (const pod of pods) {
      expect(pod.status.phase).toBe('Succeeded');
      expect(pod.metadata.ownerReferences).toEqual([expect.objectContaining({ kind: 'BatchJob', name: 'digits', uid: job?.metadata.uid, controller: true })]);
      expect(pod.spec).toMatchObject({ automountServiceAccountToken: false, securityContext: { runAsNonRoot: true } });
      expect(pod.spec.containers[0]?.resources).toEqual({ requests: { cpu: '50m', memory: '128Mi' }, limits: { cpu: '500m', memory: '512Mi' } });
    }
    const logs = await kubectl(['logs', 'digits-w0-0', '--namespace', tenant.namespace]);
    for (const line of logs.trim().split('\n')) expect(() => JSON.parse(line) as unknown, line).not.toThrow();
    expect(existsSync(join(tenant.folder, 'out/digits/.millrace'))).toBe(false);
  });

  test('does not take an earlier job’s output for its own, unless told to overwrite it', async () => {
    await kubectl(['delete', 'bj', 'digits', '--namespace', tenant.namespace, '--timeout=60s']);
    const again = jobManifest(tenant, 'digits', 'digits.onnx', fromVolume('in/digits.jsonl'));
    await apply(bench, again);
    expect(await failed(bench, tenant, 'digits')).toMatchObject({ reason: 'OutputExists', message: expect.stringContaining('out/digits') });
    await kubectl(['delete', 'bj', 'digits', '--namespace', tenant.namespace, '--timeout=60s']);
    const earlier = outcomeOf(tenant, 'digits');
    await apply(bench, jobManifest(tenant, 'digits', 'digits.onnx', fromVolume('in/digits.jsonl'), { output: { volume: { claimName: 'data', path: 'out/digits' }, overwrite: true } }));
    const job = await completed(bench, tenant, 'digits');
    const { results, manifest } = outcomeOf(tenant, 'digits');
    expect(results).toBe(earlier.results);
    expect(manifest.job.uid).toBe(job.metadata.uid);
  });
});

describe('while a job runs', () => {
  test('its workers are scaled up and down, and its progress, rate and time left are told', async () => {
    putInput(tenant, 'in/scaled.jsonl', lines(slowItems(6_000)));
    await apply(bench, jobManifest(tenant, 'scaled', 'slow.onnx', fromVolume('in/scaled.jsonl'), { sharding: { targetBytes: '4Ki' } }));
    await jobTells(bench, tenant, 'scaled', 'has results', (job) => doneItems(job) > 0);
    const live = async (): Promise<number> => (await podsOf(bench, tenant, 'scaled')).filter(isLive).length;
    await kubectl(['scale', 'bj/scaled', '--replicas=3', '--namespace', tenant.namespace]);
    await until('three workers run', 30_000, async () => (await live()) === 3);
    const running = await jobTells(bench, tenant, 'scaled', 'tells 3 workers at work, rate and ETA', ({ status }) => status?.readyWorkers === '3/3' && status.rate !== undefined && status.eta !== undefined);
    expect(running.status?.progress).toMatch(/^\d+% \(\d+\/6000\)$/);
    expect(running.status?.rate).toMatch(/^[\d.]+\/s$/);
    expect(running.status?.eta).toMatch(/^(\d+[mhd])?\d+s$|^\d+m$/);
    await kubectl(['scale', 'bj/scaled', '--replicas=1', '--namespace', tenant.namespace]);
    await until('one worker is left', 40_000, async () => (await live()) === 1);
    const remaining = (await podsOf(bench, tenant, 'scaled')).filter(isLive).map(({ metadata }) => metadata.name);
    expect(remaining).toEqual(['scaled-w0-0']);
    // It holds a minute of CPU time, and one worker does most of it.
    await completed(bench, tenant, 'scaled', 150_000);
    expect(outcomeOf(tenant, 'scaled').results).toBe(slowResults(6_000));
  });

  test('it can be suspended and goes on from what is finished', async () => {
    await apply(bench, jobManifest(tenant, 'paused', 'slow.onnx', fromVolume('in/slow.jsonl'), { workers: { max: 2 } }));
    await jobTells(bench, tenant, 'paused', 'is a quarter done', (job) => doneItems(job) >= 600);
    await api.mergePatch(paths.job(tenant.namespace, 'paused'), { spec: { suspend: true } });
    await until('its workers are gone', 40_000, async () => (await podsOf(bench, tenant, 'paused')).filter(isLive).length === 0);
    const paused = await jobTells(bench, tenant, 'paused', 'is Suspended', (job) => job.status?.state === 'Suspended' && conditionOf(job, 'Suspended') !== undefined && job.status.replicas === 0);
    expect(doneItems(paused)).toBeGreaterThanOrEqual(600);
    expect(doneItems(paused)).toBeLessThan(2_400);
    expect(outputExists(tenant, 'paused')).toBe(false);
    await api.mergePatch(paths.job(tenant.namespace, 'paused'), { spec: { suspend: false } });
    const resumed = await jobTells(bench, tenant, 'paused', 'goes on', (job) => job.status?.state === 'Running');
    expect(doneItems(resumed)).toBeGreaterThanOrEqual(doneItems(paused));
    const done = await completed(bench, tenant, 'paused');
    expect(done.status?.conditions?.find(({ type }) => type === 'Suspended')?.status).toBe('False');
    expect(outcomeOf(tenant, 'paused').results).toBe(slowResults(2_400));
  });

  test('it can be deleted: its pods go, its finished segments stay', async () => {
    await apply(bench, jobManifest(tenant, 'deleted', 'slow.onnx', fromVolume('in/slow.jsonl')));
    const { metadata } = await jobTells(bench, tenant, 'deleted', 'has results', (job) => doneItems(job) > 0);
    await kubectl(['delete', 'bj', 'deleted', '--namespace', tenant.namespace, '--timeout=30s']);
    await until('its pods are gone', 40_000, async () => (await podsOf(bench, tenant, 'deleted')).length === 0);
    const segments = readdirSync(join(tenant.folder, 'out/deleted/.millrace', metadata.uid), { recursive: true, encoding: 'utf8' }).filter((name) => /^\d+\/\d+\/\d+$/.test(name));
    expect(segments.length).toBeGreaterThan(0);
    expect(outputExists(tenant, 'deleted')).toBe(false);
  });

  test('what is fixed cannot be changed', async () => {
    await apply(bench, jobManifest(tenant, 'fixed', 'slow.onnx', fromVolume('in/slow.jsonl'), { suspend: true }));
    const change = (spec: object): Promise<string> => refused(['patch', 'bj', 'fixed', '--namespace', tenant.namespace, '--type=merge', `--patch=${JSON.stringify({ spec })}`]);
    expect(await change({ model: { path: 'other.onnx' } })).toContain('spec.model cannot be changed');
    expect(await change({ input: { volume: { path: 'other.jsonl' } } })).toContain('spec.input cannot be changed');
    expect(await change({ output: { volume: { path: 'elsewhere' } } })).toContain('spec.output cannot be changed');
    expect(await change({ workers: { accelerator: 'cuda' } })).toContain('spec.workers.accelerator cannot be changed');
  });
});

test('a finished job goes when its time to live is over, its results stay', async () => {
  await apply(bench, jobManifest(tenant, 'brief', 'affine.onnx', { inline: '{"id":1,"inputs":{"x":[1,2,3,4]}}\n' }, { ttlSecondsAfterFinished: 1 }));
  await until('its output is there', 60_000, async () => outputExists(tenant, 'brief'));
  await until('the BatchJob is gone', 30_000, async () => (await getJob(bench, tenant, 'brief')) === undefined);
  await until('its pods are gone', 40_000, async () => (await podsOf(bench, tenant, 'brief')).length === 0);
  expect(outcomeOf(tenant, 'brief').resultLines).toEqual([{ id: 1, outputs: { y: [3, 5, 7, 9] } }]);
});

test('kubectl explain describes the fields', async () => {
  expect(await kubectl(['explain', 'batchjob.spec.workers'])).toMatch(/accelerator.*cuda.*max.*kubectl scale/s);
  expect(await kubectl(['explain', 'tenant.spec.quota'])).toContain('ResourceQuota');
});
