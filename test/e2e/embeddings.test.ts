import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';
import { beforeAll, describe, expect, test } from 'vitest';
import { repoDir } from '../../dev/cluster/cache.ts';
import { openBench } from '../support/e2e/bench.ts';
import { apply, completed, jobManifest, outcomeOf, smallWorker } from '../support/e2e/jobs.ts';
import { modelImage } from '../support/e2e/global-setup.ts';
import { makeTenant, type TestTenant } from '../support/e2e/tenant.ts';

const bench = openBench();
let tenant: TestTenant;
const golden = JSON.parse(readFileSync(join(repoDir, 'test/support/models/encoder/golden.json'), 'utf8')) as { text: string; embedding: number[] }[];
const expected = (text: string): number[] => golden.find((one) => one.text === text)?.embedding ?? [];

interface Sample {
  metadata: { namespace: string };
  spec: { model: { image: string; path: string }; workers: { resources: object } };
}

interface Answer {
  custom_id: string;
  response: { body: { data: { embedding: number[] | string }[] } };
}

beforeAll(async () => {
  tenant = await makeTenant(bench, 'embeddings');
});

test('the sample embeds the texts of OpenAI batch lines as an implementation of its own does', async () => {
  const sample = load(readFileSync(join(repoDir, 'config/samples/batchjob-embeddings.yaml'), 'utf8')) as Sample;
  sample.metadata.namespace = tenant.namespace;
  sample.spec.model = { ...sample.spec.model, image: modelImage, path: 'encoder/model.onnx' };
  sample.spec.workers.resources = smallWorker;
  await apply(bench, sample);
  const job = await completed(bench, tenant, 'embeddings');
  expect(job.status?.items).toMatchObject({ total: 2, succeeded: 2, failed: 0 });
  const { resultLines, errors } = outcomeOf(tenant, 'embeddings');
  expect(errors).toBe('');
  const answers = resultLines as unknown as Answer[];
  expect(answers.map(({ custom_id }) => custom_id)).toEqual(['fox', 'both']);
  const vectors = answers.flatMap(({ response }) => response.body.data.map(({ embedding }) => (typeof embedding === 'string' ? [...new Float32Array(new Uint8Array(Buffer.from(embedding, 'base64')).buffer)] : embedding)));
  for (const [at, text] of ['The quick brown fox jumps over the lazy dog.', 'train', 'trains'].entries()) {
    for (const [index, value] of expected(text).entries()) expect(vectors[at]?.[index]).toBeCloseTo(value, 5);
  }
});

describe('a manifest is refused with a sentence when', () => {
  test.each([
    ['the format goes with another task', { input: { format: 'openai-batch', inline: '' } }, 'spec.input.format openai-batch only goes with spec.model.task text-embedding'],
    ['settings of texts go with another task', { model: { image: 'a', embedding: { truncate: true } } }, 'spec.model.embedding only goes with spec.model.task text-embedding'],
    ['texts are pooled in a way that is not known', { model: { image: 'a', task: 'text-embedding', embedding: { pooling: 'max' } } }, 'spec.model.embedding.pooling'],
  ])('%s', async (_what, change, message) => {
    expect(await bench.refused(['apply', '-f', '-'], jobManifest(tenant, 'wrong', 'affine.onnx', { inline: '' }, change))).toContain(message);
  });
});
