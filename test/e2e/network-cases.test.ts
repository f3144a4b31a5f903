import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TenantNetwork } from '../../operator/api/tenant.gen.ts';
import { type ApiObject, paths } from '../support/e2e/api.ts';
import { openBench } from '../support/e2e/bench.ts';
import { testLabel } from '../support/e2e/global-setup.ts';
import { type Cni, detectCni } from '../support/e2e/network/cni.ts';
import { type NetworkPolicy, type Peer, permits } from '../support/e2e/network/evaluator.ts';
import { complaints, type Deviation, settledSweep, type Source, type Target } from '../support/e2e/network/matrix.ts';
import { startOutsideHost } from '../support/e2e/network/outside.ts';
import { type EndpointPod, endpointPod, runningPods, workerImage } from '../support/e2e/network/pods.ts';
import { keyOf, type PromisedTenant, promised, type World } from '../support/e2e/network/promise.ts';
import { type Prober, proberInPod } from '../support/e2e/network/prober.ts';
import { networks, type Vocabulary } from '../support/e2e/network/rules.ts';
import { makeTenant, type TenantObject } from '../support/e2e/tenant.ts';
import { until } from '../support/e2e/until.ts';

/*
 * Generated Tenants on the real network. Three voices must agree on every connection: what the specs promise, what the
 * policies that the operator wrote allow when they are read by the API's text, and what packets do.
 *
 * The generator is our own because Cyclonus 0.5.6 does not fit: its `generate` makes policies and pods of its own, from images
 * that need a registry, so it judges the network and not what the operator writes; its `analyze` reads foreign policies, but
 * tells the answer in drawn tables and lets NotIn pass over what lacks the label, against the API. Apart from that it
 * reads our policies as the evaluator here does: compared once over 52,800 connections of 40 generated pairs of Tenants.
 */
const bench = openBench();
const { api, kubectl, cluster, runId } = bench;
const [, node1 = '', node2 = ''] = cluster.nodes;
const elsewhere = `e2e-net-cases-${runId}`;
const outsideAddresses = ['192.0.2.10', '192.0.2.200'];
const areas = ['net-c0', 'net-c1', 'net-c2', 'net-c3'];
const rounds = 8;
const seed = Number(process.env['MILLRACE_SEED'] ?? 20);

const tcpPorts = [8001, 8002, 8003];
const udpPorts = [8001, 8002];
const ports: { protocol: 'TCP' | 'UDP'; port: number }[] = [...tcpPorts.map((port) => ({ protocol: 'TCP' as const, port })), ...udpPorts.map((port) => ({ protocol: 'UDP' as const, port }))];
const tenantName = (area: string): string => `${area}-${runId}`;
const words: Vocabulary = {
  podLabels: { app: ['a', 'b', 'c'], tier: ['web', 'db'] },
  namespaceLabels: { 'kubernetes.io/metadata.name': [...areas.map((area) => `e2e-${area}-${runId}`), elsewhere], 'millrace.dev/tenant': areas.map(tenantName), team: ['x', 'y'] },
  ports: [8001, 8002, 8003],
  portNames: ['web', 'dgram'],
  blocks: [{ cidr: '0.0.0.0/0' }, { cidr: '192.0.2.0/24', except: ['192.0.2.128/25'] }, { cidr: '0.0.0.0/0', except: ['192.0.2.10/32', '10.0.0.0/8'] }, { cidr: '192.0.2.10/32' }, { cidr: '198.51.100.0/24' }],
};

const deviations: Record<Cni, Deviation[]> = { cilium: [], kindnet: [] };

const probers: Prober[] = [];
let undo: (() => Promise<void>) | undefined;
let cni: Cni;
let peers: Peer[];
let sources: Source[];
let namespaces: string[];

beforeAll(async () => {
  cni = await detectCni(bench);
  const image = await workerImage(bench);
  await kubectl(['apply', '-f', '-'], { apiVersion: 'v1', kind: 'Namespace', metadata: { name: elsewhere, labels: { [testLabel]: runId, team: 'x' } } });
  const [outside, ...tenants] = await Promise.all([startOutsideHost(bench, image, outsideAddresses, tcpPorts, udpPorts), ...areas.map((area) => makeTenant(bench, area))]);
  undo = outside.close;
  namespaces = tenants.map(({ namespace }) => namespace);
  const all = { tcp: tcpPorts, udp: udpPorts };
  const made: EndpointPod[] = [
    ...namespaces.flatMap((namespace): EndpointPod[] => [
      { ...all, namespace, name: 'a', node: node1, labels: { app: 'a', tier: 'web' }, portNames: [{ name: 'web', protocol: 'TCP', port: 8001 }, { name: 'dgram', protocol: 'UDP', port: 8001 }] },
      { ...all, namespace, name: 'b', node: node2, labels: { app: 'b' }, portNames: [{ name: 'web', protocol: 'TCP', port: 8002 }] },
    ]),
    { ...all, namespace: elsewhere, name: 'a', node: node2, labels: { app: 'a', tier: 'db' }, portNames: [{ name: 'web', protocol: 'TCP', port: 8001 }] },
    { ...all, namespace: elsewhere, name: 'c', node: node1, labels: { app: 'c' }, portNames: [{ name: 'web', protocol: 'TCP', port: 8002 }, { name: 'dgram', protocol: 'UDP', port: 8002 }] },
  ];
  await kubectl(['apply', '-f', '-'], { apiVersion: 'v1', kind: 'List', items: made.map((pod) => endpointPod(runId, image, pod)) });
  const nameOf = (pod: EndpointPod): string => `${pod.namespace.replace(`-${runId}`, '').replace('e2e-net-', '')}/${pod.name}`;
  peers = [];
  sources = [];
  for (const pod of made) {
    const running = (await runningPods(bench, pod.namespace, [pod.name])).get(pod.name);
    peers.push({ name: nameOf(pod), namespace: pod.namespace, address: running?.status.podIP ?? '', labels: running?.metadata.labels ?? {}, ports: pod.portNames ?? [] });
    const prober = proberInPod(cluster, nameOf(pod), pod.namespace, pod.name);
    probers.push(prober);
    sources.push({ name: nameOf(pod), prober });
  }
  for (const address of outsideAddresses) {
    peers.push({ name: address, address });
    sources.push({ name: address, prober: outside.prober, from: address });
  }
});

afterAll(async () => {
  for (const prober of probers) prober.close();
  await undo?.();
});

/** Gives the Tenants these rules and returns the policies that then stand in their namespaces. */
async function applied(specs: readonly TenantNetwork[]): Promise<NetworkPolicy[]> {
  type Settling = TenantObject & { metadata: { generation: number }; status?: { observedGeneration?: number; state?: string } };
  await Promise.all(specs.map((network, i) => api.mergePatch(paths.tenant(tenantName(areas[i] ?? '')), { spec: { network } })));
  const policies = await Promise.all(namespaces.map(async (namespace, i) => {
    const name = tenantName(areas[i] ?? '');
    let last: Settling | undefined;
    await until(`Tenant ${name} has its rules`, 20_000, async () => {
      last = await api.get<Settling>(paths.tenant(name));
      return last?.status?.observedGeneration === last?.metadata.generation && last?.status?.state === 'Ready';
    }, () => JSON.stringify(last?.status));
    return api.list<NetworkPolicy>(paths.group('networking.k8s.io', namespace, 'networkpolicies'));
  }));
  return policies.flat();
}

test(`${rounds * areas.length} generated Tenants: promise, policies and packets agree on every connection`, async () => {
  const specs = fc.sample(networks(words), { seed, numRuns: rounds * areas.length });
  const ipBlockPicksPods = cni === 'kindnet';
  const labels = await Promise.all([...namespaces, elsewhere].map(async (name): Promise<[string, Record<string, string>]> => [name, (await api.get<ApiObject>(paths.namespace(name)))?.metadata.labels ?? {}]));
  const world: World = { namespaces: new Map(labels), peers, ports, ipBlockPicksPods, operator: { namespace: 'none', labels: {}, syncPort: 0 } };
  const tried = { open: 0, shut: 0 };
  for (let round = 0; round < rounds; round += 1) {
    const mine = specs.slice(round * areas.length, (round + 1) * areas.length);
    const told = (): string => `seed ${seed}, round ${round}\n${mine.map((network, i) => `${areas[i]}: ${JSON.stringify(network)}`).join('\n')}`;
    const scene = { namespaces: world.namespaces, policies: await applied(mine), ipBlockPicksPods };
    const promise = promised(world, mine.map((network, i): PromisedTenant => ({ namespace: namespaces[i] ?? '', network })));
    const targets = peers.flatMap((to) => ports.map(({ protocol, port }): Target & { disagreeing: string[] } => {
      const asking = peers.filter((from) => from === to || from.namespace !== undefined || to.namespace !== undefined);
      const openTo = asking.filter((from) => permits(scene, { from, to, protocol, port })).map(({ name }) => name);
      return {
        name: `${to.name} ${protocol} ${port}`,
        probe: { protocol, host: to.address, port, listen: true },
        says: to.namespace === undefined ? 'outside' : (to.name.split('/')[1] ?? ''),
        asked: asking.map(({ name }) => name),
        openTo,
        disagreeing: asking.map(({ name }) => keyOf(name, to.name, protocol, port)).filter((key, i) => promise.has(key) !== openTo.includes(asking[i]?.name ?? '')),
      };
    }));
    expect(targets.flatMap(({ disagreeing }) => disagreeing), `the policies are not what the specs promise; ${told()}`).toEqual([]);
    const cells = await settledSweep(sources, targets, deviations[cni], 20_000, 2_000);
    expect(complaints(cells), `packets do not do what the policies say; ${told()}`).toEqual([]);
    for (const { source, target, found } of cells) if (found !== 'shut' && !target.startsWith(`${source} `)) tried.open += 1;
    tried.shut += cells.filter(({ found }) => found === 'shut').length;
  }
  console.log(`${rounds * areas.length} Tenants on ${cni}, seed ${seed}: ${tried.open} connections open and ${tried.shut} shut as promised`);
  expect(Math.min(tried.open, tried.shut)).toBeGreaterThan(rounds * 100); // else the rules say too little
}, 180_000);
