import { labels, MANAGED_BY } from '../api/names.ts';
import type { KubeObject } from '../kube/object.ts';
import { childMeta } from './child.ts';
import type { StoredTenant, TenantSettings } from './observe.ts';

/** Link-local address on which NodeLocal DNSCache listens on every node. */
const NODE_LOCAL_DNS = '169.254.20.10/32';

const NAMESPACE_NAME = 'kubernetes.io/metadata.name';

/** Policies add up: the first denies all, each other one allows one thing. */
export function networkPolicies(tenant: StoredTenant, settings: TenantSettings): KubeObject[] {
  const { egress, ingress } = tenant.spec.network;
  const own = [...(egress.length > 0 ? ['Egress'] : []), ...(ingress.length > 0 ? ['Ingress'] : [])];
  return [
    policy(tenant, 'millrace-default-deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }),
    policy(tenant, 'millrace-allow-dns', { podSelector: {}, policyTypes: ['Egress'], egress: [dns()] }),
    policy(tenant, 'millrace-allow-operator', {
      podSelector: { matchLabels: { [labels.managedBy]: MANAGED_BY, [labels.component]: 'worker' } },
      policyTypes: ['Egress'],
      egress: [
        {
          to: [
            {
              namespaceSelector: { matchLabels: { [NAMESPACE_NAME]: settings.operatorNamespace } },
              podSelector: { matchLabels: settings.operatorLabels },
            },
          ],
          ports: [{ protocol: 'TCP', port: settings.syncPort }],
        },
      ],
    }),
    ...(own.length === 0
      ? []
      : [
          policy(tenant, 'millrace-tenant-rules', {
            podSelector: {},
            policyTypes: own,
            ...(egress.length > 0 ? { egress: egress.map(withoutEmpty) } : {}),
            ...(ingress.length > 0 ? { ingress: ingress.map(withoutEmpty) } : {}),
          }),
        ]),
  ];
}

function policy(tenant: StoredTenant, name: string, spec: object): KubeObject {
  const object: KubeObject & { spec: object } = {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: childMeta(tenant, name),
    spec,
  };
  return object;
}

function dns(): object {
  return {
    to: [
      {
        namespaceSelector: { matchLabels: { [NAMESPACE_NAME]: 'kube-system' } },
        podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } },
      },
      { ipBlock: { cidr: NODE_LOCAL_DNS } },
    ],
    ports: [
      { protocol: 'UDP', port: 53 },
      { protocol: 'TCP', port: 53 },
    ],
  };
}

/**
 * Without empty lists and empty `matchLabels`, which the API server leaves out of what it stores and which mean the same
 * as nothing. Empty selectors stay: they pick everything.
 */
function withoutEmpty(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(withoutEmpty);
  if (typeof node !== 'object' || node === null) return node;
  return Object.fromEntries(
    Object.entries(node)
      .filter(([key, value]) => !(Array.isArray(value) && value.length === 0) && !(key === 'matchLabels' && Object.keys(value as object).length === 0))
      .map(([key, value]) => [key, withoutEmpty(value)]),
  );
}
