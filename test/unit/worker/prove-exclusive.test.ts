import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Job } from '../../../inference-pod/job.ts';
import { proveExclusive } from '../../../inference-pod/planning/prove-exclusive.ts';
import type { OutputStore } from '../../../inference-pod/stores/store.ts';
import { VolumeOutput } from '../../../inference-pod/stores/volume/output.ts';

const jobWith = (output: OutputStore): Job => ({ output, state: '.millrace/u' }) as unknown as Job;

test('an output that makes files exclusively is taken, and keeps nothing of the probe', async () => {
  const output = await VolumeOutput.open({ root: mkdtempSync(join(tmpdir(), 'millrace-probe-')), path: 'out' }, 'me');
  await proveExclusive(jobWith(output));
  expect(await output.list('.millrace/u')).toEqual([]);
});

test('an output that overwrites ends the job, because results would not be written exactly once', async () => {
  const output = await VolumeOutput.open({ root: mkdtempSync(join(tmpdir(), 'millrace-probe-')), path: 'out' }, 'me');
  const careless = Object.assign(Object.create(output) as OutputStore, { field: 'spec.output.s3 "s3://b/out/"', openFolder: async () => undefined, create: async () => true });
  await expect(proveExclusive(jobWith(careless))).rejects.toThrow('spec.output.s3 "s3://b/out/": a file that was there was overwritten');
});
