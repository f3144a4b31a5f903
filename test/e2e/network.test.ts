import { afterAll, beforeAll, expect, test } from 'vitest';
import { releaseNamespace } from '../../dev/install.ts';
import { type ApiObject, paths } from '../support/e2e/api.ts';
import { openBench } from '../support/e2e/bench.ts';
import { leader } from '../support/e2e/faults.ts';
import { testLabel } from '../support/e2e/global-setup.ts';
import { apply, fromVolume, jobManifest, lines, podsOf, putInput } from '../support/e2e/jobs.ts';
import { addNodeAddress, type Cni, detectCni } from '../support/e2e/network/cni.ts';
import { dnsQuery, dnsQueryTcp } from '../support/e2e/network/dns.ts';
import type { Probe } from '../support/e2e/network/endpoint.ts';
import { complaints, type Deviation, render, settledSweep, type Source, type Target } from '../support/e2e/network/matrix.ts';
import { startOutsideHost } from '../support/e2e/network/outside.ts';
import { type EndpointPod, endpointPod, runningPods, workerImage } from '../support/e2e/network/pods.ts';
import { type Prober, proberInPod } from '../support/e2e/network/prober.ts';
import { slowItems } from '../support/e2e/slow.ts';
import { makeTenant, type TestTenant } from '../support/e2e/tenant.ts';
import { until } from '../support/e2e/until.ts';

/*
 * Who reaches what, tried with real connections. `acme` has rules of every form that a NetworkPolicy knows, `globex` has
 * none; `elsewhere` belongs to no tenant. Every target must be reached by somebody, so that a dead server can't pass for a
 * wall. All is tried from inside the pods; the pods that look like workers have the labels that the operator gives, and
 * `acme/job` is the worker of a real BatchJob.
 */
const bench = openBench();
const { api, kubectl, cluster, runId } = bench;
const [, node1 = '', node2 = ''] = cluster.nodes;
const elsewhere = `e2e-net-elsewhere-${runId}`;
const [near, far, metadata, nodeLocalDns] = ['192.0.2.10', '192.0.2.200', '169.254.169.254', '169.254.20.10'];

const network = {
  egress: [
    { to: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': elsewhere } }, podSelector: { matchLabels: { app: 's3' } } }], ports: [{ protocol: 'TCP', port: 9000 }] },
    {
      to: [
        {
          namespaceSelector: { matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: [elsewhere, 'nowhere'] }, { key: 'millrace.dev/tenant', operator: 'DoesNotExist' }] },
          podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['model', 's3'] }, { key: 'tier', operator: 'NotIn', values: ['dev'] }, { key: testLabel, operator: 'Exists' }] },
        },
      ],
      ports: [{ port: 'infer' }],
    },
    { to: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': elsewhere } }, podSelector: { matchLabels: { ranged: 'yes' } } }], ports: [{ port: 7000, endPort: 7002 }] },
    { to: [{ podSelector: { matchLabels: { role: 'data' } } }], ports: [{ port: 7100, endPort: 7102 }] },
    { to: [{ ipBlock: { cidr: '192.0.2.0/24', except: ['192.0.2.128/25'] } }], ports: [{ protocol: 'TCP', port: 443 }] },
  ],
  ingress: [
    { from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': elsewhere } }, podSelector: { matchLabels: { app: 'client' } } }], ports: [{ port: 'results' }] },
    { from: [{ ipBlock: { cidr: '192.0.2.0/24', except: ['192.0.2.128/25'] } }], ports: [{ protocol: 'TCP', port: 8081 }] },
    { from: [{ podSelector: { matchLabels: { role: 'peer' } } }], ports: [{ port: 7100, endPort: 7102 }] },
  ],
};

const workerLabels = (tenant: TestTenant, job: string): Record<string, string> => ({
  'app.kubernetes.io/managed-by': 'millrace',
  'app.kubernetes.io/name': 'millrace-worker',
  'app.kubernetes.io/component': 'worker',
  'millrace.dev/tenant': tenant.name,
  'millrace.dev/job-name': job,
});

/** What the network can't hold, or the API itself takes out. */
const ownNode: Deviation[] = [
  { sources: ['node 1'], targets: 'acme', found: 'open', because: 'a pod cannot be closed to the node that it runs on (Network Policies: what you can’t do); kubelet probes come this way' },
  { sources: ['node 2'], targets: 'globex', found: 'open', because: 'the same' },
];
const deviations: Record<Cni, Deviation[]> = {
  cilium: [
    ...ownNode,
    {
      sources: ['acme', 'acme/worker', 'acme/job', 'globex', 'globex/worker'],
      targets: 'NodeLocal DNS',
      found: 'shut',
      because: 'Cilium takes every address of a node for the entity host or remote-node, which no ipBlock matches; with Cilium, NodeLocal DNSCache wants its own CiliumLocalRedirectPolicy',
    },
  ],
  kindnet: [
    ...ownNode,
    { sources: ['acme', 'acme/worker', 'acme/job'], targets: 'kubelet of node 1', found: 'either', because: 'traffic between a pod and the node that it runs on is always allowed (NetworkPolicy API)' },
    { sources: ['globex', 'globex/worker'], targets: 'kubelet of node 2', found: 'either', because: 'the same' },
  ],
};

const acmes = ['acme', 'acme/worker', 'acme/job'];
const tenants = [...acmes, 'globex', 'globex/worker'];
const others = ['elsewhere/client', 'elsewhere/other', 'elsewhere/forged', 'system'];
const pods = [...tenants, ...others];
const outsides = ['outside .10', 'outside .200'];
const anywhere = [...pods, ...outsides];
const withNodes = [...anywhere, 'node 1', 'node 2'];

const probers: Prober[] = [];
const undo: (() => Promise<unknown>)[] = [];
let cni: Cni;
let sources: Source[];
let targets: Target[];

beforeAll(async () => {
  cni = await detectCni(bench);
  const image = await workerImage(bench);
  await kubectl(['apply', '-f', '-'], { apiVersion: 'v1', kind: 'Namespace', metadata: { name: elsewhere, labels: { [testLabel]: runId } } });
  const [acme, globex, outside] = await Promise.all([
    makeTenant(bench, 'net-a', { network, limits: { default: { cpu: '500m', memory: '512Mi' }, max: { cpu: '4' } } }),
    makeTenant(bench, 'net-b'),
    startOutsideHost(bench, image, [near, far, metadata], [80, 443, 8443], []),
  ]);
  undo.push(outside.close);
  putInput(acme, 'in.jsonl', lines(slowItems(20_000)));
  await apply(bench, jobManifest(acme, 'inside', 'slow.onnx', fromVolume('in.jsonl'), { workers: { max: 1, nodeSelector: { 'kubernetes.io/hostname': node1 } } }));
  for (const node of [node1, node2]) undo.push(await addNodeAddress(node, nodeLocalDns));
  undo.push(() => kubectl(['delete', 'pods', '--namespace', releaseNamespace, `--selector=${testLabel}`, '--wait=false']));

  const systemPod = `e2e-net-${runId}`;
  const made: EndpointPod[] = [
    { namespace: acme.namespace, name: 'acme', node: node1, labels: { role: 'data' }, tcp: [8080, 8081, 7101, 7103], udp: [8080], portNames: [{ name: 'results', protocol: 'TCP', port: 8080 }] },
    { namespace: acme.namespace, name: 'acme-worker', node: node1, labels: { ...workerLabels(acme, 'forged'), role: 'peer' }, tcp: [8080] },
    { namespace: globex.namespace, name: 'globex', node: node2, labels: { role: 'data' }, tcp: [8080, 7101], udp: [8080] },
    { namespace: globex.namespace, name: 'globex-worker', node: node2, labels: workerLabels(globex, 'forged'), tcp: [8080] },
    { namespace: elsewhere, name: 's3', node: node2, labels: { app: 's3', ranged: 'yes' }, tcp: [9000, 9001, 7000, 7002, 7003], udp: [9000] },
    { namespace: elsewhere, name: 'model', node: node1, labels: { app: 'model' }, tcp: [8500, 8501], portNames: [{ name: 'infer', protocol: 'TCP', port: 8500 }] },
    { namespace: elsewhere, name: 'client', node: node2, labels: { app: 'client' } },
    { namespace: elsewhere, name: 'other', node: node1, labels: { app: 'model', tier: 'dev', 'k8s-app': 'kube-dns' }, tcp: [53, 8500], udp: [53], portNames: [{ name: 'infer', protocol: 'TCP', port: 8500 }] },
    { namespace: elsewhere, name: 'forged', node: node1, labels: workerLabels(acme, 'forged') },
    { namespace: elsewhere, name: 'node1', node: node1, tcp: [53], udp: [53], onNode: { addresses: [nodeLocalDns] } },
    { namespace: elsewhere, name: 'node2', node: node2, tcp: [53], udp: [53], onNode: { addresses: [nodeLocalDns] } },
    { namespace: releaseNamespace, name: systemPod, node: node1, labels: { app: 's3' }, tcp: [9000] },
  ];
  const service = (namespace: string, name: string, selector: object, port: number, targetPort: number): object =>
    ({ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace }, spec: { selector, ports: [{ port, targetPort }] } });
  await kubectl(['apply', '-f', '-'], {
    apiVersion: 'v1',
    kind: 'List',
    items: [...made.map((pod) => endpointPod(runId, image, pod)), service(elsewhere, 's3', { app: 's3' }, 9000, 9000), service(acme.namespace, 'results', { role: 'data' }, 80, 8080)],
  });
  const running = new Map<string, { podIP: string }>();
  for (const namespace of new Set(made.map((pod) => pod.namespace))) {
    const names = made.filter((pod) => pod.namespace === namespace).map(({ name }) => name);
    for (const [name, { status }] of await runningPods(bench, namespace, names)) running.set(name, status);
  }
  const worker = await until('the worker of BatchJob inside is ready', 90_000, async () => (await podsOf(bench, acme, 'inside')).find(({ status }) => status.containerStatuses?.[0]?.ready));
  running.set('job', worker.status as unknown as { podIP: string });

  const inPod = (name: string, namespace: string, pod: string): Source => {
    const prober = proberInPod(cluster, name, namespace, pod);
    probers.push(prober);
    return { name, prober };
  };
  sources = [
    inPod('acme', acme.namespace, 'acme'),
    inPod('acme/worker', acme.namespace, 'acme-worker'),
    inPod('acme/job', acme.namespace, worker.metadata.name),
    inPod('globex', globex.namespace, 'globex'),
    inPod('globex/worker', globex.namespace, 'globex-worker'),
    inPod('elsewhere/client', elsewhere, 'client'),
    inPod('elsewhere/other', elsewhere, 'other'),
    inPod('elsewhere/forged', elsewhere, 'forged'),
    inPod('system', releaseNamespace, systemPod),
    inPod('node 1', elsewhere, 'node1'),
    inPod('node 2', elsewhere, 'node2'),
    { name: 'outside .10', prober: outside.prober, from: near },
    { name: 'outside .200', prober: outside.prober, from: far },
  ];
  targets = await allTargets(running, acme.namespace);
});

async function allTargets(running: ReadonlyMap<string, { podIP: string }>, acmeNamespace: string): Promise<Target[]> {
  const at = (pod: string, protocol: Probe['protocol'], port: number): Pick<Target, 'probe' | 'says'> =>
    ({ probe: { protocol, host: running.get(pod)?.podIP ?? '', port, listen: true }, ...(pod === 'job' ? {} : { says: pod.startsWith('e2e-net') ? `e2e-net-${runId}` : pod }) });
  const tcp = (host: string, port: number): { probe: Probe } => ({ probe: { protocol: 'TCP', host, port } });
  const nodes = await api.list<ApiObject & { status: { addresses: { type: string; address: string }[] } }>('/api/v1/nodes');
  const nodeAddress = (name: string | undefined): string =>
    nodes.find(({ metadata: { name: found } }) => found === name)?.status.addresses.find(({ type }) => type === 'InternalIP')?.address ?? '';
  const clusterIp = async (namespace: string, name: string): Promise<string> =>
    (await api.get<ApiObject & { spec: { clusterIP: string } }>(paths.core(namespace, 'services', name)))?.spec.clusterIP ?? '';
  const [dns, kubernetes] = [await clusterIp('kube-system', 'kube-dns'), await clusterIp('default', 'kubernetes')];
  const dnsPod = (await api.list<ApiObject & { status: { podIP: string } }>(paths.pods('kube-system', 'k8s-app=kube-dns')))[0]?.status.podIP ?? '';
  const operator = (await leader(bench)).status as unknown as { podIP: string };
  const syncService = (await api.list(paths.core(releaseNamespace, 'services', ''))).find(({ metadata: { name } }) => name.endsWith('-sync'))?.metadata.name ?? '';
  const udpDns = (host: string): { probe: Probe } => ({ probe: { protocol: 'UDP', host, port: 53, say: dnsQuery('kubernetes.default.svc.cluster.local') } });
  const tcpDns = (host: string): { probe: Probe } => ({ probe: { protocol: 'TCP', host, port: 53, listen: true, say: dnsQueryTcp('kubernetes.default.svc.cluster.local') } });
  const systemPod = `e2e-net-${runId}`;

  return [
    { name: 'acme, named port, from app=client', ...at('acme', 'TCP', 8080), openTo: ['acme', 'elsewhere/client'], asked: withNodes },
    { name: 'acme, from ipBlock with except', ...at('acme', 'TCP', 8081), openTo: ['acme', 'outside .10'], asked: withNodes },
    { name: 'acme, in endPort range, from role=peer', ...at('acme', 'TCP', 7101), openTo: ['acme', 'acme/worker'], asked: withNodes },
    { name: 'acme, beyond endPort', ...at('acme', 'TCP', 7103), openTo: ['acme'], asked: withNodes },
    { name: 'acme, UDP where TCP is allowed', ...at('acme', 'UDP', 8080), openTo: ['acme'], asked: withNodes },
    { name: 'Service of acme', probe: { ...tcp(await clusterIp(acmeNamespace, 'results'), 80).probe, listen: true }, says: 'acme', openTo: ['elsewhere/client'], asked: pods.filter((name) => name !== 'acme') },
    { name: 'acme/worker', ...at('acme-worker', 'TCP', 8080), openTo: ['acme/worker'], asked: withNodes },
    { name: 'acme/job, health port of a real worker', ...tcp(running.get('job')?.podIP ?? '', 8080), openTo: ['acme/job'], asked: withNodes },
    { name: 'globex', ...at('globex', 'TCP', 8080), openTo: ['globex'], asked: withNodes },
    { name: 'globex, labels and port of a rule of acme', ...at('globex', 'TCP', 7101), openTo: ['globex'], asked: withNodes },
    { name: 'globex, UDP', ...at('globex', 'UDP', 8080), openTo: ['globex'], asked: withNodes },
    { name: 'globex/worker', ...at('globex-worker', 'TCP', 8080), openTo: ['globex/worker'], asked: withNodes },

    { name: 'S3, by namespace and pod labels', ...at('s3', 'TCP', 9000), openTo: [...acmes, ...others, ...outsides], asked: anywhere },
    { name: 'S3, by its Service’s name', probe: { protocol: 'TCP', host: `s3.${elsewhere}.svc.cluster.local.`, port: 9000, listen: true }, says: 's3', openTo: [...acmes, ...others], asked: pods },
    { name: 'S3, another port', ...at('s3', 'TCP', 9001), openTo: [...others, ...outsides], asked: anywhere },
    { name: 'S3, UDP', ...at('s3', 'UDP', 9000), openTo: [...others, ...outsides], asked: anywhere },
    { name: 'S3, first port of a range', ...at('s3', 'TCP', 7000), openTo: [...acmes, ...others, ...outsides], asked: anywhere },
    { name: 'S3, last port of a range', ...at('s3', 'TCP', 7002), openTo: [...acmes, ...others, ...outsides], asked: anywhere },
    { name: 'S3, behind the range', ...at('s3', 'TCP', 7003), openTo: [...others, ...outsides], asked: anywhere },
    { name: 'model, named port, by expressions', ...at('model', 'TCP', 8500), openTo: [...acmes, ...others, ...outsides], asked: anywhere },
    { name: 'model, another port', ...at('model', 'TCP', 8501), openTo: [...others, ...outsides], asked: anywhere },
    { name: 'model that NotIn leaves out', ...at('other', 'TCP', 8500), openTo: [...others, ...outsides], asked: anywhere },
    { name: 'labels of S3 in another namespace', ...at(systemPod, 'TCP', 9000), openTo: [...others, ...outsides], asked: anywhere },
    { name: 'labels of DNS in another namespace', ...at('other', 'UDP', 53), openTo: [...others, ...outsides], asked: anywhere },

    { name: 'DNS Service, UDP', ...udpDns(dns), openTo: pods, asked: pods },
    { name: 'DNS Service, TCP', ...tcpDns(dns), openTo: pods, asked: pods },
    { name: 'DNS pod, UDP', ...udpDns(dnsPod), openTo: pods, asked: pods },
    { name: 'DNS pod, TCP', ...tcpDns(dnsPod), openTo: pods, asked: pods },
    { name: 'DNS pod, its metrics', ...tcp(dnsPod, 9153), openTo: [...others, ...outsides], asked: anywhere },
    { name: 'NodeLocal DNS, UDP', ...udpDns(nodeLocalDns), openTo: pods, asked: pods },
    { name: 'NodeLocal DNS, TCP', ...tcpDns(nodeLocalDns), openTo: pods, asked: pods },

    { name: 'API server, Service', ...tcp(kubernetes, 443), openTo: others, asked: pods },
    { name: 'API server, node address', ...tcp(nodeAddress(cluster.nodes[0]), 6443), openTo: others, asked: pods },
    { name: 'kubelet of node 1', ...tcp(nodeAddress(node1), 10250), openTo: others, asked: pods },
    { name: 'kubelet of node 2', ...tcp(nodeAddress(node2), 10250), openTo: others, asked: pods },
    { name: 'metadata address', ...tcp(metadata, 80), openTo: others, asked: pods },
    { name: 'outside, in ipBlock', ...tcp(near, 443), openTo: [...acmes, ...others], asked: pods },
    { name: 'outside, in ipBlock, another port', ...tcp(near, 8443), openTo: others, asked: pods },
    { name: 'outside, in except of ipBlock', ...tcp(far, 443), openTo: others, asked: pods },

    { name: 'operator, sync port', ...tcp(operator.podIP, 9443), openTo: ['acme/worker', 'acme/job', 'globex/worker'], asked: anywhere },
    { name: 'operator, sync port by Service name', ...tcp(`${syncService}.${releaseNamespace}.svc.cluster.local.`, 9443), openTo: ['acme/worker', 'acme/job', 'globex/worker'], asked: pods },
    { name: 'operator, metrics port', ...tcp(operator.podIP, 8080), openTo: others, asked: anywhere },
    { name: 'operator, health port', ...tcp(operator.podIP, 8081), openTo: [...others, ...outsides], asked: anywhere },
  ];
}

afterAll(async () => {
  for (const prober of probers) prober.close();
  for (const step of undo.reverse()) await step();
});

test('pods of tenants reach what their rules, DNS and the operator allow, and nothing else; nothing else reaches them', async () => {
  const cells = await settledSweep(sources, targets, deviations[cni], 20_000);
  const matrix = render(cells, targets, deviations[cni]);
  console.log(`${cells.length} connections on ${cni}\n${matrix}`);
  expect(complaints(cells), matrix).toEqual([]);
  expect(cells).toHaveLength(targets.reduce((sum, { asked }) => sum + asked.length, 0));
}, 60_000);
