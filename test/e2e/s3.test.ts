import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { openBench } from '../support/e2e/bench.ts';
import { processOf, signal } from '../support/e2e/faults.ts';
import { apply, completed, doneItems, failed, jobManifest, jobTells, lines, podsOf, sha256 } from '../support/e2e/jobs.ts';
import { type ClusterS3, deployS3, s3Keys } from '../support/e2e/s3-server.ts';
import { makeTenant, type TestTenant } from '../support/e2e/tenant.ts';
import { slowItems, slowResults } from '../support/e2e/slow.ts';

const bench = openBench();
/** An endpoint that does not answer is given up after more than a minute. */
const limitMs = 240_000;
const testMs = 300_000;
let s3: ClusterS3;
let tenant: TestTenant;
/** May not reach the server. */
let fenced: TestTenant;

const secret = (of: TestTenant, name: string, data: Record<string, string>): Promise<string> =>
  bench.kubectl(['apply', '-f', '-'], { apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: of.namespace }, stringData: data });
const from = (key: string, credentialsSecret = 'keys'): object => ({ s3: { endpoint: s3.endpoint, bucket: s3.bucket, key, credentialsSecret } });
const to = (prefix: string, credentialsSecret = 'keys'): object => ({ s3: { endpoint: s3.endpoint, bucket: s3.bucket, prefix, credentialsSecret } });
const items = (count: number): string => lines(Array.from({ length: count }, (_, id) => ({ id, inputs: { x: [id, 0, 0, 0] } })));
const outputOf = (prefix: string, name = 'results.jsonl'): string => readFileSync(join(s3.folder, prefix, name), 'utf8');
const idsOf = (text: string): unknown[] => text.split('\n').filter(Boolean).map((line) => (JSON.parse(line) as { id: unknown }).id);

beforeAll(async () => {
  s3 = await deployS3(bench);
  tenant = await makeTenant(bench, 's3', { network: { egress: [s3.egress] } });
  fenced = await makeTenant(bench, 's3-fenced');
  await secret(tenant, 'keys', s3Keys);
  await secret(tenant, 'wrong', { ...s3Keys, AWS_SECRET_ACCESS_KEY: 'another' });
  await secret(fenced, 'keys', s3Keys);
  mkdirSync(join(s3.folder, 'in'), { recursive: true });
  writeFileSync(join(s3.folder, 'in/few.jsonl'), items(100));
  writeFileSync(join(s3.folder, 'in/slow.jsonl'), lines(slowItems(1_500)));
}, 300_000);

test.concurrent('a job reads from S3 and writes to S3, and its status says where', async () => {
  await apply(bench, jobManifest(tenant, 'whole', 'affine.onnx', from('in/few.jsonl'), { output: to('out/whole'), workers: { max: 2 } }));
  const job = await completed(bench, tenant, 'whole', limitMs);
  expect(job.status).toMatchObject({ output: 's3://data/out/whole/results.jsonl', errors: 's3://data/out/whole/errors.jsonl', items: { total: 100, succeeded: 100, failed: 0 } });
  expect(idsOf(outputOf('out/whole'))).toEqual(Array.from({ length: 100 }, (_, id) => id));
  expect(JSON.parse(outputOf('out/whole', 'manifest.json'))).toMatchObject({ results: { sha256: sha256(outputOf('out/whole')) } });
  expect(readdirSync(join(s3.folder, 'out/whole')).filter((name) => !name.startsWith('.')).sort()).toEqual(['errors.jsonl', 'manifest.json', 'results.jsonl']);
  // The operator's objects name the Secret and never hold what is in it.
  expect(JSON.stringify(await podsOf(bench, tenant, 'whole'))).not.toContain(s3Keys.AWS_SECRET_ACCESS_KEY);
}, testMs);

test.concurrent('a worker that is killed in mid-job changes nothing in the results', async () => {
  await apply(bench, jobManifest(tenant, 'killed', 'slow.onnx', from('in/slow.jsonl'), { output: to('out/killed') }));
  await jobTells(bench, tenant, 'killed', 'has results', (job) => doneItems(job) > 100, limitMs);
  const [pod] = await podsOf(bench, tenant, 'killed');
  if (pod === undefined) throw new Error('the job has no worker');
  await signal(await processOf(pod), 'KILL');
  await completed(bench, tenant, 'killed', limitMs);
  expect(outputOf('out/killed')).toBe(slowResults(1_500));
}, testMs);

test.concurrent('a Secret that is missing is named, and the job goes on when it is there', async () => {
  await apply(bench, jobManifest(tenant, 'waiting', 'affine.onnx', from('in/few.jsonl', 'later'), { output: to('out/waiting') }));
  await jobTells(bench, tenant, 'waiting', 'names the Secret', ({ status }) => /secret "later" not found/.test(status?.message ?? ''), limitMs);
  await secret(tenant, 'later', { AWS_ACCESS_KEY_ID: s3Keys.AWS_ACCESS_KEY_ID });
  await jobTells(bench, tenant, 'waiting', 'names the key', ({ status }) => /couldn't find key AWS_SECRET_ACCESS_KEY in Secret/.test(status?.message ?? ''), limitMs);
  await secret(tenant, 'later', s3Keys);
  await completed(bench, tenant, 'waiting', limitMs);
}, testMs);

test.concurrent('wrong keys end the job with a sentence that names the field', async () => {
  await apply(bench, jobManifest(tenant, 'denied', 'affine.onnx', from('in/few.jsonl', 'wrong'), { output: to('out/denied') }));
  expect(await failed(bench, tenant, 'denied', limitMs)).toMatchObject({ reason: 'AccessDenied', message: expect.stringContaining('spec.input.s3.credentialsSecret: its keys are not taken') as unknown });
}, testMs);

test.concurrent('a tenant whose egress rules do not allow it cannot reach the server', async () => {
  await apply(bench, jobManifest(fenced, 'fenced', 'affine.onnx', from('in/few.jsonl')));
  expect(await failed(bench, fenced, 'fenced', limitMs)).toMatchObject({ reason: 'InputNotFound', message: expect.stringMatching(/cannot be reached: .*spec\.network\.egress/) as unknown });
}, testMs);

test.concurrent('the API server refuses a job with two outputs, with none, or with a key that leads out', async () => {
  const refusal = (input: object, output: object): Promise<string> => bench.refused(['apply', '-f', '-'], jobManifest(tenant, 'refused', 'affine.onnx', input, { output }));
  expect(await refusal(from('in/few.jsonl'), {})).toContain('spec.output needs exactly one of volume and s3');
  expect(await refusal(from('in/few.jsonl'), { volume: { claimName: 'data' }, ...to('x') })).toContain('spec.output needs exactly one of volume and s3');
  expect(await refusal({ ...from('in/few.jsonl'), inline: 'x' }, to('x'))).toContain('spec.input needs exactly one of volume, s3, configMap and inline');
  expect(await refusal(from('../x'), to('x'))).toContain("spec.input.s3.key must not begin with '/'");
}, testMs);
