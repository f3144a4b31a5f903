import { BlockList, isIPv6 } from 'node:net';

/*
 * What NetworkPolicies allow, written from the API's own text (networking.k8s.io/v1): a pod that no policy picks is open; one
 * that is picked is open to what any rule of any policy names, and a connection needs the consent of both ends.
 */

export type Protocol = 'TCP' | 'UDP' | 'SCTP';

/** An end of a connection: a pod, or without `namespace` an address outside of the cluster's pods. */
export interface Peer {
  name: string;
  address: string;
  namespace?: string;
  labels?: Record<string, string>;
  /** Ports that the pod has names for. */
  ports?: readonly { name: string; protocol: Protocol; port: number }[];
}

export interface Connection {
  from: Peer;
  to: Peer;
  protocol: Protocol;
  port: number;
}

export interface LabelSelector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist'; values?: string[] }[];
}

export interface PolicyPeer {
  podSelector?: LabelSelector;
  namespaceSelector?: LabelSelector;
  ipBlock?: { cidr: string; except?: string[] };
}

export interface PolicyPort {
  protocol?: Protocol;
  port?: number | string;
  endPort?: number;
}

export interface NetworkPolicy {
  metadata: { name: string; namespace?: string };
  spec: {
    podSelector: LabelSelector;
    policyTypes?: string[];
    ingress?: { from?: PolicyPeer[]; ports?: PolicyPort[] }[];
    egress?: { to?: PolicyPeer[]; ports?: PolicyPort[] }[];
  };
}

export interface Scene {
  /** Labels of the namespaces. */
  namespaces: ReadonlyMap<string, Record<string, string>>;
  policies: readonly NetworkPolicy[];
  /** Whether an ipBlock picks pods by their address, which the API leaves to the network: kindnet's does, Cilium's does not. */
  ipBlockPicksPods: boolean;
}

export function permits(scene: Scene, connection: Connection): boolean {
  if (connection.from === connection.to) return true; // never leaves the pod
  return consents(scene, 'Egress', connection) && consents(scene, 'Ingress', connection);
}

function consents(scene: Scene, direction: 'Ingress' | 'Egress', connection: Connection): boolean {
  const [self, other] = direction === 'Egress' ? [connection.from, connection.to] : [connection.to, connection.from];
  const picking = scene.policies.filter(
    ({ metadata, spec }) => self.namespace !== undefined && metadata.namespace === self.namespace && typesOf(spec).includes(direction) && matches(spec.podSelector, self.labels),
  );
  if (picking.length === 0) return true;
  return picking.some(({ metadata: { namespace }, spec }) => {
    const rules = direction === 'Egress' ? (spec.egress ?? []).map(({ to, ports }) => ({ peers: to, ports })) : (spec.ingress ?? []).map(({ from, ports }) => ({ peers: from, ports }));
    return rules.some(({ peers = [], ports = [] }) => {
      const peer = peers.length === 0 || peers.some((one) => names(scene, one, namespace, other));
      return peer && (ports.length === 0 || ports.some((port) => covers(port, connection)));
    });
  });
}

/** Left out, every policy is for Ingress, and for Egress too when it has such rules. */
const typesOf = ({ policyTypes, egress }: NetworkPolicy['spec']): string[] => policyTypes ?? ['Ingress', ...(egress === undefined ? [] : ['Egress'])];

function names(scene: Scene, { ipBlock, podSelector, namespaceSelector }: PolicyPeer, own: string | undefined, peer: Peer): boolean {
  if (ipBlock !== undefined) {
    if (peer.namespace !== undefined && !scene.ipBlockPicksPods) return false;
    return contains(ipBlock.cidr, peer.address) && !(ipBlock.except ?? []).some((block) => contains(block, peer.address));
  }
  if (peer.namespace === undefined) return false;
  const inNamespace = namespaceSelector === undefined ? peer.namespace === own : matches(namespaceSelector, scene.namespaces.get(peer.namespace));
  return inNamespace && matches(podSelector ?? {}, peer.labels);
}

function covers({ protocol = 'TCP', port, endPort }: PolicyPort, connection: Connection): boolean {
  if (protocol !== connection.protocol) return false;
  if (port === undefined) return true;
  if (typeof port === 'number') return connection.port >= port && connection.port <= (endPort ?? port);
  return connection.to.ports?.some((named) => named.name === port && named.protocol === protocol && named.port === connection.port) ?? false;
}

function matches({ matchLabels = {}, matchExpressions = [] }: LabelSelector, labels: Record<string, string> = {}): boolean {
  if (!Object.entries(matchLabels).every(([key, value]) => labels[key] === value)) return false;
  return matchExpressions.every(({ key, operator, values = [] }) => {
    const value = labels[key];
    const inValues = value !== undefined && values.includes(value);
    return { In: inValues, NotIn: !inValues, Exists: value !== undefined, DoesNotExist: value === undefined }[operator];
  });
}

function contains(cidr: string, address: string): boolean {
  const [base = '', bits = ''] = cidr.split('/');
  const family = (text: string): 'ipv4' | 'ipv6' => (isIPv6(text) ? 'ipv6' : 'ipv4');
  const block = new BlockList();
  block.addSubnet(base, Number(bits), family(base));
  return block.check(address, family(address));
}
