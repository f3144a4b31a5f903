import { load } from 'js-yaml';
import { releaseNamespace } from '../../../../dev/install.ts';
import { paths } from '../api.ts';
import type { Bench } from '../bench.ts';
import { testLabel } from '../global-setup.ts';
import type { PodObject } from '../jobs.ts';
import { GaveUp, until } from '../until.ts';
import { endpointArgs } from './prober.ts';

/** A pod that serves on ports and from which connections are tried. */
export interface EndpointPod {
  namespace: string;
  name: string;
  labels?: Record<string, string>;
  tcp?: number[];
  udp?: number[];
  /** Names of ports, for policies that name them. */
  portNames?: { name: string; protocol: 'TCP' | 'UDP'; port: number }[];
  node: string;
  /** On the node's own network, at these addresses of it. */
  onNode?: { addresses: string[] };
}

/** The image that the operator gives to workers: it has Node, and every node of the cluster has it. */
export async function workerImage(bench: Bench): Promise<string> {
  const configs = await bench.api.list<{ data?: Record<string, string> }>(paths.core(releaseNamespace, 'configmaps', ''));
  const text = configs.map(({ data }) => data?.['operator.yaml']).find((found) => found !== undefined);
  if (text === undefined) throw new Error(`no ConfigMap of ${releaseNamespace} holds operator.yaml; is the chart installed?`);
  return (load(text) as { workerImage: string }).workerImage;
}

/** Passes Pod Security `restricted`, except on the node's network. */
export function endpointPod(runId: string, image: string, { namespace, name, labels = {}, tcp = [], udp = [], portNames = [], node, onNode }: EndpointPod): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: { [testLabel]: runId, ...labels } },
    spec: {
      nodeSelector: { 'kubernetes.io/hostname': node },
      tolerations: [{ operator: 'Exists', effect: 'NoSchedule' }],
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: 1,
      hostNetwork: onNode !== undefined,
      securityContext: {
        ...(onNode === undefined
          ? { runAsNonRoot: true, runAsUser: 65532, sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '0' }] }
          : { runAsUser: 0 }),
        seccompProfile: { type: 'RuntimeDefault' },
      },
      containers: [
        {
          name: 'endpoint',
          image,
          command: ['node', ...endpointArgs('serve', name, JSON.stringify({ tcp, udp, ...onNode }))],
          ports: portNames.map((port) => ({ name: port.name, protocol: port.protocol, containerPort: port.port })),
          resources: { requests: { cpu: '10m', memory: '48Mi' }, limits: { cpu: '500m', memory: '256Mi' } },
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'], ...(onNode === undefined ? {} : { add: ['NET_BIND_SERVICE'] }) },
          },
        },
      ],
    },
  };
}

export type RunningPod = PodObject & { status: { podIP: string; hostIP: string } };

/** Waits until all run and have their address. */
export async function runningPods(bench: Bench, namespace: string, names: readonly string[]): Promise<Map<string, RunningPod>> {
  let last = '';
  return until(`pods ${names.join(', ')} of ${namespace} run`, 90_000, async () => {
    const pods = (await bench.api.list<RunningPod>(paths.pods(namespace))).filter(({ metadata }) => names.includes(metadata.name));
    last = pods.map(({ metadata, status }) => `${metadata.name} ${status.phase} ${JSON.stringify(status.containerStatuses?.[0]?.state ?? '')}`).join('; ');
    const failed = pods.find(({ status }) => status.phase === 'Failed');
    if (failed !== undefined) throw new GaveUp(`pod ${namespace}/${failed.metadata.name} failed`);
    return pods.length === names.length && pods.every(({ status }) => status.phase === 'Running' && status.podIP !== undefined)
      ? new Map(pods.map((pod) => [pod.metadata.name, pod]))
      : undefined;
  }, () => last);
}
