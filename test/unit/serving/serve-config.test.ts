import { describe, expect, test } from 'vitest';
import { env } from '../../../inference-pod/contract.ts';
import { readServeConfig } from '../../../inference-pod/serving/serve-config.ts';

const model = { root: '/model', path: 'm.onnx', name: 'digits', task: 'tensors', accelerator: 'auto' };
const environment = (spec: object, more: Record<string, string> = {}) => ({ [env.spec]: JSON.stringify(spec), [env.cpuMillis]: '1000', ...more });

describe('the configuration of serve mode', () => {
  test('needs a model; the rest has defaults', () => {
    expect(readServeConfig(environment({ model }), {})).toEqual({
      spec: {
        model: { ...model, version: '1' },
        batching: { maxSize: 32, windowMs: 10, timeoutSeconds: 60 },
        queue: { maxRequests: 1_024, maxBytes: 268_435_456 },
        maxRequestBytes: 16_777_216,
        receiveSeconds: 30,
        answers: { maxCount: 1_024, maxBytes: 33_554_432, seconds: 600 },
        drainSeconds: 20,
      },
      port: 8_080, cpus: 1, memoryBytes: undefined, healthPort: 0,
    });
  });

  test('keeps request bodies to a quarter of the memory', () => {
    expect(readServeConfig(environment({ model }), { memoryBytes: 2 ** 25 }).spec).toMatchObject({ queue: { maxBytes: 2 ** 23 }, maxRequestBytes: 2 ** 23 });
  });

  test.each<[what: string, environment: Record<string, string>, message: string]>([
    ['no model', environment({}), 'MILLRACE_SPEC: model is missing, expected an object'],
    ['a name that is no path segment', environment({ model: { ...model, name: 'a/b' } }), 'MILLRACE_SPEC: model.name is "a/b", expected letters, digits, ".", "_" and "-"'],
    ['a version that is a number', environment({ model: { ...model, version: 2 } }), 'MILLRACE_SPEC: model.version is 2, expected letters, digits, ".", "_" and "-"'],
    ['a path that leads up', environment({ model: { ...model, path: '../m' } }), 'MILLRACE_SPEC: model.path is "../m": it holds "..", expected a path inside the volume'],
    ['no batch size', environment({ model, batching: { maxSize: 0 } }), 'MILLRACE_SPEC: batching.maxSize is 0, expected a whole number above 0'],
    ['a window of text', environment({ model, batching: { windowMs: '10ms' } }), 'MILLRACE_SPEC: batching.windowMs is "10ms", expected a whole number'],
    ['a queue that is a number', environment({ model, queue: 7 }), 'MILLRACE_SPEC: queue is 7, expected an object'],
    ['half an answer', environment({ model, answers: { maxCount: 0.5 } }), 'MILLRACE_SPEC: answers.maxCount is 0.5, expected a whole number'],
    ['a port beyond the last', environment({ model }, { [env.servePort]: '70000' }), 'MILLRACE_SERVE_PORT is "70000", expected a port from 0 to 65535'],
    ['a port that is no number', environment({ model }, { [env.servePort]: 'http' }), 'MILLRACE_SERVE_PORT is "http", expected a whole number'],
    ['no spec', { [env.servePort]: '1' }, 'MILLRACE_SPEC is not set'],
  ])('is refused with one sentence: %s', (_what, values, message) => {
    expect(() => readServeConfig(values, {})).toThrow(expect.objectContaining({ code: 'SpecInvalid', message }) as Error);
  });
});
