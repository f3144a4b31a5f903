import { describe, expect, it } from 'vitest';
import { parseSyncRequest } from '../../../operator/dispatch/request-schema.ts';

const load = { itemsPerSecond: 0.5, cpuSeconds: 1, rssBytes: 2 };
const request = (over: object = {}) => ({
  protocol: 1, worker: { job: 'j', slot: 0, attempt: 0, incarnation: 'i' }, seq: 1, term: 0, draining: false, capacity: 2, leases: [] as unknown[],
  load, ...over,
});
const report = (over: object = {}) => ({ lease: { kind: 'shard', shard: 3, generation: 0 }, state: 'running', items: { succeeded: 1, failed: 0 }, bytes: { done: 1, total: 2 }, ...over });
const parse = (value: unknown) => parseSyncRequest(JSON.stringify(value));

describe('a sync request', () => {
  it('is taken when it has the shape of the contract, with fields that are not known yet', () => {
    const whole = request({ leases: [report(), report({ lease: { kind: 'plan' }, state: 'done', plan: { shards: 2, items: 4, exact: true, bytes: 9, files: 1 } }), report({ lease: { kind: 'finish', generations: [{ shards: '0-1', generation: 0 }] } })], fatal: { code: 'SpecInvalid', message: 'x' }, later: 1 });
    expect(parse(whole)).toEqual(whole);
  });

  it('carries how the worker fares and what runs its model', () => {
    const engine = { provider: 'cuda', device: 'NVIDIA H100', runtime: 'onnxruntime 1.30.0', node: '24.21.0', sessions: 1, threads: 8 };
    const whole = request({ load: { ...load, cpus: 1.7, runs: { count: 40, p50: 3.5, p90: 4, p99: 12.25 }, queueDepth: 2, failuresInARow: 3, engine } });
    expect(parse(whole)).toEqual(whole);
  });

  it.each([
    ['worker must have required property \'slot\'', request({ worker: { job: 'j', attempt: 0, incarnation: 'i' } })],
    ['worker.slot must be >= 0', request({ worker: { job: 'j', slot: -1, attempt: 0, incarnation: 'i' } })],
    ['protocol must be 1: worker image and operator are of different releases', request({ protocol: 2 })],
    ['leases.0.state must be equal to one of the allowed values: running, done, released', request({ leases: [report({ state: 'lost' })] })],
    ['leases.0 must have required property \'plan\'', request({ leases: [report({ lease: { kind: 'plan' }, state: 'done' })] })],
    ['leases.0 must have required property \'finish\'', request({ leases: [report({ lease: { kind: 'finish', generations: [] }, state: 'done' })] })],
    ['leases.0.lease.shard must be <= 9999', request({ leases: [report({ lease: { kind: 'shard', shard: 10_000, generation: 0 } })] })],
    ['leases.0.items.failed must be integer', request({ leases: [report({ items: { succeeded: 1, failed: 0.5 } })] })],
    ['leases must NOT have more than 128 items', request({ leases: Array.from({ length: 129 }, () => report()) })],
    ['capacity must be <= 64', request({ capacity: 1e6 })],
    ['load.itemsPerSecond must be number', request({ load: { itemsPerSecond: null, cpuSeconds: 0, rssBytes: 0 } })],
    ['load.runs must have required property \'p99\'', request({ load: { ...load, runs: { count: 1, p50: 1, p90: 1 } } })],
    ['load.queueDepth must be integer', request({ load: { ...load, queueDepth: 0.5 } })],
    ['load.failuresInARow must be >= 0', request({ load: { ...load, failuresInARow: -1 } })],
    ['load.cpus must be >= 0', request({ load: { ...load, cpus: -1 } })],
    ['load.engine.provider must be equal to one of the allowed values: cpu, cuda', request({ load: { ...load, engine: { provider: 'tpu', device: '', runtime: '', node: '', sessions: 1, threads: 1 } } })],
    ['load.engine.device must NOT have more than 100 characters', request({ load: { ...load, engine: { provider: 'cpu', device: 'x'.repeat(101), runtime: '', node: '', sessions: 1, threads: 1 } } })],
    ['the body must be object', 7],
  ])('is refused: %s', (wrong, value) => {
    expect(parse(value)).toEqual({ wrong });
  });

  it('names the kinds of lease when it comes with another', () => {
    expect(parse(request({ leases: [report({ lease: { kind: 'rest' } })] }))).toMatchObject({ wrong: expect.stringMatching(/^leases\.0\.lease/) });
  });

  it('that is no JSON is refused', () => {
    expect(parseSyncRequest('{"a"')).toMatchObject({ wrong: expect.stringMatching(/^the body is not JSON: /) });
  });
});
