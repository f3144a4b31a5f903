import { availableParallelism } from 'node:os';
import { describe, expect, test } from 'vitest';
import { readConfig, readEarlyConfig } from '../../../inference-pod/config.ts';
import { env, s3Env } from '../../../inference-pod/contract.ts';
import { takeS3Keys } from '../../../inference-pod/s3-keys.ts';

const spec = {
  job: { uid: '5f0c', namespace: 'tenant-acme', name: 'nightly' },
  model: { root: '/model', path: 'm.onnx', task: 'tensors', accelerator: 'auto' },
  input: { format: 'jsonl', root: '/in', path: '', additionalPaths: ['b/*.csv'] },
  output: { root: '/out', path: 'out/', overwrite: false },
  sharding: { targetBytes: 8388608, maxWorkers: 4 },
  batching: { maxSize: 32, timeoutSeconds: 300 },
};
const base = { [env.spec]: JSON.stringify(spec), [env.slot]: '3', [env.attempt]: '2', [env.syncUrl]: 'https://sync:9443', [env.cpuMillis]: '2500' };

/** The spec with one field set, by its path. */
function having(path: string, value: unknown): Record<string, string> {
  const changed = structuredClone(spec) as Record<string, unknown>;
  const keys = path.split('.');
  const last = keys.pop() as string;
  const parent = keys.reduce((inner, key) => inner[key] as Record<string, unknown>, changed);
  if (value === undefined) delete parent[last];
  else parent[last] = value;
  return { ...base, [env.spec]: JSON.stringify(changed) };
}

describe('the configuration', () => {
  test('comes from the environment', () => {
    expect(readConfig({ ...base, [env.tokenFile]: '/t', [env.syncCa]: 'PEM' }, {})).toMatchObject({
      spec,
      worker: { job: '5f0c', slot: 3, attempt: 2, incarnation: expect.stringMatching(/^[0-9a-f-]{36}$/) as unknown },
      sync: { url: 'https://sync:9443', tokenFile: '/t', ca: 'PEM' },
      cpus: 2,
      healthPort: 0,
    });
  });

  test('takes the whole CPUs of the least limit, and one at least', () => {
    const [asked, machine] = [(millis: string): Record<string, string> => ({ ...base, [env.cpuMillis]: millis }), availableParallelism()];
    expect(readConfig(asked('250'), {}).cpus).toBe(1);
    expect(readConfig(asked('2000'), { cpuMillis: 1_900 }).cpus).toBe(1);
    expect(readConfig(asked(''), { cpuMillis: 1_000 }).cpus).toBe(1);
    expect(readConfig(asked(''), {}).cpus).toBe(machine);
    expect(readConfig(asked('64000'), { memoryBytes: 5 })).toMatchObject({ cpus: Math.min(64, machine), memoryBytes: 5 });
  });

  test('has what goes with texts', () => {
    const embedding = { pooling: 'cls', normalize: false, truncate: true, maxSequenceLength: 128, prompt: '' };
    const model = { ...spec.model, task: 'text-embedding', embedding };
    expect(readConfig(having('model', model), {}).spec.model).toEqual(model);
    expect(readConfig(having('model', { ...model, embedding: { truncate: false } }), {}).spec.model.embedding).toEqual({ truncate: false });
  });

  test('takes the keys of S3 stores out of the environment', () => {
    const environment: Record<string, string | undefined> = { ...base, [s3Env.output.accessKeyId]: 'id', [s3Env.output.secretAccessKey]: 'canary\n', [s3Env.input.sessionToken]: 'canary' };
    expect(takeS3Keys(environment)).toEqual({ output: { accessKeyId: 'id', secretAccessKey: 'canary' } });
    expect(JSON.stringify(environment)).not.toContain('canary');
  });

  test('may have input and output in S3', () => {
    const place = { bucket: 'b', region: 'r', endpoint: 'http://s3:9000', pathStyle: true };
    const inS3 = { ...spec, input: { format: 'csv', ...place, key: 'in/', additionalKeys: ['more'] }, output: { overwrite: true, ...place, prefix: 'out/' } };
    expect(readConfig({ ...base, [env.spec]: JSON.stringify(inS3) }, {}).spec).toEqual(inS3);
    const refused = { ...inS3, output: { ...inS3.output, prefix: 'out' } };
    expect(() => readConfig({ ...base, [env.spec]: JSON.stringify(refused) }, {})).toThrow('output.prefix is "out", expected nothing, or text that ends with "/"');
  });

  test('falls back to a known log level', () => {
    expect(readEarlyConfig({ [env.logLevel]: 'loud' }).logLevel).toBe('info');
    expect(readEarlyConfig({ [env.logLevel]: 'debug' }).logLevel).toBe('debug');
  });

  test.each([
    ['no spec', { ...base, [env.spec]: '' }, 'MILLRACE_SPEC is not set'],
    ['a spec that is a list', { ...base, [env.spec]: '[]' }, 'MILLRACE_SPEC is [], expected an object'],
    ['a slot that is no number', { ...base, [env.slot]: '-1' }, 'MILLRACE_SLOT is "-1", expected a whole number'],
    ['a URL that is none', { ...base, [env.syncUrl]: 'sync:9443' }, 'MILLRACE_SYNC_URL is "sync:9443", expected a URL such as https://millrace-sync.millrace-system.svc:9443'],
    ['no model', having('model', undefined), 'MILLRACE_SPEC: model is missing, expected an object'],
    ['a UID that is a path', having('job.uid', '../x'), 'MILLRACE_SPEC: job.uid is "../x", expected letters, digits and "-"'],
    ['a relative root', having('input.root', 'in'), 'MILLRACE_SPEC: input.root is "in", expected an absolute path'],
    ['an absolute path', having('input.path', '/etc/passwd'), 'MILLRACE_SPEC: input.path is "/etc/passwd": it is absolute, expected a path relative to the volume'],
    ['a path that leads up', having('output.path', 'a/../b'), 'MILLRACE_SPEC: output.path is "a/../b": it holds "..", expected a path inside the volume'],
    ['a path with a backslash', having('input.path', 'a\\..\\b'), 'MILLRACE_SPEC: input.path is "a\\\\..\\\\b": it holds a backslash, expected "/" between folders'],
    ['a path with NUL', having('model.path', 'a\0b'), 'MILLRACE_SPEC: model.path is "a\\u0000b": it holds a NUL character'],
    ['a further path that leads up', having('input.additionalPaths', ['a', '../b']), 'MILLRACE_SPEC: input.additionalPaths[1] is "../b": it holds "..", expected a path inside the volume'],
    ['an unknown format', having('input.format', 'xml'), 'MILLRACE_SPEC: input.format is "xml", expected "jsonl" or "csv" or "openai-batch"'],
    ['an unknown task', having('model.task', 'magic'), 'MILLRACE_SPEC: model.task is "magic", expected "tensors" or "text-embedding"'],
    ['a format of texts for tensors', having('input.format', 'openai-batch'), 'MILLRACE_SPEC: input.format is "openai-batch", which goes with model.task "text-embedding", got "tensors"'],
    ['a task of texts without its settings', having('model.task', 'text-embedding'), 'MILLRACE_SPEC: model.embedding goes with model.task "text-embedding" alone, got "text-embedding" without it'],
    ['settings of texts for tensors', having('model.embedding', { truncate: false }), 'MILLRACE_SPEC: model.embedding goes with model.task "text-embedding" alone, got "tensors" with it'],
    ['an unknown way to pool', having('model', { ...spec.model, task: 'text-embedding', embedding: { truncate: false, pooling: 'max' } }), 'MILLRACE_SPEC: model: embedding.pooling is "max", expected "mean" or "cls"'],
    ['an unknown accelerator', having('model.accelerator', 'tpu'), 'MILLRACE_SPEC: model.accelerator is "tpu", expected "auto" or "cuda" or "cpu"'],
    ['no batch size', having('batching.maxSize', 0), 'MILLRACE_SPEC: batching.maxSize is 0, expected a whole number above 0'],
    ['no time limit', having('batching.timeoutSeconds', undefined), 'MILLRACE_SPEC: batching.timeoutSeconds is missing, expected a whole number above 0'],
    ['a path with a backslash', having('input.path', 'a\\..\\b'), 'MILLRACE_SPEC: input.path is "a\\\\..\\\\b": it holds a backslash, expected "/" between folders'],
    ['overwrite as text', having('output.overwrite', 'yes'), 'MILLRACE_SPEC: output.overwrite is "yes", expected true or false'],
  ])('is refused with one sentence: %s', (_name, environment, message) => {
    expect(() => readConfig(environment)).toThrow(expect.objectContaining({ code: 'SpecInvalid', message }) as Error);
  });
});
