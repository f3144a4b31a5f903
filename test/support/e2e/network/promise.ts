import type { TenantNetwork } from '../../../../operator/api/tenant.gen.ts';
import type { LabelSelector, Peer, PolicyPeer, PolicyPort, Protocol } from './evaluator.ts';

/*
 * What the Tenants' specs promise, told as a list of all connections that are allowed. It knows nothing of NetworkPolicies and
 * shares no code with their evaluator: it lists what each rule names, where the evaluator asks of a connection whether a
 * rule names it.
 */

export interface PromisedTenant {
  namespace: string;
  network: TenantNetwork;
}

/** Everything there is to connect to and from. */
export interface World {
  namespaces: ReadonlyMap<string, Record<string, string>>;
  peers: readonly Peer[];
  /** All ports that are asked about. */
  ports: readonly { protocol: Protocol; port: number }[];
  ipBlockPicksPods: boolean;
  operator: { namespace: string; labels: Record<string, string>; syncPort: number };
}

export const keyOf = (from: string, to: string, protocol: Protocol, port: number): string => `${from} -> ${to} ${protocol} ${port}`;

/** Keys (`keyOf`) of the connections that must be possible. */
export function promised(world: World, tenants: readonly PromisedTenant[]): Set<string> {
  const walled = new Map(tenants.map(({ namespace }) => [namespace, { out: new Set<string>(), in: new Set<string>() }]));
  for (const { namespace, network } of tenants) {
    const own = world.peers.filter((peer) => peer.namespace === namespace);
    const wall = walled.get(namespace);
    for (const self of own) {
      const out = [...network.egress.map(({ to, ports }) => ({ peers: to, ports })), dns, ...(isWorker(self) ? [sync(world)] : [])];
      for (const { peers, ports } of out) {
        for (const to of named(world, namespace, peers)) for (const port of open(world, to, ports)) wall?.out.add(keyOf(self.name, to.name, port.protocol, port.port));
      }
      for (const { from: peers, ports } of network.ingress) {
        for (const from of named(world, namespace, peers)) for (const port of open(world, self, ports)) wall?.in.add(keyOf(from.name, self.name, port.protocol, port.port));
      }
    }
  }
  const everything = world.peers.flatMap((from) => world.peers.flatMap((to) => world.ports.map(({ protocol, port }) => ({ from, to, key: keyOf(from.name, to.name, protocol, port) }))));
  const wallOf = ({ namespace = '' }: Peer): { out: Set<string>; in: Set<string> } | undefined => walled.get(namespace);
  return new Set(
    everything.filter(({ from, to, key }) => from === to || ((wallOf(from)?.out.has(key) ?? true) && (wallOf(to)?.in.has(key) ?? true))).map(({ key }) => key),
  );
}

type Rule = { peers?: PolicyPeer[]; ports?: PolicyPort[] };

const dns: Rule = {
  peers: [
    { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } }, podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } } },
    { ipBlock: { cidr: '169.254.20.10/32' } },
  ],
  ports: [{ protocol: 'UDP', port: 53 }, { protocol: 'TCP', port: 53 }],
};

const sync = ({ operator }: World): Rule => ({
  peers: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': operator.namespace } }, podSelector: { matchLabels: operator.labels } }],
  ports: [{ protocol: 'TCP', port: operator.syncPort }],
});

const isWorker = ({ labels }: Peer): boolean => labels?.['app.kubernetes.io/managed-by'] === 'millrace' && labels['app.kubernetes.io/component'] === 'worker';

/** The ends that the peers of a rule name: all when it names none. */
function named(world: World, own: string, peers: readonly PolicyPeer[] = []): Peer[] {
  if (peers.length === 0) return [...world.peers];
  const found = peers.flatMap(({ ipBlock, namespaceSelector, podSelector }) => {
    if (ipBlock !== undefined) {
      const candidates = world.peers.filter(({ namespace }) => namespace === undefined || world.ipBlockPicksPods);
      const excepted = new Set((ipBlock.except ?? []).flatMap((block) => within(candidates, block)));
      return within(candidates, ipBlock.cidr).filter((peer) => !excepted.has(peer));
    }
    const all = [...world.namespaces].map(([name, labels]) => ({ name, labels }));
    const spaces = new Set((namespaceSelector === undefined ? all.filter(({ name }) => name === own) : select(all, namespaceSelector)).map(({ name }) => name));
    return select(world.peers.filter(({ namespace }) => namespace !== undefined && spaces.has(namespace)), podSelector ?? {});
  });
  return [...new Set(found)];
}

/** Addresses as numbers: what two share in their first bits is in the same block. */
function within(peers: readonly Peer[], cidr: string): Peer[] {
  const [base = '', bits = '32'] = cidr.split('/');
  const prefix = (address: string): number => {
    const number = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
    return Math.floor(number / 2 ** (32 - Number(bits)));
  };
  return peers.filter(({ address }) => prefix(address) === prefix(base));
}

function select<T extends { labels?: Record<string, string> }>(things: readonly T[], { matchLabels = {}, matchExpressions = [] }: LabelSelector): T[] {
  const requirements = [...Object.entries(matchLabels).map(([key, value]) => ({ key, operator: 'In' as const, values: [value] })), ...matchExpressions];
  return requirements.reduce<T[]>((left, { key, operator, values = [] }) => {
    const have = left.filter(({ labels = {} }) => Object.hasOwn(labels, key));
    const withValue = have.filter(({ labels = {} }) => values.includes(labels[key] ?? ''));
    const wanted = { In: withValue, NotIn: left.filter((thing) => !withValue.includes(thing)), Exists: have, DoesNotExist: left.filter((thing) => !have.includes(thing)) };
    return wanted[operator];
  }, [...things]);
}

/** The ports of `to` that a rule opens: all when it names none. */
function open(world: World, to: Peer, ports: readonly PolicyPort[] = []): World['ports'] {
  if (ports.length === 0) return world.ports;
  return ports.flatMap(({ protocol = 'TCP', port, endPort }) => {
    const candidates = world.ports.filter((one) => one.protocol === protocol);
    if (port === undefined) return candidates;
    const numbers = typeof port === 'string' ? (to.ports ?? []).filter((one) => one.name === port && one.protocol === protocol).map((one) => one.port) : undefined;
    return candidates.filter((one) => numbers?.includes(one.port) ?? (one.port >= Number(port) && one.port <= (endPort ?? Number(port))));
  });
}
