import { describe, expect, test } from 'vitest';
import { type NodeObject, nodeState, tenantState } from '../../../operator/scheduler/observe.ts';
import type { JobState } from '../../../operator/scheduler/snapshot.ts';
import type { Stored } from '../../../operator/kube/object.ts';
import { aTenant } from '../tenant/fixtures.ts';

const node = (spec: NodeObject['spec'] = {}, ready = 'True'): Stored<NodeObject> => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: 'n1', uid: 'u', resourceVersion: '1', labels: { pool: 'a' } },
  spec,
  status: { conditions: [{ type: 'Ready', status: ready }], allocatable: { cpu: '4', memory: '8Gi', pods: '110', 'nvidia.com/gpu': '2' } },
});

describe('a node', () => {
  test('has what is allocatable less what others requested', () => {
    expect(nodeState(node({ taints: [{ key: 'gpu', effect: 'NoSchedule' }] }), { cpu: 1500, pods: 7, 'other.example/x': 3 })).toEqual({
      name: 'n1', labels: { pool: 'a' }, taints: [{ key: 'gpu', effect: 'NoSchedule' }],
      allocatable: { cpu: 2500, memory: 8 * 2 ** 30, pods: 103, 'nvidia.com/gpu': 2 },
    });
    expect(nodeState(node(), { cpu: 9000 })?.allocatable['cpu']).toBe(0);
  });

  test('that is not ready, cordoned or going takes nobody', () => {
    expect(nodeState(node({}, 'Unknown'), {})).toBeUndefined();
    expect(nodeState(node({ unschedulable: true }), {})).toBeUndefined();
    const going = node();
    going.metadata.deletionTimestamp = '2026-11-23T12:00:00Z';
    expect(nodeState(going, {})).toBeUndefined();
  });
});

describe('a tenant', () => {
  const quota = { apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'q' }, status: { hard: { 'requests.cpu': '4', pods: '10' }, used: { 'requests.cpu': '1500m', pods: '3' } } };
  const listed = { quotaPerWorker: { 'requests.cpu': 500, pods: 1, 'limits.cpu': 500 }, workers: [{}, {}] } as unknown as Omit<JobState, 'held'>;

  test('has its share, and a quota of which its workers’ part is not others’', () => {
    expect(tenantState(aTenant({ weight: 3, maxPriority: 50, cordoned: true }), quota, [listed])).toEqual({
      name: 'acme', weight: 3, maxPriority: 50, cordoned: true, quota: { 'requests.cpu': 4000, pods: 10 }, usedByOthers: { 'requests.cpu': 500, pods: 1 },
    });
  });

  test('without a quota is bounded by nothing, and a count that is behind is not below zero', () => {
    expect(tenantState(aTenant(), undefined, [listed])).toMatchObject({ quota: {}, usedByOthers: {} });
    expect(tenantState(aTenant(), { ...quota, status: { ...quota.status, used: { pods: '1' } } }, [listed]).usedByOthers).toEqual({ pods: 0 });
  });
});
