import { MANAGED_BY } from '../api/names.ts';
import type { KubeObject } from '../kube/object.ts';

export interface Endpoint {
  namespace: string;
  /** Name of the Service without selector that workers call. */
  service: string;
  port: number;
  podName: string;
  podIp: string;
}

/**
 * The one endpoint behind the sync Service: the leader. It is written by whoever becomes leader, so workers reach the
 * process that has the ledgers and no other.
 */
export function endpointSlice({ namespace, service, port, podName, podIp }: Endpoint): KubeObject {
  const slice = {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      namespace,
      name: `${service}-leader`,
      labels: { 'kubernetes.io/service-name': service, 'endpointslice.kubernetes.io/managed-by': MANAGED_BY },
    },
    addressType: podIp.includes(':') ? 'IPv6' : 'IPv4',
    endpoints: [{ addresses: [podIp], conditions: { ready: true, serving: true, terminating: false }, targetRef: { kind: 'Pod', namespace, name: podName } }],
    ports: [{ name: 'sync', port, protocol: 'TCP' }],
  };
  return slice;
}
