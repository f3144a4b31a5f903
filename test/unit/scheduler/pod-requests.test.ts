import { expect, test } from 'vitest';
import { podRequests, type PlacedPod, podUse } from '../../../operator/scheduler/pod-requests.ts';

const pod = (spec: object): PlacedPod => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', namespace: 'n' }, spec });
const wants = (cpu: string, more: object = {}): object => ({ resources: { requests: { cpu } }, ...more });

test('containers add up, in thousandths of a CPU and in bytes', () => {
  const two = pod({ containers: [{ resources: { requests: { cpu: '1500m', memory: '1Gi' } } }, { resources: { requests: { cpu: 2, memory: '500M', 'nvidia.com/gpu': '1' } } }] });
  expect(podRequests(two)).toEqual({ pods: 1, cpu: 3500, memory: 2 ** 30 + 5e8, 'nvidia.com/gpu': 1 });
});

test('a pod without requests takes a place all the same', () => expect(podRequests(pod({ containers: [{}] }))).toEqual({ pods: 1 }));

test('init containers run one after the other, so that only a greater one counts', () => {
  expect(podRequests(pod({ containers: [wants('1')], initContainers: [wants('500m')] }))['cpu']).toBe(1000);
  expect(podRequests(pod({ containers: [wants('1')], initContainers: [wants('500m'), wants('3')] }))['cpu']).toBe(3000);
});

test('sidecars run beside the containers, and beside the init containers after them', () => {
  const sidecar = wants('1', { restartPolicy: 'Always' });
  expect(podRequests(pod({ containers: [wants('1')], initContainers: [sidecar] }))['cpu']).toBe(2000);
  expect(podRequests(pod({ containers: [wants('1')], initContainers: [sidecar, wants('2')] }))['cpu']).toBe(3000);
  expect(podRequests(pod({ containers: [wants('1')], initContainers: [wants('2'), sidecar] }))['cpu']).toBe(2000);
});

test('requests of the pod as a whole stand in for its containers, and overhead comes on top', () => {
  expect(podRequests(pod({ containers: [wants('1')], resources: { requests: { cpu: '4' } }, overhead: { cpu: '100m' } }))['cpu']).toBe(4100);
});

test('in a cache only the use of the node is kept', () => {
  const stored = { ...pod({ nodeName: 'a', containers: [wants('1')] }), metadata: { name: 'p', namespace: 'n', uid: 'u', resourceVersion: '1', labels: { big: 'x' } } };
  expect(podUse(stored)).toEqual({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', namespace: 'n', uid: 'u', resourceVersion: '1' }, nodeName: 'a', requests: { pods: 1, cpu: 1000 } });
});
