import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ApiObject, paths } from '../support/e2e/api.ts';
import { openBench } from '../support/e2e/bench.ts';
import { testLabel } from '../support/e2e/global-setup.ts';
import { type PodChange, podWith } from '../support/e2e/mtb/pods.ts';
import { connections, listener } from '../support/e2e/mtb/probe.ts';
import { type Result, toTable } from '../support/e2e/mtb/report.ts';
import { type Answer, Caller, forEach, isForbidden, type Subject, user } from '../support/e2e/rights/caller.ts';
import { verbs } from '../support/e2e/rights/matrix.ts';
import { discover, nameOf, pathOf, type Resource } from '../support/e2e/rights/resources.ts';
import { tenantManifest, tenantReady } from '../support/e2e/tenant.ts';
import { until } from '../support/e2e/until.ts';

/**
 * The Multi-Tenancy Benchmarks of Kubernetes' working group: each check of kubectl-mtb under its own ID and title, asked
 * as the owner of a tenant. Where a check creates a pod or service, which owners may not at all, it is asked a second time
 * as an administrator, so that the namespace itself must refuse it, with a pod that differs from a good one in that alone.
 */
const bench = openBench();
const { api, kubectl } = bench;
const caller = new Caller(bench.cluster.kubeconfig);
const results: Result[] = [];

const [mine, theirs, outside] = [`e2e-mtb-${bench.runId}`, `e2e-mtb2-${bench.runId}`, `e2e-mtb3-${bench.runId}`];
const tenant1 = user('tenant1-admin');
const tenant2 = user('tenant2-admin');
let resources: Resource[];

/** The kinds that FNS-1 and FNS-2 ask a quota for. */
const quota = {
  'requests.cpu': '4', 'limits.cpu': '8', 'requests.memory': '8Gi', 'limits.memory': '16Gi', 'requests.ephemeral-storage': '20Gi', 'limits.ephemeral-storage': '20Gi',
  pods: '20', services: '5', 'services.nodeports': '0', 'services.loadbalancers': '0', replicationcontrollers: '0', resourcequotas: '1', secrets: '50', configmaps: '200',
  persistentvolumeclaims: '10', 'requests.storage': '100Gi', 'count/batchjobs.millrace.dev': '500',
};
const limits = { default: { cpu: '500m', memory: '512Mi', 'ephemeral-storage': '1Gi' } };
const namespacePeer = (name: string): object => ({ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': name } } });

beforeAll(async () => {
  const network = { ingress: [{ from: [namespacePeer(outside)] }], egress: [{ to: [namespacePeer(outside)] }] };
  const tenants = [
    tenantManifest(bench, 'mtb', { owners: [{ kind: 'User', name: tenant1.user }], quota, limits, network }),
    tenantManifest(bench, 'mtb2', { owners: [{ kind: 'User', name: tenant2.user }], quota, limits, network }),
  ];
  const unfenced = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: outside, labels: { [testLabel]: bench.runId } } };
  await kubectl(['apply', '-f', '-'], { apiVersion: 'v1', kind: 'List', items: [...tenants, unfenced] });
  for (const { metadata } of tenants) await tenantReady(bench, metadata.name);
  resources = (await discover(caller)).filter(({ subresource }) => subresource === '');
});

afterAll(async () => {
  await caller.close();
  console.log(`Multi-Tenancy Benchmarks\n${toTable(results)}`);
});

/** A benchmark that must pass. */
function benchmark(id: string, title: string, run: () => Promise<void>): void {
  test(`${id} ${title}`, async () => {
    const result: Result = { id, title, passed: false };
    results.push(result);
    await run();
    result.passed = true;
  });
}

/**
 * A benchmark that fails on purpose: `run` must find it failing, or the reason is out of date, and `instead` must hold.
 */
function deviation(id: string, title: string, reason: string, run: () => Promise<boolean>, instead: () => Promise<void>): void {
  test(`${id} ${title}: not given, for a reason`, async () => {
    const result: Result = { id, title, passed: await run() };
    results.push(result);
    expect(result.passed, `${id} passes; the deviation is not needed any more`).toBe(false);
    await instead();
    result.deviation = reason;
  });
}

/** The owner's own question to the API server. */
async function may(as: Subject, verb: string, { group, plural }: Pick<Resource, 'group' | 'plural'>, namespace?: string, name?: string): Promise<boolean> {
  const attributes = { verb, group, resource: plural, ...(namespace === undefined ? {} : { namespace }), ...(name === undefined ? {} : { name }) };
  const { status, body, text } = await caller.request('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
    as, body: { apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectAccessReview', spec: { resourceAttributes: attributes } },
  });
  const answer = (body as { status?: { allowed?: boolean } }).status?.allowed;
  if (status !== 201 || answer === undefined) throw new Error(`no answer to ${JSON.stringify(attributes)}: ${status} ${text}`);
  return answer;
}

const rbac = 'rbac.authorization.k8s.io';
const quotas = { group: '', plural: 'resourcequotas' };
const policies = { group: 'networking.k8s.io', plural: 'networkpolicies' };

/** Everything in `list` that `as` may do there, as a list that should be empty. */
async function allowed(as: Subject, list: readonly Resource[], namespace?: string): Promise<string[]> {
  const found: string[] = [];
  const cases = list.flatMap((resource) => verbs.map((verb) => ({ resource, verb })));
  await forEach(cases, async ({ resource, verb }) => {
    if (await may(as, verb, resource, namespace)) found.push(`${verb} ${nameOf(resource)}`);
  });
  return found.sort();
}

const dryRun = (plural: string): string => `${paths.core(mine, plural, '')}?dryRun=All`;
const createPod = (change: PodChange, as?: Subject): Promise<Answer> => caller.request('POST', dryRun('pods'), { as, body: podWith('check', change) });

/** A pod with this change must be refused to the owner, and to anybody by the namespace, for this reason. */
async function refusesPod(change: PodChange, reason: RegExp): Promise<void> {
  expect(isForbidden(await createPod(change, tenant1))).toBe(true);
  const { status, text } = await createPod(change);
  expect(status, text).toBe(403);
  expect(text).toMatch(/violates PodSecurity \\"restricted:latest\\"/);
  expect(text).toMatch(reason);
}

describe('Multi-Tenancy Benchmarks', () => {
  test('a good pod is not refused, so that those which follow are refused for what they ask', async () => {
    const { status, text } = await createPod({});
    expect(status, text).toBe(201);
  });

  benchmark('MTB-PL1-CC-CPI-1', 'Block access to cluster resources', async () => {
    // Reviews of oneself are no access to a resource.
    const cluster = resources.filter(({ namespaced, plural }) => !namespaced && !plural.startsWith('selfsubject'));
    expect(cluster.length).toBeGreaterThan(25);
    expect(await allowed(tenant1, cluster)).toEqual([]);
  });

  benchmark('MTB-PL1-BC-CPI-2', 'Block Multitenant Resources', async () => {
    const label = encodeURIComponent('app.kubernetes.io/managed-by=millrace,app.kubernetes.io/component=tenant');
    const tried: string[] = [];
    const changed: string[] = [];
    await forEach(resources.filter(({ namespaced, verbs: served }) => namespaced && served.includes('list')), async (resource) => {
      for (const { metadata } of await api.list<ApiObject>(`${pathOf(resource, mine)}?labelSelector=${label}`)) {
        const path = `${pathOf(resource, mine, metadata.name)}?dryRun=All`;
        const answers = [
          await caller.request('DELETE', path, { as: tenant1 }),
          await caller.request('PATCH', path, { as: tenant1, body: { metadata: { annotations: { key1: 'value1' } } }, type: 'application/merge-patch+json' }),
        ];
        tried.push(nameOf(resource));
        if (!answers.every(isForbidden)) changed.push(`${nameOf(resource)} ${metadata.name}`);
      }
    });
    expect(new Set(tried)).toEqual(new Set(['limitranges', 'networkpolicies.networking.k8s.io', 'resourcequotas', `rolebindings.${rbac}`, `roles.${rbac}`, 'serviceaccounts']));
    expect(changed).toEqual([]);
  });

  benchmark('MTB-PL1-BC-CPI-3', 'Block add capabilities', () =>
    refusesPod({ container: { securityContext: { capabilities: { add: ['SETPCAP'] } } } }, /unrestricted capabilities.*SETPCAP/));

  benchmark('MTB-PL1-BC-CPI-4', 'Require run as non-root user', async () => {
    await refusesPod({ pod: { securityContext: { runAsNonRoot: false } } }, /runAsNonRoot != true/);
    await refusesPod({ pod: { securityContext: { runAsUser: 0 } } }, /runAsUser=0/);
  });

  benchmark('MTB-PL1-BC-CPI-5', 'Block privileged containers', () =>
    refusesPod({ container: { securityContext: { privileged: true, allowPrivilegeEscalation: true } } }, /privileged \(container .*must not set securityContext.privileged=true/));

  benchmark('MTB-PL1-BC-CPI-6', 'Block privilege escalation', () =>
    refusesPod({ container: { securityContext: { allowPrivilegeEscalation: true } } }, /allowPrivilegeEscalation != false/));

  benchmark('MTB-PL1-CC-TI-1', 'Block modification of resource quotas', async () => {
    for (const verb of ['create', 'update', 'patch', 'delete', 'deletecollection']) expect(await may(tenant1, verb, quotas, mine), verb).toBe(false);
  });

  benchmark('MTB-PL1-CC-TI-2', 'Block access to other tenant resources', async () => {
    const namespaced = resources.filter((resource) => resource.namespaced);
    expect(namespaced.length).toBeGreaterThan(30);
    expect(await allowed(tenant1, namespaced, theirs)).toEqual([]);
    expect(await allowed(tenant2, namespaced, mine)).toEqual([]);
    expect(await allowed(tenant2, namespaced, theirs), 'the second tenant has no owner, and the check shows nothing').not.toEqual([]);
  });

  benchmark('MTB-PL1-BC-HI-1', 'Block use of host path volumes', () =>
    refusesPod({ pod: { volumes: [{ name: 'host', hostPath: { path: '/tmp/busybox' } }] } }, /hostPath/));

  benchmark('MTB-PL1-BC-HI-1', 'Block use of NodePort services', async () => {
    const service = (type: string): object => ({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'check' }, spec: { type, selector: { test: 'multi' }, ports: [{ port: 80 }] } });
    expect(isForbidden(await caller.request('POST', dryRun('services'), { as: tenant1, body: service('NodePort') }))).toBe(true);
    const nodePort = await caller.request('POST', dryRun('services'), { body: service('NodePort') });
    expect(nodePort.text).toMatch(/exceeded quota: millrace-quota, requested: services.nodeports=1/);
    expect((await caller.request('POST', dryRun('services'), { body: service('ClusterIP') })).status).toBe(201);
  });

  benchmark('MTB-PL1-BC-HI-3', 'Block use of host networking and ports', async () => {
    await refusesPod({ pod: { hostNetwork: true } }, /hostNetwork=true/);
    await refusesPod({ container: { ports: [{ hostPort: 8086, containerPort: 8086 }] } }, /hostPort/);
  });

  benchmark('MTB-PL1-BC-HI-4', 'Block use of host PID', () => refusesPod({ pod: { hostPID: true } }, /hostPID=true/));

  benchmark('MTB-PL1-BC-HI-5', 'Block use of host IPC', () => refusesPod({ pod: { hostIPC: true } }, /hostIPC=true/));

  /** Names of what the quotas that the owner sees limit. */
  const limited = async (): Promise<string[]> => {
    const { status, body } = await caller.request('GET', paths.core(mine, 'resourcequotas', ''), { as: tenant1 });
    expect(status).toBe(200);
    return (body as { items: { spec: { hard: Record<string, string> } }[] }).items.flatMap(({ spec }) => Object.keys(spec.hard));
  };

  benchmark('MTB-PL1-CC-FNS-1', 'Configure namespace resource quotas', async () => {
    const hard = (await limited()).join(' ');
    for (const resource of ['cpu', 'ephemeral-storage', 'memory']) expect(hard).toContain(resource);
  });

  benchmark('MTB-PL1-CC-FNS-2', 'Configure namespace object limits', async () => {
    const objects = ['pods', 'services', 'replicationcontrollers', 'resourcequotas', 'secrets', 'configmaps', 'persistentvolumeclaims', 'services.nodeports', 'services.loadbalancers'];
    expect(await limited()).toEqual(expect.arrayContaining(objects));
  });

  deviation('MTB-PL1-CC-DI-1', 'Require always imagePullPolicy',
    'Always needs a registry for every start of a pod, and clusters without one (side-loaded images) could run nothing. What it is for, that nobody runs a private image from the cache of a node without the credentials for it, the kubelet sees to (KubeletEnsureSecretPulledImages, beta since Kubernetes 1.35). Owners make no pods, and a BatchJob cannot set the policy. A cluster that wants it can turn the admission plugin AlwaysPullImages on.',
    async () => {
      expect(isForbidden(await createPod({ container: { imagePullPolicy: 'Never' } }, tenant1))).toBe(true);
      const { status, body } = await createPod({ container: { imagePullPolicy: 'Never' } });
      return status !== 201 || (body as { spec: { containers: { imagePullPolicy: string }[] } }).spec.containers[0]?.imagePullPolicy === 'Always';
    },
    async () => {
      for (const node of bench.cluster.nodes) {
        const { text } = await caller.request('GET', `/api/v1/nodes/${node}/proxy/metrics`, { accept: 'text/plain' });
        expect(text, node).toMatch(/^kubernetes_feature_enabled\{name="KubeletEnsureSecretPulledImages",stage="\w*"\} 1$/m);
      }
    });

  benchmark('MTB-PL2-CC-TI-1', 'Block role privilege escalation', async () => {
    // The benchmark asks for "role" and "clusterrole", which no rule means; the plurals count.
    for (const plural of ['role', 'roles', 'clusterroles']) expect(await may(tenant1, 'escalate', { group: rbac, plural }, mine), plural).toBe(false);
    for (const plural of ['clusterrole', 'clusterroles', 'roles']) expect(await may(tenant1, 'bind', { group: rbac, plural }, mine, 'cluster-admin'), plural).toBe(false);
  });

  deviation('MTB-PL2-BC-OPS-3', 'Create Role Bindings',
    'A RoleBinding hands the rights in the namespace on to people whom the platform team never named. Owners are named in spec.owners of the Tenant, also as groups that the team itself keeps; another owner is in force at once.',
    async () => {
      const answers = await Promise.all(['roles', 'rolebindings'].flatMap((plural) => verbs.map((verb) => may(tenant1, verb, { group: rbac, plural }, mine))));
      return answers.every(Boolean);
    },
    async () => {
      const newcomer = user('newcomer');
      const body = { metadata: { name: 'check' }, roleRef: { apiGroup: rbac, kind: 'Role', name: 'millrace-tenant-owner' }, subjects: [{ apiGroup: rbac, kind: 'User', name: newcomer.user }] };
      expect(isForbidden(await caller.request('POST', `${paths.group(rbac, mine, 'rolebindings')}?dryRun=All`, { as: tenant1, body }))).toBe(true);
      expect(await may(newcomer, 'create', { group: 'millrace.dev', plural: 'batchjobs' }, mine)).toBe(false);
      await api.mergePatch(paths.tenant(`mtb-${bench.runId}`), { spec: { owners: [tenant1, newcomer].map((subject) => ({ kind: 'User', name: subject.user })) } });
      await until('the new owner has the rights', 5_000, () => may(newcomer, 'create', { group: 'millrace.dev', plural: 'batchjobs' }, mine));
    });

  deviation('MTB-PL2-BC-OPS-4', 'Create Network Policies',
    'NetworkPolicies only ever add what is allowed: with one of its own a tenant could open itself to other tenants, or its pods to the API server and the metadata address of the node. The rules that a tenant needs beyond the fence stand in spec.network of its Tenant, where the platform team sees them.',
    async () => {
      const answers = await Promise.all(['get', 'create', 'update', 'patch', 'delete', 'deletecollection'].map((verb) => may(tenant1, verb, policies, mine)));
      return answers.every(Boolean);
    },
    async () => {
      const body = { metadata: { name: 'check' }, spec: { podSelector: {}, ingress: [{}], egress: [{}] } };
      expect(isForbidden(await caller.request('POST', `${paths.group(policies.group, mine, policies.plural)}?dryRun=All`, { as: tenant1, body }))).toBe(true);
      expect(await may(tenant1, 'list', policies, mine), 'owners see the rules that hold').toBe(true);
      const rules = await api.get<{ spec: object }>(paths.group(policies.group, mine, policies.plural, 'millrace-tenant-rules'));
      expect(rules?.spec).toMatchObject({ policyTypes: ['Egress', 'Ingress'], ingress: [{ from: [namespacePeer(outside)] }] });
    });

  benchmark('#1201', 'Block network access across tenant namespaces', async () => {
    const [here, there, open] = await Promise.all([mine, theirs, outside].map((namespace) => listener(bench, namespace)));
    const targets = { here: here ?? '', there: there ?? '', open: open ?? '' };
    const [fromHere, fromThere, fromOutside] = await Promise.all([mine, theirs, outside].map((namespace) => connections(bench, namespace, targets)));
    // Both tenants reach the namespace that their rules allow, and are reached from it; so all pods listen and can connect.
    expect(fromOutside).toEqual({ here: 'connected', there: 'connected', open: 'connected' });
    expect(fromHere).toEqual({ here: 'no answer', there: 'no answer', open: 'connected' });
    expect(fromThere).toEqual({ here: 'no answer', there: 'no answer', open: 'connected' });
  });

  test('Pod Security restricted stands on the namespace of every tenant', async () => {
    for (const name of [mine, theirs]) {
      const labels = (await api.get(paths.namespace(name)))?.metadata.labels;
      for (const mode of ['enforce', 'audit', 'warn']) expect(labels).toMatchObject({ [`pod-security.kubernetes.io/${mode}`]: 'restricted', [`pod-security.kubernetes.io/${mode}-version`]: 'latest' });
    }
  });

  /** The controls of the profile that no benchmark above has. */
  const controls: [what: string, change: PodChange, reason: RegExp][] = [
    ['keeping capabilities', { container: { securityContext: { capabilities: { drop: [] } } } }, /unrestricted capabilities/],
    ['no seccomp profile', { pod: { securityContext: { seccompProfile: undefined } } }, /seccompProfile/],
    ['seccomp Unconfined', { pod: { securityContext: { seccompProfile: { type: 'Unconfined' } } } }, /seccompProfile/],
    ['AppArmor Unconfined', { pod: { securityContext: { appArmorProfile: { type: 'Unconfined' } } } }, /appArmorProfile|AppArmor/i],
    ['an SELinux user', { pod: { securityContext: { seLinuxOptions: { user: 'system_u' } } } }, /seLinuxOptions/],
    ['an unmasked /proc', { pod: { hostUsers: false }, container: { securityContext: { procMount: 'Unmasked' } } }, /procMount/],
    ['an unsafe sysctl', { pod: { securityContext: { sysctls: [{ name: 'kernel.msgmax', value: '65536' }] } } }, /forbidden sysctls/],
    ['a volume of a file server', { pod: { volumes: [{ name: 'nfs', nfs: { server: '192.0.2.1', path: '/' } }] } }, /restricted volume types/],
    ['a Windows host process', { pod: { hostNetwork: true, securityContext: { windowsOptions: { hostProcess: true } } } }, /hostProcess/],
    ['a probe of another host', { container: { livenessProbe: { httpGet: { host: '169.254.169.254', port: 80 } } } }, /probe or lifecycle host/],
  ];
  test.each(controls)('and refuses a pod with %s', (_what, change, reason) => refusesPod(change, reason));
});
