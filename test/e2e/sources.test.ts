import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { repoDir } from '../../dev/cluster/cache.ts';
import { openBench } from '../support/e2e/bench.ts';
import { apply, completed, fromVolume, jobManifest, jobTells, lines, outcomeOf, podsOf, putInput } from '../support/e2e/jobs.ts';
import { makeTenant, openFolder, type TestTenant } from '../support/e2e/tenant.ts';

const bench = openBench();
let tenant: TestTenant;
const item = (id: string, first: number): object => ({ id, inputs: { x: [first, 0, 0, 0] } });
const ids = (name: string): unknown[] => outcomeOf(tenant, name).resultLines.map(({ id }) => id);

beforeAll(async () => {
  tenant = await makeTenant(bench, 'sources');
  putInput(tenant, 'in/b.jsonl', lines([item('b1', 1), item('b2', 2)]));
  putInput(tenant, 'in/a.jsonl', lines([item('a1', 3)]));
  putInput(tenant, 'in/deep/c.jsonl', lines([item('c1', 4)]).trimEnd()); // no newline at the end of the file
  putInput(tenant, 'in/notes.txt', lines([item('txt', 5)]));
  openFolder(join(tenant.folder, 'models'));
  copyFileSync(join(repoDir, 'test/support/models/affine.onnx'), join(tenant.folder, 'models/affine.onnx'));
});

test.concurrent('the model comes from a volume', async () => {
  await apply(bench, jobManifest(tenant, 'volume-model', '', fromVolume('in/a.jsonl'), { model: { volume: { claimName: 'data' }, path: 'models/affine.onnx' } }));
  await completed(bench, tenant, 'volume-model');
  expect(outcomeOf(tenant, 'volume-model').resultLines).toEqual([{ id: 'a1', outputs: { y: [7, 1, 1, 1] } }]);
});

test.concurrent('a folder is read with all that is below it, in the order of the paths', async () => {
  await apply(bench, jobManifest(tenant, 'folder', 'affine.onnx', fromVolume('in/')));
  const job = await completed(bench, tenant, 'folder');
  expect(ids('folder')).toEqual(['a1', 'b1', 'b2', 'c1', 'txt']);
  expect(job.status?.items?.total).toBe(5);
});

test.concurrent('a glob picks files', async () => {
  await apply(bench, jobManifest(tenant, 'glob', 'affine.onnx', fromVolume('in/*.jsonl')));
  await completed(bench, tenant, 'glob');
  expect(ids('glob')).toEqual(['a1', 'b1', 'b2']);
});

test.concurrent('items come from a ConfigMap, as it was when the job began', async () => {
  const items = (first: number): object => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'items', namespace: tenant.namespace }, data: { 'items.jsonl': lines(Array.from({ length: 40 }, (_, i) => item(`m${i}`, first + i))) } });
  await bench.kubectl(['apply', '-f', '-'], items(0));
  await apply(bench, jobManifest(tenant, 'config-map', 'affine.onnx', { configMap: { name: 'items', key: 'items.jsonl' } }));
  await jobTells(bench, tenant, 'config-map', 'has a worker', ({ status }) => (status?.replicas ?? 0) > 0 || status?.state === 'Complete');
  await bench.kubectl(['apply', '-f', '-'], items(1000));
  await completed(bench, tenant, 'config-map');
  expect(outcomeOf(tenant, 'config-map').resultLines.map(({ outputs }) => (outputs['y'] as number[])[0])).toEqual(Array.from({ length: 40 }, (_, i) => 2 * i + 1));
});

test.concurrent('items are written in the manifest itself', async () => {
  await apply(bench, jobManifest(tenant, 'inline', 'affine.onnx', { inline: lines([item('one', 10), item('two', 20)]) }));
  await completed(bench, tenant, 'inline');
  expect(outcomeOf(tenant, 'inline').resultLines).toEqual([{ id: 'one', outputs: { y: [21, 1, 1, 1] } }, { id: 'two', outputs: { y: [41, 1, 1, 1] } }]);
});

test.concurrent('a ReadWriteOnce claim keeps all workers on one node, and says so', async () => {
  await bench.kubectl(['apply', '-f', '-'], {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'once', namespace: tenant.namespace },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '100Mi' } } },
  });
  const items = lines(Array.from({ length: 1500 }, (_, i) => item(`o${i}`, i)));
  await apply(bench, jobManifest(tenant, 'once', 'slow.onnx', { inline: items }, { workers: { max: 2 }, output: { volume: { claimName: 'once', path: 'out' } } }));
  const running = await jobTells(bench, tenant, 'once', 'has two workers at work', ({ status }) => status?.readyWorkers === '2/2');
  expect(running.status?.message).toContain('one node');
  const pods = await podsOf(bench, tenant, 'once');
  expect(new Set(pods.map(({ spec }) => spec.nodeName)).size).toBe(1);
  expect(pods).toHaveLength(2);
  const done = await completed(bench, tenant, 'once');
  expect(done.status?.items).toMatchObject({ total: 1500, succeeded: 1500, failed: 0 });
});
