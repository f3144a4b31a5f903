import { beforeAll, describe, expect, test } from 'vitest';
import { paths } from '../support/e2e/api.ts';
import { openBench } from '../support/e2e/bench.ts';
import { apply, completed, conditionOf, doneItems, failed, fromVolume, jobManifest, jobTells, lines, outcomeOf, podsOf, putInput } from '../support/e2e/jobs.ts';
import { slowItems, slowResults } from '../support/e2e/slow.ts';
import { makeTenant, type TestTenant } from '../support/e2e/tenant.ts';

const bench = openBench();
const { api, kubectl } = bench;
const ITEMS = 500;
let tenant: TestTenant;

/** All with one output, as the same work has. */
const job = (name: string, key: string, more: object = {}): object =>
  jobManifest(tenant, name, 'slow.onnx', fromVolume('in.jsonl'), { idempotencyKey: key, output: { volume: { claimName: 'data', path: `out/${key}` } }, ...more });
const duplicateOf = (found: { status?: object } | undefined): unknown => (found?.status as { duplicateOf?: { name: string } } | undefined)?.duplicateOf?.name;

beforeAll(async () => {
  tenant = await makeTenant(bench, 'once');
  putInput(tenant, 'in.jsonl', lines(slowItems(ITEMS)));
});

describe('the same work submitted again', () => {
  test('waits for the first job, says how far that is, and has its results, without a pod of its own', async () => {
    await apply(bench, job('first', 'nightly'));
    await jobTells(bench, tenant, 'first', 'has the key', (found) => found.status?.conditions?.some(({ type, status }) => type === 'Duplicate' && status === 'False') ?? false);
    // What may be changed on a job makes no other work of it.
    await apply(bench, job('again', 'nightly', { priority: 5 }));
    await apply(bench, job('depends', 'other', { dependsOn: ['again'], output: { volume: { claimName: 'data', path: 'out/other' } } }));
    await jobTells(bench, tenant, 'first', 'works', (found) => doneItems(found) > 0);
    const waits = await jobTells(bench, tenant, 'again', 'waits for the first', (found) => /^same as first, which is Running/.test(found.status?.message ?? ''));
    expect(waits.status).toMatchObject({ state: 'Pending', replicas: 0 });
    expect([conditionOf(waits, 'Reconciling')?.reason, conditionOf(waits, 'Duplicate')?.reason, duplicateOf(waits)]).toEqual(['Duplicate', 'SameKeyAndSpec', 'first']);

    await completed(bench, tenant, 'first', 180_000);
    const again = await completed(bench, tenant, 'again', 60_000);
    expect(again.status).toMatchObject({ state: 'Complete', progress: `100% (${ITEMS}/${ITEMS})`, message: `same as first, which has ${ITEMS} result(s)`, output: 'data/out/nightly/results.jsonl' });
    expect(outcomeOf(tenant, 'nightly').results).toBe(slowResults(ITEMS));
    expect(await podsOf(bench, tenant, 'again')).toEqual([]);
    expect(await kubectl(['describe', 'batchjob', 'again', '--namespace', tenant.namespace])).toMatch(/Normal\s+Duplicate.*same as first/);
    await completed(bench, tenant, 'depends', 180_000);
  }, 300_000);

  test('is complete at once when the first job is', async () => {
    await apply(bench, job('much-later', 'nightly'));
    const { status } = await completed(bench, tenant, 'much-later', 15_000);
    expect(status).toMatchObject({ items: { succeeded: ITEMS }, replicas: 0 });
  });

  test('is refused with another spec, which is named', async () => {
    await apply(bench, job('other-spec', 'nightly', { input: fromVolume('other.jsonl') }));
    const condition = await failed(bench, tenant, 'other-spec', 15_000);
    expect(condition).toMatchObject({ reason: 'IdempotencyKeyReused', message: expect.stringMatching(/^spec\.idempotencyKey: "nightly" belongs until 20\S+Z to BatchJob first, which has another spec\.input\.volume\.path; create a BatchJob with another key, or with the same values$/) });
    expect(await podsOf(bench, tenant, 'other-spec')).toEqual([]);
  });

  test('runs when the first job is gone', async () => {
    await kubectl(['delete', 'batchjobs', 'first', '--namespace', tenant.namespace]);
    await apply(bench, job('anew', 'nightly', { output: { volume: { claimName: 'data', path: 'out/nightly' }, overwrite: true } }));
    const { status } = await completed(bench, tenant, 'anew', 180_000);
    expect(duplicateOf({ status: status as object })).toBeUndefined();
    expect((await api.get<{ status: { state: string } }>(paths.job(tenant.namespace, 'again')))?.status.state).toBe('Complete');
  }, 240_000);

  test('runs when the first job has failed', async () => {
    const broken = { model: { volume: { claimName: 'data' }, path: 'nothing.onnx' } };
    await apply(bench, job('fails', 'retried', broken));
    const { reason } = await failed(bench, tenant, 'fails');
    expect(reason).not.toBe('IdempotencyKeyReused');
    await apply(bench, job('retry', 'retried'));
    await completed(bench, tenant, 'retry', 180_000);
    expect((await podsOf(bench, tenant, 'retry')).length).toBeGreaterThan(0);
  }, 240_000);
});

test('the key cannot be changed', async () => {
  expect(await bench.refused(['patch', 'batchjob', 'anew', '--namespace', tenant.namespace, '--type=merge', '--patch={"spec":{"idempotencyKey":"x"}}'])).toContain('spec.idempotencyKey cannot be changed');
});
