import { sh } from '../../../../dev/step.ts';
import type { Bench } from '../bench.ts';
import { testLabel } from '../global-setup.ts';
import { until } from '../until.ts';
import { endpointArgs, type Prober, proberInContainer } from './prober.ts';

/** A machine that is no node of the cluster, with addresses of its own to which the nodes know the way. */
export interface OutsideHost {
  /** Connections are tried from here; `Probe.from` picks the address. */
  prober: Prober;
  close(): Promise<void>;
}

const NAME = 'millrace-e2e-outside';
const docker = async (...args: string[]): Promise<string> => (await sh('docker', args, { timeout: 60_000 })).stdout.trim();

/**
 * A container on the nodes' own network. Its network is set up with the tools of the node image, which every kind cluster has,
 * and used by a container of the worker image, which has Node. The nodes route `addresses` to it and it routes the pods'
 * addresses to the nodes, so that packets arrive with the addresses that policies are about.
 */
export async function startOutsideHost(bench: Bench, image: string, addresses: readonly string[], tcp: readonly number[], udp: readonly number[]): Promise<OutsideHost> {
  const { nodes } = bench.cluster;
  await remove();
  const nodeImage = await docker('inspect', '--format', '{{.Image}}', nodes[0] ?? '');
  const network = (await docker('inspect', '--format', '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}', nodes[0] ?? '')).split(' ')[0] ?? '';
  await docker('run', '--detach', '--name', NAME, '--label', `${testLabel}=${bench.runId}`, '--network', network, '--cap-add', 'NET_ADMIN', '--entrypoint', 'sleep', nodeImage, 'infinity');
  const own = await docker('inspect', '--format', `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`, NAME);
  for (const address of addresses) await docker('exec', NAME, 'ip', 'address', 'add', `${address}/32`, 'dev', 'lo');
  const podRanges = await bench.api.list<{ spec: { podCIDR: string }; status: { addresses: { type: string; address: string }[] } }>('/api/v1/nodes');
  for (const { spec, status } of podRanges) {
    const node = status.addresses.find(({ type }) => type === 'InternalIP')?.address ?? '';
    await docker('exec', NAME, 'ip', 'route', 'replace', spec.podCIDR, 'via', node);
  }
  for (const node of nodes) for (const address of addresses) await docker('exec', '--privileged', node, 'ip', 'route', 'replace', `${address}/32`, 'via', own);
  await docker('run', '--detach', '--name', `${NAME}-endpoint`, '--network', `container:${NAME}`, '--entrypoint', 'node', image, ...endpointArgs('serve', 'outside', JSON.stringify({ tcp, udp, addresses })));
  const prober = proberInContainer('outside', `${NAME}-endpoint`);
  await until('the outside host answers itself', 15_000, async () => {
    const found = await prober.probe(addresses.map((host) => ({ protocol: 'TCP', host, port: tcp[0] ?? 0, listen: true })), 1_000);
    return found.every((one) => 'open' in one && one.open);
  });
  return {
    prober,
    async close() {
      prober.close();
      for (const node of nodes) for (const address of addresses) await sh('docker', ['exec', '--privileged', node, 'ip', 'route', 'del', `${address}/32`], { okCodes: [0, 2] });
      await remove();
    },
  };
}

const remove = async (): Promise<void> => {
  await sh('docker', ['rm', '--force', '--volumes', `${NAME}-endpoint`, NAME], { okCodes: [0, 1], timeout: 60_000 });
};
