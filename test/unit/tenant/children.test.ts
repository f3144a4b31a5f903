import { describe, expect, it } from 'vitest';
import { clusterRules } from '../../../operator/kube/kinds.ts';
import { limitRange } from '../../../operator/tenant/limit-range.ts';
import { namespace } from '../../../operator/tenant/namespace.ts';
import { networkPolicies } from '../../../operator/tenant/network-policies.ts';
import { ownerAccess } from '../../../operator/tenant/rbac.ts';
import { quotaInForce, resourceQuota } from '../../../operator/tenant/resource-quota.ts';
import { serviceAccount } from '../../../operator/tenant/service-account.ts';
import { aTenant, names, observed } from './fixtures.ts';

const { settings } = observed();

describe('the namespace', () => {
  it('is named after the tenant unless the spec names it', () => {
    expect(namespace(aTenant()).metadata.name).toBe('tenant-acme');
    expect(namespace(aTenant({ namespace: 'research' })).metadata.name).toBe('research');
  });

  it('holds pods to the restricted Pod Security level in all three modes and carries the UID of its Tenant, without an owner reference', () => {
    const { labels, ownerReferences } = namespace(aTenant()).metadata;
    for (const mode of ['enforce', 'audit', 'warn']) expect(labels).toMatchObject({ [`pod-security.kubernetes.io/${mode}`]: 'restricted' });
    expect(labels).toMatchObject({ 'millrace.dev/tenant': 'acme', 'millrace.dev/tenant-uid': 'uid-acme', 'app.kubernetes.io/managed-by': 'millrace' });
    expect(ownerReferences).toBeUndefined();
  });
});

describe('the quota', () => {
  it('is what the spec says, written as the API server writes quantities', () => {
    const [quota] = resourceQuota(aTenant({ quota: { 'requests.cpu': 4, 'limits.memory': '16384Mi', 'count/batchjobs.millrace.dev': '500' } }), undefined, 0);
    expect(quota).toMatchObject({ kind: 'ResourceQuota', spec: { hard: { 'requests.cpu': '4', 'limits.memory': '16Gi', 'count/batchjobs.millrace.dev': '500' } } });
  });

  it('is left out without spec.quota and with an empty one', () => {
    expect(resourceQuota(aTenant(), undefined, 0)).toEqual([]);
    expect(resourceQuota(aTenant({ quota: {} }), undefined, 0)).toEqual([]);
  });

  it('is in force once the quota controller has counted every resource of it', () => {
    const tenant = aTenant({ quota: { pods: 3, 'requests.cpu': 1 } });
    const [quota] = resourceQuota(tenant, undefined, 0);
    expect(quotaInForce(tenant, undefined)).toBe(false);
    expect(quotaInForce(tenant, { ...quota!, status: { hard: { pods: '3' } } })).toBe(false);
    expect(quotaInForce(tenant, { ...quota!, status: { hard: { pods: '3', 'requests.cpu': '1' }, used: { pods: '0' } } })).toBe(false);
    expect(quotaInForce(tenant, { ...quota!, status: { hard: { pods: '3', 'requests.cpu': '1' }, used: { pods: '0', 'requests.cpu': '0' } } })).toBe(true);
    expect(quotaInForce(aTenant(), undefined)).toBe(true);
  });
});

describe('the limit range', () => {
  it('is one item for containers with the bounds that the spec gives', () => {
    const [range] = limitRange(aTenant({ limits: { default: { cpu: '500m', memory: '512Mi' }, max: { cpu: 4 }, min: {} } }));
    expect(range).toMatchObject({ spec: { limits: [{ type: 'Container', default: { cpu: '500m', memory: '512Mi' }, max: { cpu: '4' } }] } });
    expect(JSON.stringify(range)).not.toContain('"min"');
  });

  it('is left out without bounds', () => {
    expect(limitRange(aTenant())).toEqual([]);
    expect(limitRange(aTenant({ limits: { max: {} } }))).toEqual([]);
  });
});

describe('network policies', () => {
  const spec = (policy: object | undefined): Record<string, unknown> => (policy as { spec: Record<string, unknown> }).spec;

  it('deny everything to all pods, then allow DNS to all and the operator to workers', () => {
    const policies = networkPolicies(aTenant(), settings);
    expect(names(policies)).toEqual(['NetworkPolicy/millrace-default-deny', 'NetworkPolicy/millrace-allow-dns', 'NetworkPolicy/millrace-allow-operator']);
    expect(spec(policies[0])).toEqual({ podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
  });

  it('allow DNS over UDP and TCP to the cluster DNS pods and to NodeLocal DNSCache only', () => {
    const dns = spec(networkPolicies(aTenant(), settings)[1]);
    expect(dns['egress']).toEqual([
      {
        to: [
          { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } }, podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } } },
          { ipBlock: { cidr: '169.254.20.10/32' } },
        ],
        ports: [
          { protocol: 'UDP', port: 53 },
          { protocol: 'TCP', port: 53 },
        ],
      },
    ]);
  });

  it("let only worker pods out to the operator's pods, and only to the sync port", () => {
    expect(spec(networkPolicies(aTenant(), settings)[2])).toEqual({
      podSelector: { matchLabels: { 'app.kubernetes.io/managed-by': 'millrace', 'app.kubernetes.io/component': 'worker' } },
      policyTypes: ['Egress'],
      egress: [
        {
          to: [
            {
              namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'millrace-system' } },
              podSelector: { matchLabels: { 'app.kubernetes.io/name': 'millrace' } },
            },
          ],
          ports: [{ protocol: 'TCP', port: 9443 }],
        },
      ],
    });
  });

  it('carry the rules of the spec for all pods, for the directions that it gives', () => {
    const tenant = aTenant({ network: { egress: [{ to: [{ ipBlock: { cidr: '10.0.0.0/8' } }], ports: [{ port: 443 }] }] } });
    const own = spec(networkPolicies(tenant, settings)[3]);
    expect(own).toEqual({
      podSelector: {},
      policyTypes: ['Egress'],
      egress: [{ to: [{ ipBlock: { cidr: '10.0.0.0/8' } }], ports: [{ protocol: 'TCP', port: 443 }] }],
    });
  });

  it('drop empty lists, which mean nothing, and keep empty selectors, which mean everything', () => {
    const tenant = aTenant({ network: { ingress: [{ from: [{ namespaceSelector: { matchLabels: {} } }], ports: [] }, {}] } });
    expect(spec(networkPolicies(tenant, settings)[3])).toEqual({
      podSelector: {},
      policyTypes: ['Ingress'],
      ingress: [{ from: [{ namespaceSelector: {} }] }, {}],
    });
  });
});

describe('the service account of workers', () => {
  it('mounts no token and carries the pull secrets', () => {
    expect(serviceAccount(aTenant({ imagePullSecrets: ['registry'] }))).toMatchObject({
      metadata: { name: 'millrace-worker' },
      automountServiceAccountToken: false,
      imagePullSecrets: [{ name: 'registry' }],
    });
    expect(serviceAccount(aTenant())).not.toHaveProperty('imagePullSecrets');
  });
});

describe("the owners' role", () => {
  const rulesOf = (): { apiGroups: string[]; resources: string[]; verbs: string[] }[] =>
    (ownerAccess(aTenant())[0] as unknown as { rules: { apiGroups: string[]; resources: string[]; verbs: string[] }[] }).rules;

  it('changes nothing that fences the namespace and makes no pod', () => {
    const writes = rulesOf().flatMap(({ resources, verbs }) => (verbs.some((verb) => !['get', 'list', 'watch'].includes(verb)) ? resources : []));
    expect(writes.sort()).toEqual(['batchjobs', 'batchjobs/scale', 'configmaps', 'persistentvolumeclaims', 'secrets']);
  });

  it('has no wildcard and nothing that the operator does not hold itself', () => {
    const held = new Set(clusterRules().flatMap(({ apiGroups, resources, verbs }) => apiGroups.flatMap((g) => resources.flatMap((r) => verbs.map((v) => `${g} ${r} ${v}`)))));
    const given = rulesOf().flatMap(({ apiGroups, resources, verbs }) => apiGroups.flatMap((g) => resources.flatMap((r) => verbs.map((v) => `${g} ${r} ${v}`))));
    expect(given.filter((right) => right.includes('*') || !held.has(right))).toEqual([]);
  });

  it('is bound to every owner of the spec, and to nobody without owners', () => {
    const owners = [
      { kind: 'Group', name: 'acme-ml' },
      { kind: 'ServiceAccount', name: 'pipelines', namespace: 'ci' },
    ];
    const [, binding] = ownerAccess(aTenant({ owners }));
    expect(binding).toMatchObject({
      roleRef: { kind: 'Role', name: 'millrace-tenant-owner' },
      subjects: [
        { kind: 'Group', apiGroup: 'rbac.authorization.k8s.io', name: 'acme-ml' },
        { kind: 'ServiceAccount', name: 'pipelines', namespace: 'ci' },
      ],
    });
    expect(names(ownerAccess(aTenant()))).toEqual(['Role/millrace-tenant-owner']);
  });
});

describe('a quota whose BatchJobs the quota controller has not counted', () => {
  const jobs = 'count/batchjobs.millrace.dev';
  const tenant = { ...aTenant({ quota: { pods: 5, [jobs]: 9 } }), status: { conditions: [{ type: 'Ready', status: 'False' as const, reason: 'QuotaPending', message: '', lastTransitionTime: '2026-11-01T00:00:00Z' }] } };
  const hard = { pods: '5', [jobs]: '9' };
  const uncounted = { apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'millrace-quota' }, spec: { hard }, status: { hard, used: { pods: '0' } } };
  const hardAt = (now: number, quota?: typeof uncounted): object => (resourceQuota(tenant, quota, now)[0] as typeof uncounted).spec.hard;

  it('is not in force, and is changed to and fro until it is', () => {
    expect(quotaInForce(tenant, uncounted)).toBe(false);
    expect(hardAt(0, uncounted)).toEqual({ pods: '5' });
    expect(hardAt(5_000, uncounted)).toEqual(hard);
    expect(hardAt(0)).toEqual(hard);
  });

  it('is left alone once it is counted', () => {
    const counted = { ...uncounted, status: { hard, used: { pods: '0', [jobs]: '0' } } };
    expect(quotaInForce(tenant, counted)).toBe(true);
    expect(hardAt(0, counted)).toEqual(hard);
  });
});
