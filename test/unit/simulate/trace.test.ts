import { describe, expect, test } from 'vitest';
import { parseSnapshot } from '../../../dev/simulate/snapshot-file.ts';
import { synthetic } from '../../../dev/simulate/synthetic.ts';
import { parseTrace } from '../../../dev/simulate/trace.ts';

const nodes = '{"kind": "nodes", "name": "gpu", "count": 2, "allocatable": {"cpu": "8", "nvidia.com/gpu": 4}}';
const tenant = '{"kind": "tenant", "name": "acme", "quota": {"requests.cpu": "500m"}}';
const job = (more: object = {}): string => JSON.stringify({ kind: 'job', name: 'a', tenant: 'acme', at: 1.5, items: 10, rate: 2, resources: { cpu: '250m' }, ...more });
const parse = (...lines: string[]) => parseTrace(lines.join('\n'), 'mine.jsonl');

describe('a trace', () => {
  test('is a line for each kind of node, each tenant and each job', () => {
    expect(parse(nodes, tenant, '', job({ deadline: 60, dependsOn: ['b'], workers: { max: 3 } }), job({ name: 'b', at: 0 }))).toMatchObject({
      nodes: [{ name: 'gpu-0', allocatable: { cpu: 8_000, 'nvidia.com/gpu': 4, pods: 110 } }, { name: 'gpu-1' }],
      tenants: [{ name: 'acme', weight: 1, maxPriority: 1_000, quota: { 'requests.cpu': 500 } }],
      jobs: [{ key: 'acme/b', arrivesAt: 0 }, { key: 'acme/a', arrivesAt: 1_500, deadlineAt: 60_000, dependsOn: ['acme/b'], min: 1, max: 3, perWorker: { cpu: 250, pods: 1 } }],
    });
  });

  test.each([
    [['{'], /line 1: .*JSON/],
    [['{"kind": "pod"}'], /line 1: kind: got "pod", must be nodes, tenant or job/],
    [[nodes, job({ items: 0 })], /line 2: items: got 0, must be >= 1/],
    [[nodes, tenant, job({ cpu: 1 })], /line 3: cpu: unknown field/],
    [[nodes, tenant, job({ resources: { cpu: 'much' } })], /line 3: resources.cpu: got "much", must be a quantity such as/],
    [[nodes, tenant, job({ tenant: 'other' })], /line 3: tenant: got "other", must be one that the trace has a line of/],
    [[nodes, tenant, job(), job()], /line 4: name: got "a" a second time for tenant acme/],
    [[nodes, tenant, job({ workers: { min: 3, max: 2 } })], /line 3: workers.max: got 2, must be >= workers.min, which is 3/],
    [[tenant, job()], /has 0 nodes and 1 jobs/],
  ])('that is wrong says in which line, and what was expected: %j', (lines, message) => expect(() => parse(...lines)).toThrow(message));
});

describe('the synthetic trace', () => {
  const linesOf = (seed: number): string => synthetic({ jobs: 1_000, seed }).map((line) => JSON.stringify(line)).join('\n');
  const { jobs } = parseTrace(linesOf(1), 'synthetic');

  test('is the same for the same seed, and another for another', () => {
    expect(linesOf(1)).toBe(linesOf(1));
    expect(linesOf(2)).not.toBe(linesOf(1));
  });

  test('is heavy-tailed: a tenth of its jobs is most of its work', () => {
    const work = jobs.map(({ items, rate }) => items / rate).sort((a, b) => b - a);
    const sum = (list: readonly number[]): number => list.reduce((all, each) => all + each, 0);
    expect(sum(work.slice(0, 100)) / sum(work)).toBeGreaterThan(0.5);
  });

  test('has deadlines, dependencies, several classes, and jobs that start with several workers', () => {
    const part = (is: (job: (typeof jobs)[number]) => boolean): number => jobs.filter(is).length / jobs.length;
    expect(part(({ deadlineAt }) => deadlineAt !== undefined)).toBeCloseTo(0.25, 1);
    expect(part(({ dependsOn }) => dependsOn.length > 0)).toBeGreaterThan(0.03);
    expect(part(({ min }) => min > 1)).toBeCloseTo(0.15, 1);
    expect(new Set(jobs.map(({ priority }) => priority)).size).toBe(3);
    expect(jobs.every(({ deadlineAt, arrivesAt, items, rate, max }) => deadlineAt === undefined || deadlineAt - arrivesAt > (items / rate / max) * 1_000)).toBe(true);
  });
});

describe('a snapshot from a file', () => {
  test('has amounts and times as Kubernetes writes them, and defaults', () => {
    const { snapshot, now } = parseSnapshot(JSON.stringify({
      now: '2026-12-01T06:00:00Z', finished: { 'acme/b': 'Complete' }, nodes: [{ name: 'n1', allocatable: { cpu: '4' } }], tenants: [{ name: 'acme', quota: { 'requests.cpu': 2 } }],
      jobs: [{ key: 'acme/a', tenant: 'acme', perWorker: { cpu: '500m' }, createdAt: '2026-12-01T05:59:00Z', workers: [{ node: 'n1' }] }],
    }), 'mine.json', 0);
    expect(now).toBe(Date.UTC(2026, 11, 1, 6));
    expect(snapshot.finished.get('acme/b')).toBe('Complete');
    expect(snapshot).toMatchObject({
      nodes: [{ labels: {}, taints: [], allocatable: { cpu: 4_000, pods: 110 } }],
      tenants: [{ weight: 1, cordoned: false, quota: { 'requests.cpu': 2_000 } }],
      jobs: [{ uid: 'acme/a', priority: 0, createdAt: now - 60_000, queuedAt: now - 60_000, min: 1, max: 1, perWorker: { cpu: 500, pods: 1 }, quotaPerWorker: { 'requests.cpu': 500, pods: 1 }, workers: [{ node: 'n1' }] }],
    });
  });

  test.each([
    [{ nodes: [], tenants: [] }, /jobs: required/],
    [{ nodes: [], tenants: [], jobs: [{ key: 'a/b', tenant: 'a', perWorker: {}, min: 0 }] }, /jobs\[0\].min: got 0, must be >= 1/],
    [{ nodes: [], tenants: [], jobs: [{ key: 'a/b', tenant: 'a', perWorker: {}, createdAt: 'noon' }] }, /createdAt: got "noon", must be a time/],
  ])('that is wrong says where: %j', (json, message) => expect(() => parseSnapshot(JSON.stringify(json), 'mine.json', 0)).toThrow(message));
});
