import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { paths } from '../support/e2e/api.ts';
import { openBench } from '../support/e2e/bench.ts';
import { modelImage } from '../support/e2e/global-setup.ts';
import { apply, completed, conditionOf, failed, fromVolume, getJob, isLive, jobManifest, jobTells, lines, outcomeOf, outputExists, podsOf, putInput, stalled } from '../support/e2e/jobs.ts';
import { slowItems } from '../support/e2e/slow.ts';
import { makeTenant, openFolder, type TenantObject, type TestTenant } from '../support/e2e/tenant.ts';
import { until } from '../support/e2e/until.ts';

const bench = openBench();
const { kubectl, refused } = bench;
let tenant: TestTenant;
const item = (id: string, x: unknown): object => ({ id, inputs: { x } });
const good = (id: string): object => item(id, [1, 2, 3, 4]);

beforeAll(async () => {
  tenant = await makeTenant(bench, 'bad');
  openFolder(join(tenant.folder, 'models'));
  writeFileSync(join(tenant.folder, 'models/broken.onnx'), 'this is text');
  putInput(tenant, 'in/good.jsonl', lines([good('a'), good('b')]));
});

/** A job that would work, with these fields of its spec changed. */
function jobWith(name: string, change: object): object {
  const whole = jobManifest(tenant, name, 'affine.onnx', fromVolume('in/good.jsonl')) as { spec: object };
  return { ...whole, spec: { ...whole.spec, ...change } };
}

/** Runs a job over these lines and returns what it left. */
async function run(name: string, model: string, input: string, more: object = {}) {
  putInput(tenant, `in/${name}.jsonl`, input);
  await apply(bench, jobManifest(tenant, name, model, fromVolume(`in/${name}.jsonl`), { ...more }));
  const job = await completed(bench, tenant, name);
  return { job, ...outcomeOf(tenant, name) };
}

describe.concurrent('a bad item becomes a line in errors.jsonl, the others get their results', () => {
  const cases: [what: string, name: string, model: string, bad: string, id: string | undefined, code: string, message: RegExp][] = [
    ['malformed JSON', 'bad-json', 'affine.onnx', '{"id":"bad","inputs":{"x":[1,2', undefined, 'InvalidJson', /not valid JSON/],
    ['a wrong shape', 'bad-shape', 'affine.onnx', JSON.stringify(item('bad', [1, 2])), 'bad', 'InvalidItem', /inputs\.x: expected float32 \[4\], got \[2\]/],
    ['a wrong input name', 'bad-name', 'affine.onnx', JSON.stringify({ id: 'bad', inputs: { y: [1, 2, 3, 4] } }), 'bad', 'InvalidItem', /model needs "x", item has "y"/],
    ['a NaN output', 'bad-nan', 'nan.onnx', JSON.stringify(item('bad', [-1])), 'bad', 'NonFiniteOutput', /outputs\.y: the model gave NaN/],
  ];
  test.each(cases)('%s', async (_what, name, model, bad, id, code, message) => {
    const fine = (n: string): string => JSON.stringify(model === 'nan.onnx' ? item(n, [1]) : good(n));
    const input = [fine('first'), bad, fine('last')].map((line) => `${line}\n`).join('');
    const { job, resultLines, errorLines } = await run(name, model, input);
    expect(resultLines.map((line) => line.id)).toEqual(['first', 'last']);
    expect(errorLines).toEqual([{ ...(id === undefined ? {} : { id }), file: `in/${name}.jsonl`, line: 2, offset: input.indexOf('\n') + 1, code, message: expect.stringMatching(message) }]);
    expect(job.status?.items).toMatchObject({ total: 3, succeeded: 2, failed: 1 });
    expect(job.status?.items?.firstError).toMatch(message);
    expect(job.status?.message).toContain('errors.jsonl');
  });

  test('an empty input is complete with nothing in it', async () => {
    const { job, results, errors, manifest } = await run('empty', 'affine.onnx', '');
    expect([results, errors]).toEqual(['', '']);
    expect(manifest.items).toEqual({ succeeded: 0, failed: 0 });
    expect(job.status?.progress).toBe('100% (0/0)');
  });

  test('blank lines are no items', async () => {
    const { job, resultLines } = await run('blank', 'affine.onnx', `\n${lines([good('a')])}\n  \n${lines([good('b')])}`);
    expect(resultLines.map(({ id }) => id)).toEqual(['a', 'b']);
    expect(job.status?.items?.total).toBe(2);
  });
});

describe.concurrent('a job that cannot work fails with a reason and a sentence', () => {
  test.each([
    ['the input file is missing', 'no-input', { input: fromVolume('in/nowhere.jsonl') }, 'InputNotFound', /"in\/nowhere\.jsonl" was not found in the input volume/],
    ['the glob matches nothing', 'no-match', { input: fromVolume('in/*.csv') }, 'InputNotFound', /"in\/\*\.csv" matches no file/],
    ['the model is missing', 'no-model', { model: { image: modelImage, path: 'nothing.onnx' } }, 'ModelNotFound', /"nothing\.onnx" was not found/],
    ['the model is no ONNX file', 'no-onnx', { model: { image: modelImage, path: 'not_onnx.onnx' } }, 'ModelInvalid', /not_onnx\.onnx/],
    ['the model on a volume is no ONNX file', 'no-onnx-volume', { model: { volume: { claimName: 'data' }, path: 'models/broken.onnx' } }, 'ModelInvalid', /broken\.onnx/],
    ['the model is cut off', 'cut-off', { model: { image: modelImage, path: 'truncated.onnx' } }, 'ModelInvalid', /truncated\.onnx/],
  ])('%s', async (_what, name, change, reason, message) => {
    await apply(bench, jobWith(name, change));
    const condition = await failed(bench, tenant, name);
    expect(condition).toMatchObject({ reason, message: expect.stringMatching(message) });
    const job = await getJob(bench, tenant, name);
    expect(job?.status).toMatchObject({ state: 'Failed', message: condition.message, replicas: 0 });
    expect(conditionOf(job, 'Stalled')?.reason).toBe(reason);
    expect(outputExists(tenant, name)).toBe(false);
  });

  test('no node has the GPU that it asks for: it waits and says so', async () => {
    await apply(bench, jobWith('no-gpu', { workers: { max: 1, accelerator: 'cuda', resources: { limits: { 'nvidia.com/gpu': 64 } } } }));
    const job = await jobTells(bench, tenant, 'no-gpu', 'waits', (found) => conditionOf(found, 'Reconciling')?.reason === 'NoMatchingNode');
    expect(job.status?.message).toMatch(/^of 1 worker\(s\) with .*64 nvidia\.com\/gpu each, none would fit on the \d+ node\(s\) that match, were they empty; \d+ ahead$/);
    expect(await podsOf(bench, tenant, 'no-gpu')).toEqual([]);
    await kubectl(['delete', 'bj', 'no-gpu', '--namespace', tenant.namespace, '--wait=false']);
  });

  test('the only node that it may go to has a taint that it does not tolerate: it waits and says so', async () => {
    await apply(bench, jobWith('tainted', { workers: { max: 1, nodeSelector: { 'node-role.kubernetes.io/control-plane': '' } } }));
    const job = await jobTells(bench, tenant, 'tainted', 'waits', (found) => conditionOf(found, 'Reconciling')?.reason === 'NoMatchingNode');
    expect(job.status?.message).toMatch(/^no node of \d+ matches its nodeSelector and tolerations; \d+ ahead$/);
    expect(await podsOf(bench, tenant, 'tainted')).toEqual([]);
    await kubectl(['delete', 'bj', 'tainted', '--namespace', tenant.namespace, '--wait=false']);
  });

  test('it has not finished in time', async () => {
    putInput(tenant, 'in/long.jsonl', lines(slowItems(20_000)));
    await apply(bench, jobManifest(tenant, 'late', 'slow.onnx', fromVolume('in/long.jsonl'), { activeDeadlineSeconds: 4 }));
    expect(await failed(bench, tenant, 'late')).toMatchObject({ reason: 'DeadlineExceeded', message: 'the job was not finished 4s after its start (spec.activeDeadlineSeconds)' });
    expect((await podsOf(bench, tenant, 'late')).filter(isLive)).toEqual([]);
  });

  test('a node has a GPU, but CUDA cannot be used: it gets the GPU and fails loudly', async () => {
    const node = bench.cluster.nodes.find((name) => name.endsWith('-worker')) ?? '';
    const gpus = (op: string, value?: string): Promise<string> =>
      kubectl(['patch', 'node', node, '--subresource=status', '--type=json', '--patch', JSON.stringify([{ op, path: '/status/capacity/nvidia.com~1gpu', value }])]);
    await gpus('add', '2');
    try {
      await apply(bench, jobWith('cuda', { workers: { max: 1, accelerator: 'cuda' } }));
      const [pod] = await until('its worker is there', 20_000, async () => {
        const pods = await podsOf(bench, tenant, 'cuda');
        return pods.length > 0 ? pods : undefined;
      });
      expect(JSON.stringify(pod)).toContain('"nvidia.com/gpu":"1"');
      expect(await failed(bench, tenant, 'cuda')).toMatchObject({ reason: 'AcceleratorUnavailable', message: expect.stringContaining('spec.workers.accelerator is "cuda"') });
    } finally {
      await gpus('remove');
    }
  });

  test('more items fail than the job allows', async () => {
    putInput(tenant, 'in/hopeless.jsonl', lines([good('a'), ...Array.from({ length: 9 }, (_, i) => item(`b${i}`, [0]))]));
    await apply(bench, jobManifest(tenant, 'hopeless', 'affine.onnx', fromVolume('in/hopeless.jsonl'), { retry: { maxFailedItems: '10%' } }));
    expect(await failed(bench, tenant, 'hopeless')).toMatchObject({ reason: 'TooManyFailedItems', message: expect.stringMatching(/items failed, spec\.retry\.maxFailedItems 10% allows 1.*expected float32 \[4\], got \[1\]/) });
  });

  test('an image that cannot be pulled stalls the job, which fails when the patience is over', async () => {
    await apply(bench, jobWith('no-image', { model: { image: 'registry.invalid/nothing:v1' } }));
    expect(await stalled(bench, tenant, 'no-image')).toMatchObject({ reason: 'ImagePullFailed', message: expect.stringContaining('registry.invalid/nothing:v1') });
    expect(await failed(bench, tenant, 'no-image')).toMatchObject({ reason: 'ImagePullFailed', message: expect.stringContaining('gave up after 20s') });
  });

  test('a missing claim stalls the job, which goes on once the claim is there', async () => {
    await apply(bench, jobManifest(tenant, 'no-claim', 'affine.onnx', { inline: lines([good('a')]) }, { output: { volume: { claimName: 'late', path: 'out' } } }));
    expect(await stalled(bench, tenant, 'no-claim')).toMatchObject({ reason: 'VolumeClaimNotFound', message: expect.stringMatching(/spec\.output\.volume\.claimName: PersistentVolumeClaim "late" does not exist in namespace/) });
    expect(await podsOf(bench, tenant, 'no-claim')).toEqual([]);
    await kubectl(['apply', '-f', '-'], { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name: 'late', namespace: tenant.namespace }, spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '10Mi' } } } });
    await completed(bench, tenant, 'no-claim');
  });

  test('a missing ConfigMap and a missing key stall the job', async () => {
    await apply(bench, jobManifest(tenant, 'no-map', 'affine.onnx', { configMap: { name: 'nowhere', key: 'items' } }));
    expect(await stalled(bench, tenant, 'no-map')).toMatchObject({ reason: 'ConfigMapNotFound', message: expect.stringContaining('nowhere') });
    await kubectl(['create', 'configmap', 'nowhere', '--from-literal=other=x', '--namespace', tenant.namespace]);
    await jobTells(bench, tenant, 'no-map', 'misses the key', (job) => conditionOf(job, 'Stalled')?.reason === 'ConfigMapKeyNotFound');
  });
});

test('a quota too small for one worker is told with what is used and allowed, and a larger one lets the job go on', async () => {
  const small = await makeTenant(bench, 'small', { quota: { 'requests.cpu': '20m', 'limits.cpu': '1', 'requests.memory': '1Gi', 'limits.memory': '1Gi' } });
  putInput(small, 'in.jsonl', lines([good('a')]));
  await apply(bench, jobManifest(small, 'large', 'affine.onnx', fromVolume('in.jsonl')));
  const condition = await stalled(bench, small, 'large');
  expect(condition).toMatchObject({ reason: 'ExceedsQuota' });
  expect(condition.message).toBe(`needs 50m cpu, the whole quota of tenant ${small.name} is 20m; ask for more quota or for fewer or smaller workers`);
  await bench.api.mergePatch(`/apis/millrace.dev/v1alpha1/tenants/${small.name}`, { spec: { quota: { 'requests.cpu': '1' } } });
  await completed(bench, small, 'large');
});

test('a pool larger than the quota works with the workers that fit, and tells what it waits for', async () => {
  const narrow = await makeTenant(bench, 'narrow', { quota: { pods: '1', 'requests.cpu': '1', 'requests.memory': '1Gi', 'limits.cpu': '4', 'limits.memory': '4Gi' } });
  putInput(narrow, 'in.jsonl', lines(Array.from({ length: 1000 }, (_, i) => item(`n${i}`, [i, 0, 0, 0]))));
  await apply(bench, jobManifest(narrow, 'wide', 'slow.onnx', fromVolume('in.jsonl'), { workers: { max: 3 } }));
  const job = await jobTells(bench, narrow, 'wide', 'works with one worker', ({ status }) => status?.state === 'Running' && status.readyWorkers === '1/3');
  expect(job.status?.message).toMatch(/^1 of 3 worker\(s\) at work; waiting for quota: needs 1 pods, tenant \S+ has 0 of 1 left$/);
  await completed(bench, narrow, 'wide');
});

test('a BatchJob beyond the quota of jobs is refused by the API server, which says how many there may be; the Tenant tells it too', async () => {
  const single = await makeTenant(bench, 'single', { quota: { 'count/batchjobs.millrace.dev': '1' } });
  await apply(bench, jobManifest(single, 'only', 'affine.onnx', { inline: lines([good('a')]) }, { suspend: true }));
  expect(await refused(['apply', '-f', '-'], jobManifest(single, 'second', 'affine.onnx', { inline: lines([good('a')]) })))
    .toMatch(/exceeded quota: millrace-quota, requested: count\/batchjobs\.millrace\.dev=1, used: count\/batchjobs\.millrace\.dev=1, limited: count\/batchjobs\.millrace\.dev=1/);
  await until('the Tenant shows it', 30_000, async () => {
    const found = await bench.api.get<TenantObject>(paths.tenant(single.name));
    const use = found?.status?.usage?.['count/batchjobs.millrace.dev'];
    return use?.used === '1' && use.hard === '1';
  });
});

describe('a wrong manifest is refused with a sentence', () => {
  test.each([
    ['an unknown field', { modle: 'x' }, 'unknown field "spec.modle"'],
    ['an unknown field further down', { workers: { max: 1, gpus: 2 } }, 'unknown field "spec.workers.gpus"'],
    ['two models', { model: { image: 'a', volume: { claimName: 'data' } } }, 'spec.model needs exactly one of image and volume'],
    ['no model', { model: { path: 'model.onnx' } }, 'spec.model needs exactly one of image and volume'],
    ['two inputs', { input: { inline: '', configMap: { name: 'a', key: 'b' } } }, 'spec.input needs exactly one of volume, s3, configMap and inline'],
    ['an absolute path', { input: fromVolume('/etc/passwd') }, 'spec.input.volume.path must be relative'],
    ['a path out of the volume', { output: { volume: { claimName: 'data', path: 'a/../../b' } } }, 'spec.output.volume.path must be relative'],
    ['no worker', { workers: { max: 0 } }, 'spec.workers.max'],
    ['a percentage of nonsense', { retry: { maxFailedItems: '200%' } }, 'spec.retry.maxFailedItems'],
  ])('%s', async (_what, change, message) => {
    expect(await refused(['apply', '-f', '-'], jobWith('wrong', change))).toContain(message);
  });

  test('a name too long for its pods', async () => {
    expect(await refused(['apply', '-f', '-'], jobManifest(tenant, 'x'.repeat(49), 'affine.onnx', fromVolume('in/good.jsonl')))).toContain('metadata.name must have at most 48 characters');
  });
});

test('kubectl wait sees the failure of a job', async () => {
  await until('the job without input is there', 60_000, async () => (await getJob(bench, tenant, 'no-input')) !== undefined);
  await kubectl(['wait', '--for=condition=Failed', 'batchjob/no-input', '--namespace', tenant.namespace, '--timeout=60s']);
});
