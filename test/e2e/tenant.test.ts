import { beforeAll, describe, expect, test } from 'vitest';
import { type ApiObject, paths } from '../support/e2e/api.ts';
import { openBench } from '../support/e2e/bench.ts';
import { testLabel } from '../support/e2e/global-setup.ts';
import { makeTenant, tenantManifest, type TenantObject, tenantReady, type TestTenant } from '../support/e2e/tenant.ts';
import { until } from '../support/e2e/until.ts';

const bench = openBench();
const { api, kubectl, refused } = bench;
const rbac = 'rbac.authorization.k8s.io';
const net = 'networking.k8s.io';

let acme: TestTenant;
beforeAll(async () => {
  acme = await makeTenant(bench, 'fence', {
    owners: [{ kind: 'Group', name: 'acme-ml' }],
    quota: { 'requests.cpu': '4', 'requests.memory': '8Gi', 'limits.cpu': '8', 'limits.memory': '16Gi', pods: 20, 'count/batchjobs.millrace.dev': '500' },
    limits: { default: { cpu: '500m', memory: '512Mi' }, max: { cpu: '4' } },
    network: { egress: [{ to: [{ ipBlock: { cidr: '192.0.2.0/24' } }], ports: [{ port: 443 }] }] },
    imagePullSecrets: ['registry'],
  });
});

interface Children {
  quota: ApiObject & { spec: { hard: Record<string, string> } };
  limits: ApiObject & { spec: { limits: { type: string; default: object; max: object }[] } };
  policies: (ApiObject & { spec: { podSelector: object; policyTypes: string[]; egress?: object[]; ingress?: object[] } })[];
  account: ApiObject & { automountServiceAccountToken: boolean; imagePullSecrets: object[] };
  role: ApiObject & { rules: { resources: string[]; verbs: string[] }[] };
  binding: ApiObject & { subjects: object[]; roleRef: { kind: string; name: string } };
}

async function children({ namespace }: TestTenant): Promise<Children> {
  const one = async <T>(path: string): Promise<T> => {
    const items = (await api.list<ApiObject>(path)).filter((object) => object.metadata.name.startsWith('millrace-'));
    expect(items, path).toHaveLength(1);
    return items[0] as T;
  };
  return {
    quota: await one(paths.core(namespace, 'resourcequotas', '')),
    limits: await one(paths.core(namespace, 'limitranges', '')),
    policies: await api.list(paths.group(net, namespace, 'networkpolicies')),
    account: await one(paths.core(namespace, 'serviceaccounts', '')),
    role: await one(paths.group(rbac, namespace, 'roles')),
    binding: await one(paths.group(rbac, namespace, 'rolebindings')),
  };
}

describe('a Tenant gets a fenced namespace', () => {
  test('under Pod Security restricted, labelled as the tenant’s', async () => {
    const namespace = await api.get(paths.namespace(acme.namespace));
    expect(namespace?.metadata.labels).toMatchObject({ 'pod-security.kubernetes.io/enforce': 'restricted', 'millrace.dev/tenant': acme.name });
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'root', namespace: acme.namespace }, spec: { containers: [{ name: 'a', image: 'a', securityContext: { privileged: true } }] } };
    expect(await refused(['apply', '-f', '-'], pod)).toContain('violates PodSecurity "restricted:latest"');
  });

  test('with quota, limits, network policies, worker account and owners’ role', async () => {
    const { quota, limits, policies, account, role, binding } = await children(acme);
    expect(quota.spec.hard).toMatchObject({ 'requests.cpu': '4', 'limits.memory': '16Gi', pods: '20', 'count/batchjobs.millrace.dev': '500' });
    expect(limits.spec.limits[0]).toMatchObject({ type: 'Container', default: { cpu: '500m', memory: '512Mi' }, max: { cpu: '4' } });
    expect(policies.find(({ spec }) => spec.policyTypes.length === 2)?.spec).toEqual({ podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
    expect(JSON.stringify(policies)).toContain('192.0.2.0/24');
    expect(JSON.stringify(policies)).toContain('kube-dns');
    expect(account).toMatchObject({ automountServiceAccountToken: false, imagePullSecrets: [{ name: 'registry' }] });
    expect(binding.subjects).toEqual([expect.objectContaining({ kind: 'Group', name: 'acme-ml' })]);
    expect(binding.roleRef).toMatchObject({ kind: 'Role', name: role.metadata.name });
  });

  test('in which owners run jobs and change nothing of the fence', async () => {
    const may = async (verb: string, resource: string): Promise<string> => {
      const [plural = '', subresource] = resource.split('/');
      const part = subresource === undefined ? [] : [`--subresource=${subresource}`];
      const answer = await kubectl(['auth', 'can-i', verb, plural, ...part, '--as=someone', '--as-group=acme-ml', '--namespace', acme.namespace]).catch(() => 'no');
      return answer.trim();
    };
    for (const [verb, resource] of [['create', 'batchjobs.millrace.dev'], ['delete', 'batchjobs.millrace.dev'], ['get', 'pods'], ['get', 'pods/log'], ['create', 'configmaps'], ['create', 'persistentvolumeclaims']] as const) {
      expect(await may(verb, resource), `${verb} ${resource}`).toBe('yes');
    }
    for (const [verb, resource] of [['update', 'resourcequotas'], ['delete', 'networkpolicies'], ['create', 'rolebindings'], ['create', 'pods'], ['patch', 'limitranges'], ['patch', 'batchjobs.millrace.dev/status'], ['delete', 'namespaces']] as const) {
      expect(await may(verb, resource), `${verb} ${resource}`).toBe('no');
    }
  });

  test('and tells state, usage and age in kubectl get', async () => {
    const [header, row] = (await kubectl(['get', 'tn', acme.name])).trim().split('\n');
    expect(header).toMatch(/^NAME +STATE +NAMESPACE +CPU +MEMORY +GPU +JOBS +AGE$/);
    expect(row).toMatch(new RegExp(`^${acme.name} +Ready +${acme.namespace} +0/4 +0/8Gi +0 +\\d+`));
  });

  test('that follows its spec', async () => {
    await api.mergePatch(paths.tenant(acme.name), { spec: { quota: { pods: 21 } } });
    await until('the quota follows', 5_000, async () => (await children(acme)).quota.spec.hard['pods'] === '21');
  });
});

describe('what is changed behind its back is put back within 5 s', () => {
  const { namespace } = { namespace: `e2e-fence-${bench.runId}` };
  const cases: [what: string, path: string, tamper: object | 'delete'][] = [
    ['a raised quota', paths.core(namespace, 'resourcequotas', 'millrace-quota'), { spec: { hard: { pods: '1000' } } }],
    ['a deleted quota', paths.core(namespace, 'resourcequotas', 'millrace-quota'), 'delete'],
    ['a deleted limit range', paths.core(namespace, 'limitranges', 'millrace-limits'), 'delete'],
    ['an opened network policy', paths.group(net, namespace, 'networkpolicies', 'millrace-default-deny'), { spec: { podSelector: { matchLabels: { nobody: 'home' } } } }],
    ['a network policy that lets all in', paths.group(net, namespace, 'networkpolicies', 'millrace-default-deny'), { spec: { ingress: [{}] } }],
    ['a deleted network policy', paths.group(net, namespace, 'networkpolicies', 'millrace-default-deny'), 'delete'],
    ['a deleted policy for DNS', paths.group(net, namespace, 'networkpolicies', 'millrace-allow-dns'), 'delete'],
    ['a worker account with a token', paths.core(namespace, 'serviceaccounts', 'millrace-worker'), { automountServiceAccountToken: true }],
    ['a deleted worker account', paths.core(namespace, 'serviceaccounts', 'millrace-worker'), 'delete'],
    ['a role with more rights', paths.group(rbac, namespace, 'roles', 'millrace-tenant-owner'), { rules: [{ apiGroups: ['*'], resources: ['*'], verbs: ['*'] }] }],
    ['a deleted role', paths.group(rbac, namespace, 'roles', 'millrace-tenant-owner'), 'delete'],
    ['a role binding for somebody else', paths.group(rbac, namespace, 'rolebindings', 'millrace-tenant-owner'), { subjects: [{ kind: 'User', name: 'mallory', apiGroup: rbac }] }],
    ['a deleted role binding', paths.group(rbac, namespace, 'rolebindings', 'millrace-tenant-owner'), 'delete'],
    ['a relaxed Pod Security', paths.namespace(namespace), { metadata: { labels: { 'pod-security.kubernetes.io/enforce': 'privileged' } } }],
    ['a removed tenant label', paths.namespace(namespace), { metadata: { labels: { 'millrace.dev/tenant': null } } }],
  ];
  type Child = ApiObject & Record<string, unknown>;
  const content = ({ metadata, status: _status, ...rest }: Child): object => ({ ...rest, labels: metadata.labels });
  const originals = new Map<string, Child>();
  beforeAll(async () => {
    for (const [, path] of cases) {
      const original = await api.get<Child>(path);
      if (original === undefined) throw new Error(`${path} does not exist`);
      originals.set(path, original);
    }
  });

  test.each(cases)('%s', async (what, path, tamper) => {
    const before = originals.get(path) as Child;
    const uid = (await api.get<Child>(path))?.metadata.uid;
    if (tamper === 'delete') await api.delete(path);
    else await api.mergePatch(path, tamper);
    const started = performance.now();
    const after = await until(`${what} is put back`, 5_000, async () => {
      const now = await api.get<Child>(path);
      return now !== undefined && JSON.stringify(content(now)) === JSON.stringify(content(before)) && (tamper !== 'delete' || now.metadata.uid !== uid) ? now : undefined;
    });
    expect(performance.now() - started).toBeLessThan(5_000);
    expect(content(after)).toEqual(content(before));
  });

  test('and told in an event', async () => {
    await until('an event Restored', 5_000, async () => (await kubectl(['describe', 'tenant', acme.name])).includes('Restored'));
  });
});

test('a namespace that is not ours is refused and left untouched', async () => {
  const name = `foreign-${bench.runId}`;
  await kubectl(['apply', '-f', '-'], { apiVersion: 'v1', kind: 'Namespace', metadata: { name: `e2e-${name}`, labels: { [testLabel]: bench.runId } } });
  await until('its service account is there', 10_000, () => api.get(paths.core(`e2e-${name}`, 'serviceaccounts', 'default')));
  const before = await api.get(paths.namespace(`e2e-${name}`));
  await kubectl(['apply', '-f', '-'], tenantManifest(bench, 'foreign'));
  const tenant = await until('the Tenant is refused', 10_000, async () => {
    const found = await api.get<TenantObject>(paths.tenant(name));
    return found?.status?.state === 'Failed' ? found : undefined;
  });
  const stalled = tenant.status?.conditions?.find(({ type }) => type === 'Stalled');
  expect(stalled).toMatchObject({ status: 'True', reason: 'NamespaceConflict' });
  expect(stalled?.message).toMatch(/exists already and was not made for a Tenant.*left untouched.*kubectl annotate namespace/s);
  expect(await api.get(paths.namespace(`e2e-${name}`))).toEqual(before);
  for (const path of [paths.core(`e2e-${name}`, 'resourcequotas', ''), paths.group(net, `e2e-${name}`, 'networkpolicies'), paths.group(rbac, `e2e-${name}`, 'roles')]) {
    expect(await api.list(path), path).toEqual([]);
  }
  await kubectl(['delete', 'tenant', name, '--timeout=30s']);
  expect((await api.get(paths.namespace(`e2e-${name}`)))?.metadata.deletionTimestamp).toBeUndefined();
});

test('a deleted Tenant takes its namespace along, or leaves it with deletionPolicy Retain', async () => {
  const gone = await makeTenant(bench, 'gone', { deletionPolicy: 'Delete' });
  const kept = tenantManifest(bench, 'kept', { deletionPolicy: 'Retain' });
  await kubectl(['apply', '-f', '-'], kept);
  await tenantReady(bench, kept.metadata.name);
  await kubectl(['label', 'namespace', `e2e-kept-${bench.runId}`, `${testLabel}=${bench.runId}`]);
  await kubectl(['delete', 'tenant', gone.name, kept.metadata.name, '--timeout=60s']);
  expect(await api.get(paths.namespace(gone.namespace))).toBeUndefined();
  expect((await api.get(paths.namespace(`e2e-kept-${bench.runId}`)))?.metadata.deletionTimestamp).toBeUndefined();
});

describe('a wrong Tenant is refused with a sentence', () => {
  const spec = (change: object): object => ({ apiVersion: 'millrace.dev/v1alpha1', kind: 'Tenant', metadata: { name: `wrong-${bench.runId}`, labels: { [testLabel]: bench.runId } }, spec: change });
  const egress = (peer: object): object => spec({ network: { egress: [{ to: [peer] }] } });
  test.each([
    ['an unknown field', spec({ qouta: {} }), 'unknown field "spec.qouta"'],
    ['a namespace of the cluster', spec({ namespace: 'kube-system' }), 'namespace must not be default or start with kube-'],
    ['a resource that no quota knows', spec({ quota: { cups: '3' } }), 'every key must be a resource that a ResourceQuota knows'],
    ['a default above the maximum', spec({ limits: { default: { cpu: '2' }, max: { cpu: '1' } } }), 'default must not be above max'],
    ['a rule that no NetworkPolicy may have: In without values', egress({ podSelector: { matchExpressions: [{ key: 'app', operator: 'In' }] } }), 'values are needed with In and NotIn'],
    ['Exists with values', egress({ podSelector: { matchExpressions: [{ key: 'app', operator: 'Exists', values: ['a'] }] } }), 'not allowed with Exists'],
    ['a label key that is none', egress({ podSelector: { matchExpressions: [{ key: 'a b', operator: 'Exists' }] } }), 'key'],
    ['a block with host bits', egress({ ipBlock: { cidr: '10.0.0.1/8' } }), 'without host bits'],
    ['an exception outside of its block', egress({ ipBlock: { cidr: '10.0.0.0/8', except: ['192.168.0.0/16'] } }), 'every except must be a smaller block within cidr'],
    ['an exception as large as its block', egress({ ipBlock: { cidr: '10.0.0.0/8', except: ['10.0.0.0/8'] } }), 'every except must be a smaller block'],
    ['a port name in capitals', spec({ network: { ingress: [{ ports: [{ port: 'WEB' }] }] } }), 'or the name of a port'],
    ['a port beyond the last', spec({ network: { ingress: [{ ports: [{ port: 65536 }] }] } }), 'a number from 1 to 65535'],
    ['an owner account without namespace', spec({ owners: [{ kind: 'ServiceAccount', name: 'x' }] }), 'namespace is required for a ServiceAccount'],
  ])('%s', async (_what, manifest, message) => {
    expect(await refused(['apply', '-f', '-'], manifest)).toContain(message);
  });

  test('a change of the namespace', async () => {
    expect(await refused(['patch', 'tenant', acme.name, '--type=merge', '--patch={"spec":{"namespace":"elsewhere"}}'])).toContain('namespace cannot be changed');
  });
});
