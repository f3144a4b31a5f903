import { describe, expect, it } from 'vitest';
import { capacityOf, findNodes, matchesNode, roomOn, shapeFinder } from '../../../operator/scheduler/capacity.ts';
import type { Capacity, Shape } from '../../../operator/scheduler/capacity.ts';
import type { Amounts, JobState, NodeState, Taint, Toleration } from '../../../operator/scheduler/snapshot.ts';

const taint = (key: string, effect: string, value?: string): Taint => ({ key, effect, value });

describe('a node takes a job', () => {
  it.each<[string, Taint[], Toleration[], boolean]>([
    ['without taints', [], [], true],
    ['that tolerates nothing, not if it is tainted', [taint('gpu', 'NoSchedule')], [], false],
    ['that tolerates nothing, if the taint only prefers', [taint('gpu', 'PreferNoSchedule')], [], true],
    ['that tolerates key and value', [taint('gpu', 'NoSchedule', 'a')], [{ key: 'gpu', value: 'a' }], true],
    ['not with another value', [taint('gpu', 'NoSchedule', 'a')], [{ key: 'gpu', operator: 'Equal', value: 'b' }], false],
    ['with any value by Exists', [taint('gpu', 'NoSchedule', 'a')], [{ key: 'gpu', operator: 'Exists' }], true],
    ['with any taint by Exists without a key', [taint('gpu', 'NoSchedule'), taint('x', 'NoExecute')], [{ operator: 'Exists' }], true],
    ['not with another effect', [taint('gpu', 'NoExecute')], [{ key: 'gpu', operator: 'Exists', effect: 'NoSchedule' }], false],
    ['not if one of two taints is left', [taint('gpu', 'NoSchedule'), taint('x', 'NoSchedule')], [{ key: 'gpu', operator: 'Exists' }], false],
  ])('%s', (_, taints, tolerations, matches) => {
    expect(matchesNode({ nodeSelector: {}, tolerations }, { labels: {}, taints })).toBe(matches);
  });

  it('if it has every label that the selector names', () => {
    const labels = { pool: 'a', zone: '1' };
    expect(matchesNode({ nodeSelector: { pool: 'a', zone: '1' }, tolerations: [] }, { labels, taints: [] })).toBe(true);
    expect(matchesNode({ nodeSelector: { pool: 'a', disk: 'ssd' }, tolerations: [] }, { labels, taints: [] })).toBe(false);
  });
});

const node = (name: string, allocatable: Amounts): NodeState => ({ name, labels: {}, taints: [], allocatable });
const NODES = [node('gpu', { cpu: 4_000, 'nvidia.com/gpu': 2, pods: 10 }), node('big', { cpu: 6_000, pods: 10 }), node('small', { cpu: 3_000, pods: 2 })];

function shapeOf(perWorker: Amounts, oneNode = false, nodes = NODES): { capacity: Capacity; shape: Shape; find: (count: number, home?: number) => string[] | undefined } {
  const job = { perWorker, nodeSelector: {}, tolerations: [], oneNode } as unknown as JobState;
  const capacity = capacityOf(nodes, [job]);
  const shape = shapeFinder(capacity, [job])(job, 'only');
  return { capacity, shape, find: (count, home) => findNodes(capacity, shape, count, home)?.map((index) => nodes[index]?.name ?? '') };
}

describe('nodes for workers', () => {
  it('are those with least to waste first, the GPU node last', () => {
    expect(shapeOf({ cpu: 1_000, pods: 1 }).find(9)).toEqual(['small', 'small', 'big', 'big', 'big', 'big', 'big', 'big', 'gpu']);
  });

  it('are bounded by each resource: a small node holds two pods, not three', () => {
    const { shape, find } = shapeOf({ cpu: 1_000, pods: 1 });
    expect(shape.roomWhenEmpty).toBe(12);
    expect(find(12)).toHaveLength(12);
    expect(find(13)).toBeUndefined();
    expect(find(12)).toHaveLength(12);
  });

  it('are those that have the resource at all', () => {
    expect(shapeOf({ 'nvidia.com/gpu': 1, pods: 1 }).find(2)).toEqual(['gpu', 'gpu']);
    expect(shapeOf({ 'amd.com/gpu': 1, pods: 1 }).shape.roomWhenEmpty).toBe(0);
  });

  it('are one, where all must share it', () => {
    const { shape, find } = shapeOf({ cpu: 1_000, pods: 1 }, true);
    expect(shape.roomWhenEmpty).toBe(6);
    expect(find(2)).toEqual(['small', 'small']);
    expect(find(5)).toEqual(['big', 'big', 'big', 'big', 'big']);
    expect(find(7)).toBeUndefined();
  });

  it('are the home of a job that may not leave it', () => {
    const { find } = shapeOf({ cpu: 1_000, pods: 1 }, true);
    expect(find(4, 0)).toEqual(['gpu', 'gpu', 'gpu', 'gpu']);
    expect(find(5, 0)).toBeUndefined();
    expect(find(1, -1)).toBeUndefined();
  });

  it('are not those that are kept for another', () => {
    const { capacity, shape, find } = shapeOf({ cpu: 1_000, pods: 1 });
    capacity.reserved[1] = 1;
    expect(roomOn(capacity, shape, 1)).toBe(0);
    expect(find(6)).toEqual(['small', 'small', 'gpu', 'gpu', 'gpu', 'gpu']);
  });

  it('have nothing where others requested more than there is', () => {
    expect(shapeOf({ cpu: 1_000 }, false, [node('over', { cpu: -500 })]).find(1)).toBeUndefined();
  });
});
