import { sh } from '../../../../dev/step.ts';
import { type ApiObject, paths } from '../api.ts';
import type { Bench } from '../bench.ts';

/** Networks whose ways these tests know: the built node image has Cilium, stock kind has kindnet. Both enforce NetworkPolicies. */
export type Cni = 'cilium' | 'kindnet';

export async function detectCni(bench: Bench): Promise<Cni> {
  const sets = await bench.api.list<ApiObject>(paths.group('apps', 'kube-system', 'daemonsets'));
  for (const cni of ['cilium', 'kindnet'] as const) if (sets.some(({ metadata }) => metadata.name === cni)) return cni;
  throw new Error(`the cluster's network is none that these tests know: kube-system has the DaemonSets ${sets.map(({ metadata }) => metadata.name).join(', ')}`);
}

/** Gives a node one more address, as NodeLocal DNSCache does; the result takes it away. */
export async function addNodeAddress(node: string, address: string): Promise<() => Promise<unknown>> {
  const change = (how: 'replace' | 'del'): Promise<unknown> =>
    sh('docker', ['exec', '--privileged', node, 'ip', 'address', how, `${address}/32`, 'dev', 'lo'], { okCodes: how === 'del' ? [0, 2] : [0], timeout: 20_000 });
  await change('replace');
  return () => change('del');
}
