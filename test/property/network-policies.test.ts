import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { namespace } from '../../operator/tenant/namespace.ts';
import { networkPolicies } from '../../operator/tenant/network-policies.ts';
import { type Connection, type NetworkPolicy, type Peer, permits, type Scene } from '../support/e2e/network/evaluator.ts';
import { keyOf, promised, type World } from '../support/e2e/network/promise.ts';
import { networks } from '../support/e2e/network/rules.ts';
import { aTenant } from '../unit/tenant/fixtures.ts';

const settings = { operatorNamespace: 'millrace-system', syncPort: 9443, operatorLabels: { 'app.kubernetes.io/component': 'operator' } };
const workerLabels = { 'app.kubernetes.io/managed-by': 'millrace', 'app.kubernetes.io/component': 'worker' };
const words = {
  podLabels: { app: ['a', 'b', 'c'], tier: ['web', 'db'] },
  namespaceLabels: { 'kubernetes.io/metadata.name': ['tenant-acme', 'tenant-globex', 'elsewhere', 'millrace-system'], 'millrace.dev/tenant': ['acme', 'globex'], team: ['x', 'y'] },
  ports: [53, 8001, 8002, 8003, 9443],
  portNames: ['web', 'dgram'],
  blocks: [
    { cidr: '0.0.0.0/0' },
    { cidr: '0.0.0.0/0', except: ['10.0.0.0/8', '172.16.0.0/12', '169.254.0.0/16'] },
    { cidr: '192.0.2.0/24', except: ['192.0.2.128/25'] },
    { cidr: '192.0.2.10/32' },
    { cidr: '192.0.2.0/24', except: [] },
    { cidr: '10.0.0.0/8' },
  ],
};

const named = [{ name: 'web', protocol: 'TCP' as const, port: 8001 }, { name: 'dgram', protocol: 'UDP' as const, port: 8002 }];
const labelled = fc.record({ app: fc.constantFrom('a', 'b'), tier: fc.constantFrom('web', 'db') }, { requiredKeys: [] });
/** Pods with generated labels, in tenants and elsewhere, and the things that every cluster has. */
const peers = fc.tuple(...Array.from({ length: 6 }, () => labelled)).map((labels): Peer[] => [
  { name: 'acme', namespace: 'tenant-acme', address: '10.0.1.1', labels: labels[0] ?? {}, ports: named },
  { name: 'acme worker', namespace: 'tenant-acme', address: '10.0.1.2', labels: { ...labels[1], ...workerLabels } },
  { name: 'globex', namespace: 'tenant-globex', address: '10.0.2.1', labels: labels[2] ?? {}, ports: [{ name: 'web', protocol: 'TCP', port: 8002 }] },
  { name: 'globex worker', namespace: 'tenant-globex', address: '10.0.2.2', labels: { ...labels[3], ...workerLabels } },
  { name: 'elsewhere', namespace: 'elsewhere', address: '10.0.3.1', labels: labels[4] ?? {}, ports: named },
  { name: 'worker elsewhere', namespace: 'elsewhere', address: '10.0.3.2', labels: { ...labels[5], ...workerLabels } },
  { name: 'DNS', namespace: 'kube-system', address: '10.0.4.1', labels: { 'k8s-app': 'kube-dns' } },
  { name: 'beside DNS', namespace: 'kube-system', address: '10.0.4.2', labels: { 'k8s-app': 'metrics-server' } },
  { name: 'operator', namespace: 'millrace-system', address: '10.0.5.1', labels: settings.operatorLabels },
  { name: 'beside the operator', namespace: 'millrace-system', address: '10.0.5.2', labels: {} },
  ...['192.0.2.10', '192.0.2.200', '169.254.20.10', '169.254.169.254', '172.18.0.3'].map((address) => ({ name: address, address })),
]);

const namespacesOf = (...tenants: Parameters<typeof namespace>[0][]): Map<string, Record<string, string>> =>
  new Map([
    ...tenants.map((tenant) => namespace(tenant).metadata).map(({ name, labels }): [string, Record<string, string>] => [name, { ...labels, 'kubernetes.io/metadata.name': name }]),
    ...['elsewhere', 'kube-system', 'millrace-system'].map((name): [string, Record<string, string>] => [name, { 'kubernetes.io/metadata.name': name, ...(name === 'elsewhere' ? { team: 'x' } : {}) }]),
  ]);

describe('whatever the rules of two tenants', () => {
  it('their policies allow exactly what the specs promise', () => {
    fc.assert(
      fc.property(networks(words), networks(words), peers, fc.boolean(), (one, two, ends, ipBlockPicksPods) => {
        const tenants = [aTenant({ network: one }, { name: 'acme' }), aTenant({ network: two }, { name: 'globex', uid: 'uid-globex' })];
        const namespaces = namespacesOf(...tenants);
        const ports = words.ports.flatMap((port) => [{ protocol: 'TCP' as const, port }, { protocol: 'UDP' as const, port }]);
        const world: World = { namespaces, peers: ends, ports, ipBlockPicksPods, operator: { namespace: settings.operatorNamespace, labels: settings.operatorLabels, syncPort: settings.syncPort } };
        const policies = tenants.flatMap((tenant) => networkPolicies(tenant, settings)) as unknown as NetworkPolicy[];
        const scene: Scene = { namespaces, policies, ipBlockPicksPods };
        const wanted = promised(world, tenants.map(({ metadata, spec }) => ({ namespace: `tenant-${metadata.name}`, network: spec.network })));
        const wrong = ends.flatMap((from) => ends.flatMap((to) => ports.flatMap((port) => {
          const key = keyOf(from.name, to.name, port.protocol, port.port);
          const allowed = permits(scene, { from, to, ...port });
          return allowed === wanted.has(key) ? [] : [`${key}: the policies ${allowed ? 'allow' : 'deny'} it`];
        })));
        expect(wrong).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });
});

describe('the evaluator reads a policy as the API tells it', () => {
  const web: Peer = { name: 'web', namespace: 'a', address: '10.0.0.1', labels: { app: 'web' }, ports: [{ name: 'http', protocol: 'TCP', port: 8080 }] };
  const db: Peer = { name: 'db', namespace: 'a', address: '10.0.0.2', labels: { app: 'db' } };
  const far: Peer = { name: 'far', namespace: 'b', address: '10.0.0.3', labels: { app: 'web' } };
  const host: Peer = { name: 'host', address: '192.0.2.7' };
  const policy = (spec: Partial<NetworkPolicy['spec']>): NetworkPolicy => ({ metadata: { name: 'p', namespace: 'a' }, spec: { podSelector: {}, ...spec } });
  const ingress = (...rules: NonNullable<NetworkPolicy['spec']['ingress']>): NetworkPolicy => policy({ policyTypes: ['Ingress'], ingress: rules });
  const to = (from: Peer, target: Peer, port = 8080, protocol: Connection['protocol'] = 'TCP'): Connection => ({ from, to: target, port, protocol });
  const cases: [what: string, policies: NetworkPolicy[], connection: Connection, allowed: boolean][] = [
    ['no policy: open', [], to(far, web), true],
    ['a policy of another namespace does not matter', [{ ...ingress(), metadata: { name: 'p', namespace: 'b' } }], to(far, web), true],
    ['a policy that picks another pod does not matter', [policy({ podSelector: { matchLabels: { app: 'db' } }, policyTypes: ['Ingress'] })], to(far, web), true],
    ['picked without a rule: shut', [ingress()], to(far, web), false],
    ['picked for Ingress: may go out', [ingress()], to(web, far), true],
    ['without policyTypes it is for Ingress', [policy({})], to(far, web), false],
    ['without policyTypes and rules it is not for Egress', [policy({})], to(web, far), true],
    ['without policyTypes it is for Egress when it has such rules', [policy({ egress: [] })], to(web, far), false],
    ['an empty rule allows all', [ingress({})], to(far, web), true],
    ['empty peers allow all', [ingress({ from: [] })], to(host, web), true],
    ['policies add up', [ingress(), ingress({ from: [{ podSelector: {} }] })], to(db, web), true],
    ['a podSelector alone means the own namespace', [ingress({ from: [{ podSelector: {} }] })], to(far, web), false],
    ['an empty namespaceSelector means all namespaces', [ingress({ from: [{ namespaceSelector: {} }] })], to(far, web), true],
    ['an empty namespaceSelector means no address outside', [ingress({ from: [{ namespaceSelector: {} }] })], to(host, web), false],
    ['both selectors must match', [ingress({ from: [{ namespaceSelector: { matchLabels: { team: 'b' } }, podSelector: { matchLabels: { app: 'db' } } }] })], to(far, web), false],
    ['two peers are alternatives', [ingress({ from: [{ namespaceSelector: { matchLabels: { team: 'b' } } }, { podSelector: { matchLabels: { app: 'db' } } }] })], to(far, web), true],
    ['NotIn matches what lacks the label', [ingress({ from: [{ namespaceSelector: { matchExpressions: [{ key: 'nobody', operator: 'NotIn', values: ['x'] }] } }] })], to(far, web), true],
    ['In does not match what lacks the label', [ingress({ from: [{ namespaceSelector: { matchExpressions: [{ key: 'nobody', operator: 'In', values: ['x'] }] } }] })], to(far, web), false],
    ['Exists and DoesNotExist', [ingress({ from: [{ namespaceSelector: { matchExpressions: [{ key: 'team', operator: 'Exists' }, { key: 'nobody', operator: 'DoesNotExist' }] } }] })], to(far, web), true],
    ['a port is of TCP when it does not say', [ingress({ ports: [{ port: 8080 }] })], to(far, web, 8080, 'UDP'), false],
    ['a protocol alone means all its ports', [ingress({ ports: [{ protocol: 'UDP' }] })], to(far, web, 9, 'UDP'), true],
    ['endPort is included', [ingress({ ports: [{ port: 8000, endPort: 8080 }] })], to(far, web), true],
    ['what is behind endPort is not', [ingress({ ports: [{ port: 8000, endPort: 8079 }] })], to(far, web), false],
    ['a name means the port that the pod calls so', [ingress({ ports: [{ port: 'http' }] })], to(far, web), true],
    ['a name means no port where the pod does not know it', [ingress({ ports: [{ port: 'http' }] })], to(far, db), false],
    ['an ipBlock', [ingress({ from: [{ ipBlock: { cidr: '192.0.2.0/24' } }] })], to(host, web), true],
    ['except takes out of it', [ingress({ from: [{ ipBlock: { cidr: '192.0.2.0/24', except: ['192.0.2.0/29'] } }] })], to(host, web), false],
    ['both ends must consent', [ingress({}), policy({ podSelector: { matchLabels: { app: 'db' } }, policyTypes: ['Egress'] })], to(db, web), false],
    ['a pod reaches itself', [ingress(), policy({ policyTypes: ['Egress'] })], to(web, web), true],
  ];

  test.each(cases)('%s', (_what, policies, connection, allowed) => {
    const namespaces = new Map([['a', { team: 'a' }], ['b', { team: 'b' }]]);
    expect(permits({ namespaces, policies, ipBlockPicksPods: false }, connection)).toBe(allowed);
  });

  test('an ipBlock picks pods only on networks that do so', () => {
    const scene = { namespaces: new Map(), policies: [ingress({ from: [{ ipBlock: { cidr: '10.0.0.0/8' } }] })] };
    expect([true, false].map((ipBlockPicksPods) => permits({ ...scene, ipBlockPicksPods }, to(far, web)))).toEqual([true, false]);
  });
});
