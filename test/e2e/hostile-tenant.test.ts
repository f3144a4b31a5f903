import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { releaseNamespace } from '../../dev/install.ts';
import { SYNC_AUDIENCE } from '../../inference-pod/contract.ts';
import { type ApiObject, paths } from '../support/e2e/api.ts';
import { openBench } from '../support/e2e/bench.ts';
import { testLabel } from '../support/e2e/global-setup.ts';
import { completed, conditionOf, failed, fromVolume, getJob, type JobObject, jobManifest, jobTells, lines, type PodObject, podsOf, putInput, stalled } from '../support/e2e/jobs.ts';
import { type Answer, Caller, isForbidden, type Method, serviceAccount, type Subject, user } from '../support/e2e/rights/caller.ts';
import { standing } from '../support/e2e/rights/fence.ts';
import { discover, type Resource } from '../support/e2e/rights/resources.ts';
import { openSyncLine, type SyncLine } from '../support/e2e/rights/sync-line.ts';
import { slowItems } from '../support/e2e/slow.ts';
import { makeTenant, tenantManifest, type TenantObject, tenantReady, type TestTenant } from '../support/e2e/tenant.ts';
import { until } from '../support/e2e/until.ts';

/**
 * Mallory owns a tenant and uses everything that this gives him against the cluster, the operator and Victor's tenant.
 * Each attempt is a real request. Many are the published holes of other multi-tenancy operators (CVE-2022-46167,
 * -2023-46254, -2024-39690, -2025-55205, -2026-22872, GHSA-2ww6-hf35-mfjm).
 */
const bench = openBench();
const { api, kubectl } = bench;
const caller = new Caller(bench.cluster.kubeconfig);
const mallory = user('mallory');
const victor = user('victor');
const rbac = 'rbac.authorization.k8s.io';
const net = 'networking.k8s.io';
const merge = 'application/merge-patch+json';
const gpuTaint = { key: 'gpu', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 30 };

let evil: TestTenant;
let victim: TestTenant;
let resources: Resource[];
let victimJob: JobObject;
const [own, other] = [`e2e-evil-${bench.runId}`, `e2e-victim-${bench.runId}`];

const as = (subject: Subject | undefined) => (method: Method, path: string, body?: unknown, type?: string): Promise<Answer> =>
  caller.request(method, path, { as: subject, ...(body === undefined ? {} : { body }), ...(type === undefined ? {} : { type }) });
const asMallory = as(mallory);
const asAdmin = as(undefined);

async function make(answer: Promise<Answer>): Promise<ApiObject> {
  const { status, body, text } = await answer;
  expect(status, text).toBe(201);
  return body as unknown as ApiObject;
}

const operatorPods = async (): Promise<PodObject[]> =>
  (await api.list<PodObject>(paths.pods(releaseNamespace, 'app.kubernetes.io/component=operator'))).filter(({ metadata }) => metadata.deletionTimestamp === undefined);
const restarts = (pods: readonly PodObject[]): Record<string, number | undefined> => Object.fromEntries(pods.map(({ metadata, status }) => [metadata.name, status.containerStatuses?.[0]?.restartCount]));
let operatorBefore: Record<string, number | undefined>;

beforeAll(async () => {
  operatorBefore = restarts(await operatorPods());
  [evil, victim] = await Promise.all([
    makeTenant(bench, 'evil', { owners: [{ kind: 'User', name: mallory.user }], scheduling: { nodeSelector: { 'kubernetes.io/os': 'linux' }, tolerations: [gpuTaint] } }),
    makeTenant(bench, 'victim', { owners: [{ kind: 'User', name: victor.user }] }),
  ]);
  for (const tenant of [evil, victim]) {
    putInput(tenant, 'in/slow.jsonl', lines(slowItems(60_000)));
    putInput(tenant, 'in/few.jsonl', lines(slowItems(3)));
  }
  await make(as(victor)('POST', paths.core(other, 'secrets', ''), { metadata: { name: 'secret' }, stringData: { password: 'victors' } }));
  await make(as(victor)('POST', paths.core(other, 'configmaps', ''), { metadata: { name: 'input' }, data: { items: lines(slowItems(2)) } }));
  await make(as(victor)('POST', paths.jobs(other), jobManifest(victim, 'long', 'slow.onnx', fromVolume('in/slow.jsonl'))));
  await make(asMallory('POST', paths.jobs(own), jobManifest(evil, 'long', 'slow.onnx', fromVolume('in/slow.jsonl'))));
  await jobTells(bench, evil, 'long', 'has a worker at work', ({ status }) => status?.state === 'Running');
  victimJob = await jobTells(bench, victim, 'long', 'has a worker at work', ({ status }) => status?.state === 'Running');
  resources = await discover(caller);
});

afterAll(async () => {
  await caller.close();
});

const workerOf = async (tenant: TestTenant, job: string): Promise<PodObject> => {
  const [pod] = await podsOf(bench, tenant, job);
  if (pod === undefined) throw new Error(`BatchJob ${job} has no worker`);
  return pod;
};

describe('a hostile owner is refused when he', () => {
  const ours = { 'millrace.dev/tenant': `victim-${bench.runId}`, 'millrace.dev/tenant-uid': 'forged' };
  const privileged = { metadata: { labels: { 'pod-security.kubernetes.io/enforce': 'privileged' } } };
  const namespaces = (name: string, rest = ''): string => `${paths.namespace(name)}${rest}`;
  const pod = (name: string, rest: string) => (job: string): string => `${paths.pod(own, name.replace('*', job))}${rest}`;
  const worker = 'long-w0-0';
  const quota = paths.core(own, 'resourcequotas', 'millrace-quota');
  const account = paths.core(own, 'serviceaccounts', 'millrace-worker');
  const tenant = paths.tenant(`evil-${bench.runId}`);
  const access = { roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: 'cluster-admin' }, subjects: [{ apiGroup: rbac, kind: 'User', name: mallory.user }] };
  const exec = (what: string, query: string): string => pod(worker, `/${what}?${query}`)('');
  const status = { status: { state: 'Complete', conditions: [] } };
  const bad = { metadata: { name: 'bad' } };

  const attempts: [what: string, method: Method, path: string, body?: unknown, type?: string][] = [
    // His own namespace: CVE-2022-46167, CVE-2025-55205, GHSA-2ww6-hf35-mfjm.
    ['drops the labels of his namespace', 'PATCH', namespaces(own), { metadata: { labels: null } }, merge],
    ['drops them by JSON patch', 'PATCH', namespaces(own), [{ op: 'remove', path: '/metadata/labels/millrace.dev~1tenant-uid' }], 'application/json-patch+json'],
    ['drops them by strategic merge', 'PATCH', namespaces(own), { metadata: { labels: { $patch: 'replace' } } }, 'application/strategic-merge-patch+json'],
    ['applies other labels', 'PATCH', `${namespaces(own)}?fieldManager=millrace-operator&force=true`, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: own, labels: ours } }, 'application/apply-patch+yaml'],
    ['puts his namespace', 'PUT', namespaces(own), { apiVersion: 'v1', kind: 'Namespace', metadata: { name: own } }],
    ['relaxes Pod Security', 'PATCH', namespaces(own), privileged, merge],
    ['relaxes Pod Security through /status', 'PATCH', namespaces(own, '/status'), privileged, merge],
    ['puts /status of his namespace', 'PUT', namespaces(own, '/status'), { apiVersion: 'v1', kind: 'Namespace', metadata: { name: own, labels: ours } }],
    ['puts /finalize of his namespace', 'PUT', namespaces(own, '/finalize'), { apiVersion: 'v1', kind: 'Namespace', metadata: { name: own, labels: ours }, spec: { finalizers: [] } }],
    ['gives his namespace an owner', 'PATCH', namespaces(own), { metadata: { ownerReferences: [{ apiVersion: 'v1', kind: 'Namespace', name: 'default', uid: 'forged' }] } }, merge],
    ['lets a Tenant adopt his namespace', 'PATCH', namespaces(own), { metadata: { annotations: { 'millrace.dev/adopt-by': 'mallory' } } }, merge],
    ['deletes his namespace', 'DELETE', namespaces(own)],
    ['deletes all namespaces', 'DELETE', '/api/v1/namespaces'],
    // Namespaces that nobody owns: CVE-2024-39690.
    ['makes a namespace', 'POST', '/api/v1/namespaces', { metadata: { name: `e2e-mallory-${bench.runId}`, labels: ours } }],
    ...['kube-system', 'default', releaseNamespace, other].flatMap((name): [string, Method, string, unknown, string][] => [
      [`takes ${name} over by labels`, 'PATCH', namespaces(name), { metadata: { labels: ours, annotations: { 'millrace.dev/adopt-by': 'mallory' } } }, merge],
      [`takes ${name} over through /status`, 'PATCH', namespaces(name, '/status'), { metadata: { labels: ours } }, merge],
      [`relaxes Pod Security of ${name}`, 'PATCH', namespaces(name), privileged, merge],
      [`makes a BatchJob in ${name}`, 'POST', paths.jobs(name), jobManifest({ namespace: name }, 'bad', 'affine.onnx', { inline: '{}' }), 'application/json'],
    ]),
    // The fence in it.
    ...['resourcequotas', 'limitranges', 'serviceaccounts', 'pods', 'events', 'configmaps', 'secrets', 'persistentvolumeclaims'].map((plural): [string, Method, string] => [`deletes all ${plural} at once`, 'DELETE', paths.core(own, plural, '').slice(0, -1)]),
    ...[[net, 'networkpolicies'], [rbac, 'roles'], [rbac, 'rolebindings']].map(([group = '', plural = '']): [string, Method, string] => [`deletes all ${plural} at once`, 'DELETE', paths.group(group, own, plural)]),
    ['deletes all BatchJobs at once', 'DELETE', paths.jobs(own)],
    ['raises the quota', 'PATCH', quota, { spec: { hard: { pods: '1000' } } }, merge],
    ['forges the use of the quota', 'PATCH', `${quota}/status`, { status: { used: { pods: '0' } } }, merge],
    ['deletes the quota', 'DELETE', quota],
    ['makes a quota', 'POST', paths.core(own, 'resourcequotas', ''), { ...bad, spec: { hard: { pods: '1000' } } }],
    ['makes limits', 'POST', paths.core(own, 'limitranges', ''), { ...bad, spec: { limits: [{ type: 'Container', max: { cpu: '1000' } }] } }],
    ['opens the network', 'POST', paths.group(net, own, 'networkpolicies'), { ...bad, spec: { podSelector: {}, ingress: [{}], egress: [{}] } }],
    ['deletes the default denial', 'DELETE', paths.group(net, own, 'networkpolicies', 'millrace-default-deny')],
    ['makes himself an administrator', 'POST', paths.group(rbac, own, 'rolebindings'), { ...bad, ...access }],
    ['makes himself an administrator of the cluster', 'POST', `/apis/${rbac}/v1/clusterrolebindings`, { ...bad, ...access }],
    ['widens his role', 'PATCH', paths.group(rbac, own, 'roles', 'millrace-tenant-owner'), { rules: [{ apiGroups: ['*'], resources: ['*'], verbs: ['*'] }] }, merge],
    ['names more owners', 'PATCH', paths.group(rbac, own, 'rolebindings', 'millrace-tenant-owner'), { subjects: access.subjects }, merge],
    // Tokens and pods.
    ['asks for a token of the workers', 'POST', `${account}/token`, { spec: { audiences: [SYNC_AUDIENCE] } }],
    ['asks for a token of the default account', 'POST', `${paths.core(own, 'serviceaccounts', 'default')}/token`, { spec: {} }],
    ['asks for a token of the operator', 'POST', `${paths.core(releaseNamespace, 'serviceaccounts', 'millrace')}/token`, { spec: {} }],
    ['mounts a token into the workers', 'PATCH', account, { automountServiceAccountToken: true }, merge],
    ['gives the workers another pull secret', 'PATCH', account, { imagePullSecrets: [{ name: 'mine' }] }, merge],
    ['makes a service account', 'POST', paths.core(own, 'serviceaccounts', ''), bad],
    ['makes a pod', 'POST', paths.pods(own), { ...bad, spec: { containers: [{ name: 'a', image: 'a' }] } }],
    ['makes a Job', 'POST', paths.group('batch', own, 'jobs'), bad],
    ['makes a Deployment', 'POST', paths.group('apps', own, 'deployments'), bad],
    ['makes a Service', 'POST', paths.core(own, 'services', ''), { ...bad, spec: { type: 'ExternalName', externalName: 'kubernetes.default' } }],
    ['makes a volume of a folder of the node', 'POST', '/api/v1/persistentvolumes', { ...bad, spec: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteMany'], hostPath: { path: '/' } } }],
    ['runs a program in a worker', 'POST', exec('exec', 'command=sh&stdin=true')],
    ['runs a program in a worker by GET', 'GET', exec('exec', 'command=sh&stdin=true')],
    ['attaches to a worker', 'POST', exec('attach', 'stdin=true')],
    ['forwards a port of a worker', 'POST', exec('portforward', 'ports=8080')],
    ['goes through the proxy to a worker', 'GET', pod(worker, '/proxy/metrics')('')],
    ['puts a container into a worker', 'PATCH', pod(worker, '/ephemeralcontainers')(''), { spec: { ephemeralContainers: [{ name: 'x', image: 'x', targetContainerName: 'worker' }] } }, merge],
    ['resizes a worker', 'PATCH', pod(worker, '/resize')(''), { spec: { containers: [{ name: 'worker', resources: {} }] } }, merge],
    ['evicts a worker', 'POST', pod(worker, '/eviction')(''), { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: worker } }],
    ['binds a worker to a node', 'POST', pod(worker, '/binding')(''), { target: { kind: 'Node', name: 'x' }, metadata: { name: worker } }],
    ['deletes a worker', 'DELETE', pod(worker, '')('')],
    ['labels a worker as another slot', 'PATCH', pod(worker, '')(''), { metadata: { labels: { 'millrace.dev/slot': '7' } } }, merge],
    ['reports the death of a worker', 'PATCH', pod(worker, '/status')(''), { status: { phase: 'Failed' } }, merge],
    // Status, Tenants, events.
    ['writes the status of his BatchJob', 'PATCH', `${paths.job(own, 'long')}/status`, status, merge],
    ['puts the status of his BatchJob', 'PUT', `${paths.job(own, 'long')}/status`, { ...bad, ...status }],
    ['reads his Tenant', 'GET', tenant],
    ['raises the quota of his Tenant', 'PATCH', tenant, { spec: { quota: {} } }, merge],
    ['writes the status of his Tenant', 'PATCH', `${tenant}/status`, status, merge],
    ['deletes his Tenant', 'DELETE', tenant],
    ['makes a Tenant of kube-public', 'POST', paths.tenant('').slice(0, -1), { ...bad, spec: { owners: access.subjects } }],
    ['reads the Tenant of another', 'GET', paths.tenant(`victim-${bench.runId}`)],
    ['lists Tenants', 'GET', paths.tenant('').slice(0, -1)],
    ['forges an event', 'POST', paths.group('events.k8s.io', own, 'events'), bad],
    // What is another's.
    ...['batchjobs', 'pods', 'configmaps', 'secrets', 'persistentvolumeclaims', 'events', 'resourcequotas'].flatMap((plural): [string, Method, string][] => {
      const everywhere = plural === 'batchjobs' ? '/apis/millrace.dev/v1alpha1/batchjobs' : `/api/v1/${plural}`;
      return [[`lists ${plural} of another`, 'GET', everywhere.replace(/\/(\w+)$/, `/namespaces/${other}/$1`)], [`lists all ${plural} of the cluster`, 'GET', everywhere], [`watches all ${plural} of the cluster`, 'GET', `${everywhere}?watch=true&timeoutSeconds=1`]];
    }),
    ['lists by a field what is not his', 'GET', `/apis/millrace.dev/v1alpha1/batchjobs?fieldSelector=${encodeURIComponent(`metadata.namespace=${own}`)}`],
    ['reads a secret of another', 'GET', paths.core(other, 'secrets', 'secret')],
    ['reads the log of another’s worker', 'GET', `${paths.pod(other, worker)}/log`],
    ['scales a BatchJob of another', 'PATCH', `${paths.job(other, 'long')}/scale`, { spec: { replicas: 100 } }, merge],
    ['suspends a BatchJob of another', 'PATCH', paths.job(other, 'long'), { spec: { suspend: true } }, merge],
    ['deletes a BatchJob of another', 'DELETE', paths.job(other, 'long')],
    ['reads the key of the operator', 'GET', paths.core(releaseNamespace, 'secrets', 'millrace-sync-ca')],
    ['reads the configuration of the operator', 'GET', paths.core(releaseNamespace, 'configmaps', 'millrace')],
    ['takes the operator’s lease', 'PATCH', paths.group('coordination.k8s.io', releaseNamespace, 'leases', 'millrace-operator'), { spec: { holderIdentity: 'mallory' } }, merge],
    ['turns workers to another sync server', 'POST', paths.group('discovery.k8s.io', releaseNamespace, 'endpointslices'), bad],
    ['takes a policy away', 'DELETE', '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies'],
    ['reads a node', 'GET', `/api/v1/nodes/${bench.cluster.nodes[1]}`],
    ['goes through the API server to a kubelet', 'GET', `/api/v1/nodes/${bench.cluster.nodes[1]}/proxy/pods`],
  ];

  const look = (): Promise<Map<string, unknown>> => standing(caller, resources, [own, other, releaseNamespace, 'kube-system', 'default']);
  let before: Map<string, unknown>;
  beforeAll(async () => {
    before = await look();
    expect(before.size).toBeGreaterThan(50);
  });

  test.each(attempts)('%s', async (_what, method, path, body, type) => {
    const answer = await asMallory(method, path, body, type);
    expect(isForbidden(answer), `${answer.status} ${answer.text.slice(0, 500)}`).toBe(true);
  });

  test('does any of it: every object stands as it stood', async () => {
    expect(await look()).toEqual(before);
  });
});

describe('service accounts', () => {
  const token = 'kubernetes.io/service-account-token';
  const secretFor = (account: string, type = token): object => ({ metadata: { name: `token-of-${account}`, annotations: { 'kubernetes.io/service-account.name': account } }, type });

  /** Whatever the answer, a Secret that was made is gone afterwards. */
  async function expectNone(answer: Promise<Answer>, account: string): Promise<void> {
    const path = paths.core(own, 'secrets', `token-of-${account}`);
    const { status, text } = await answer;
    try {
      expect({ status, secret: await api.get(path) }, text).toEqual({ status: 403, secret: undefined });
      expect(text).toContain('needs the right to create serviceaccounts/token');
    } finally {
      await api.delete(path);
    }
  }

  test.each(['millrace-worker', 'default'])('give no token to an owner who makes a Secret for %s', (account) =>
    expectNone(asMallory('POST', paths.core(own, 'secrets', ''), secretFor(account)), account));

  test('nor by an apply', () => {
    const path = paths.core(own, 'secrets', 'token-of-default');
    return expectNone(asMallory('PATCH', `${path}?fieldManager=mallory`, { apiVersion: 'v1', kind: 'Secret', ...secretFor('default') }, 'application/apply-patch+yaml'), 'default');
  });

  test('nor by a change of another Secret', async () => {
    const plain = paths.core(own, 'secrets', 'plain');
    await make(asMallory('POST', paths.core(own, 'secrets', ''), { metadata: { name: 'plain' }, stringData: { a: 'b' } }));
    const changed = await asMallory('PATCH', plain, { type: token, metadata: { annotations: { 'kubernetes.io/service-account.name': 'default' } } }, merge);
    expect([403, 422]).toContain(changed.status);
    expect(await api.get<ApiObject & { type: string }>(plain)).toMatchObject({ type: 'Opaque', data: { a: 'Yg==' } });
  });

  test('an owner makes the Secrets that he needs', async () => {
    const registry = Buffer.from(JSON.stringify({ auths: { 'registry.invalid': { auth: 'eA==' } } })).toString('base64');
    await make(asMallory('POST', paths.core(own, 'secrets', ''), { metadata: { name: 'registry' }, type: 'kubernetes.io/dockerconfigjson', data: { '.dockerconfigjson': registry } }));
  });
});

/** A BatchJob of Mallory's that would work, but for this change of its spec. */
function hostileJob(name: string, change: object = {}, metadata: object = {}): { metadata: object; spec: object } {
  const whole = jobManifest(evil, name, 'affine.onnx', fromVolume('in/few.jsonl')) as { metadata: object; spec: object };
  return { ...whole, metadata: { ...whole.metadata, ...metadata }, spec: { ...whole.spec, ...change } };
}

const submit = (job: object): Promise<Answer> => asMallory('POST', paths.jobs(own), job);

const images: [what: string, name: string, image: string][] = [
  ['a file', 'img-file', 'file:///etc/shadow'],
  ['a folder above', 'img-dots', '../../etc/passwd'],
  ['upper case', 'img-case', 'Registry.invalid/Model:V1'],
  ['a registry that is the node', 'img-node', '127.0.0.1:10250/model:v1'],
];
const canary = `canary-${crypto.randomUUID()}`;
const auth = Buffer.from(`x:${canary}`).toString('base64');
const canaryItem = `canary-${crypto.randomUUID()}`;
const odd = new Map<string, Answer>();

/** These fail after the time that an image may take to be pulled, in which the other tests run. */
async function submitOdd(): Promise<void> {
  const config = JSON.stringify({ auths: { 'registry.invalid': { username: 'x', password: canary, auth } } });
  await make(asMallory('POST', paths.core(own, 'secrets', ''), { metadata: { name: 'canary' }, type: 'kubernetes.io/dockerconfigjson', stringData: { '.dockerconfigjson': config } }));
  await make(submit(hostileJob('canary-pull', { model: { image: 'registry.invalid/model:v1', imagePullSecrets: ['canary'], path: 'm.onnx' } })));
  await make(submit(hostileJob('canary-item', { input: { inline: `{"id":"a","inputs":{"x":"${canaryItem}"}}\n{"${canaryItem}\n` } })));
  for (const [, name, image] of images) odd.set(name, await submit(hostileJob(name, { model: { image, path: 'm.onnx' } })));
}

describe.concurrent('a BatchJob reaches nothing but what its own namespace has', () => {
  beforeAll(submitOdd);
  const volume = (claimName: string): object => ({ volume: { claimName, path: 'x' } });
  const missing: [what: string, name: string, change: object, reason: string][] = [
    ['a claim of another namespace', 'claim-slash', { output: volume(`${other}/data`) }, 'VolumeClaimNotFound'],
    ['a claim by a path', 'claim-path', { input: volume(`../${other}/data`) }, 'VolumeClaimNotFound'],
    ['a claim ..', 'claim-dots', { output: volume('..') }, 'VolumeClaimNotFound'],
    ['a model on a claim of another namespace', 'claim-model', { model: { volume: { claimName: `${other}/data` }, path: 'm.onnx' } }, 'VolumeClaimNotFound'],
    ['a claim by the name of its volume', 'claim-volume', { output: volume(other) }, 'VolumeClaimNotFound'],
    ['a ConfigMap of another namespace', 'map-slash', { input: { configMap: { name: `${other}/input`, key: 'items' } } }, 'ConfigMapNotFound'],
    ['a ConfigMap by a path', 'map-path', { input: { configMap: { name: `../../${other}/configmaps/input`, key: 'items' } } }, 'ConfigMapNotFound'],
    ['a ConfigMap by an encoded path', 'map-encoded', { input: { configMap: { name: `..%2F..%2F${other}%2Fconfigmaps%2Finput`, key: 'items' } } }, 'ConfigMapNotFound'],
    ['a ConfigMap with a query', 'map-query', { input: { configMap: { name: 'x?pretty=1#', key: 'items' } } }, 'ConfigMapNotFound'],
    ['a ConfigMap ..', 'map-dots', { input: { configMap: { name: '..', key: 'items' } } }, 'ConfigMapNotFound'],
    ['a ConfigMap .', 'map-dot', { input: { configMap: { name: '.', key: 'items' } } }, 'ConfigMapNotFound'],
  ];
  test.each(missing)('%s is not there, or no name at all', async (_what, name, change, reason) => {
    const answer = await submit(hostileJob(name, change));
    if (answer.status === 422) return;
    expect(answer.status, answer.text).toBe(201);
    expect((await stalled(bench, evil, name, 15_000)).reason).toBe(reason);
    expect(await podsOf(bench, evil, name)).toEqual([]);
  });

  const paths3: [field: string, change: (path: string) => object][] = [
    ['model.path', (path) => ({ model: { volume: { claimName: 'data' }, path } })],
    ['input.volume.path', (path) => ({ input: { volume: { claimName: 'data', path } } })],
    ['output.volume.path', (path) => ({ output: { volume: { claimName: 'data', path } } })],
  ];
  test.each(paths3)('spec.%s does not leave its volume', async (field, change) => {
    for (const path of ['../other', '/etc', 'a/../../b', '..', 'a\\..\\b']) {
      const { status, text } = await submit(hostileJob('paths', change(path)));
      expect({ path, status }).toEqual({ path, status: 422 });
      expect(text).toContain(`spec.${field} must be relative`);
    }
  });

  const placement: [what: string, name: string, workers: object][] = [
    ['a node that the tenant may not use', 'node-os', { nodeSelector: { 'kubernetes.io/os': 'windows' } }],
    ['a taint that it does not tolerate', 'taint', { tolerations: [{ key: 'node-role.kubernetes.io/control-plane', operator: 'Exists' }] }],
    ['every taint', 'all-taints', { tolerations: [{ operator: 'Exists' }] }],
    ['its taint with every effect', 'all-effects', { tolerations: [{ key: 'gpu', operator: 'Exists' }] }],
    ['its taint for longer than it may', 'for-ever', { tolerations: [{ key: 'gpu', operator: 'Exists', effect: 'NoExecute' }] }],
  ];
  test.each(placement)('%s is not for its workers', async (_what, name, workers) => {
    await make(submit(hostileJob(name, { workers: { max: 1, ...workers } })));
    expect((await stalled(bench, evil, name, 15_000)).reason).toBe('SchedulingNotAllowed');
    expect(await podsOf(bench, evil, name)).toEqual([]);
  });

  test.each([5_000, -1])('the pool is not scaled to %i', async (replicas) => {
    const { status, text } = await asMallory('PATCH', `${paths.job(own, 'long')}/scale`, { spec: { replicas } }, merge);
    expect(status, text).toBe(422);
    expect((await getJob(bench, evil, 'long'))?.spec.workers.max).toBe(1);
  });

  test('what names a pod, an image or a volume of its own choosing is no field', async () => {
    const foreign = { serviceAccountName: 'default', template: { spec: { hostNetwork: true } }, image: 'mine', volumes: [{ name: 'x', hostPath: { path: '/' } }], nodeName: 'x', securityContext: { privileged: true } };
    const job = hostileJob('fields', { ...foreign, workers: { max: 1, ...foreign } });
    const strict = await asMallory('POST', `${paths.jobs(own)}?fieldValidation=Strict&dryRun=All`, job);
    for (const field of Object.keys(foreign)) for (const path of ['spec', 'spec.workers']) expect(strict.text).toContain(`unknown field \\"${path}.${field}\\"`);
    const stored = async (sent: object): Promise<unknown> => (await asMallory('POST', `${paths.jobs(own)}?dryRun=All`, sent)).body['spec'];
    expect(await stored(job)).toEqual(await stored(hostileJob('fields', { workers: { max: 1 } })));
  });

  test('a claim on the volume of another gets nothing', async () => {
    const volume = await api.get<ApiObject & { spec: { claimRef: object } }>(`/api/v1/persistentvolumes/${other}`);
    await make(asMallory('POST', paths.core(own, 'persistentvolumeclaims', ''), { metadata: { name: 'steal' }, spec: { volumeName: other, storageClassName: other, accessModes: ['ReadWriteMany'], resources: { requests: { storage: '1Gi' } } } }));
    await until('the claim is refused', 30_000, async () =>
      (await api.list<{ reason: string; regarding: { name: string }; note: string }>(paths.group('events.k8s.io', own, 'events'))).some(({ reason, regarding, note }) => reason === 'FailedBinding' && regarding.name === 'steal' && /already bound/.test(note)));
    expect(await api.get(paths.core(own, 'persistentvolumeclaims', 'steal'))).toMatchObject({ status: { phase: 'Pending' } });
    expect((await api.get<ApiObject & { spec: { claimRef: object } }>(`/api/v1/persistentvolumes/${other}`))?.spec).toEqual(volume?.spec);
  });
});

describe.concurrent('forged metadata', () => {
  const forged = (): Record<string, string> => ({
    'app.kubernetes.io/managed-by': 'millrace',
    'app.kubernetes.io/component': 'tenant',
    'millrace.dev/tenant': victim.name,
    'millrace.dev/job-name': 'long',
    'millrace.dev/job-uid': victimJob.metadata.uid,
  });

  test('on a BatchJob changes neither whose it is nor what is done for it', async () => {
    const metadata = { labels: forged(), annotations: { 'millrace.dev/adopt-by': victim.name, 'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false' }, finalizers: ['millrace.dev/tenant'] };
    const status = { state: 'Complete', tenant: victim.name, shards: { total: 1, completed: '0' }, conditions: [{ type: 'Complete', status: 'True', reason: 'Forged', message: '', lastTransitionTime: '2026-01-01T00:00:00Z' }] };
    await make(submit({ ...hostileJob('forged', { model: { image: (jobManifest(evil, '', 'slow.onnx', {}) as { spec: { model: { image: string } } }).spec.model.image, path: 'slow.onnx' } }, metadata), status }));
    const [pod] = await until('it has a worker', 20_000, async () => {
      const pods = (await api.list<PodObject>(paths.pods(own))).filter((found) => found.metadata.name.startsWith('forged-w'));
      return pods.length > 0 && pods;
    });
    expect(pod?.metadata.labels).toMatchObject({ 'millrace.dev/tenant': evil.name, 'millrace.dev/job-name': 'forged' });
    expect(pod?.metadata.labels?.['millrace.dev/job-uid']).not.toBe(victimJob.metadata.uid);
    const job = await completed(bench, evil, 'forged');
    expect(job.status).toMatchObject({ tenant: evil.name, items: { total: 3, succeeded: 3 } });
    expect((await asMallory('PATCH', paths.job(own, 'forged'), { status: { state: 'Failed', tenant: victim.name } }, merge)).status).toBe(200);
    expect((await getJob(bench, evil, 'forged'))?.status).toMatchObject({ state: 'Complete', tenant: evil.name });
    await asMallory('PATCH', paths.job(own, 'forged'), { metadata: { finalizers: null } }, merge);
  });

  test.each([
    ['a Tenant', (): object => ({ apiVersion: 'millrace.dev/v1alpha1', kind: 'Tenant', name: victim.name, uid: 'e0a5c1c8-0000-4000-8000-000000000000' })],
    ['a BatchJob of another', (): object => ({ apiVersion: 'millrace.dev/v1alpha1', kind: 'BatchJob', name: 'long', uid: victimJob.metadata.uid, controller: true, blockOwnerDeletion: true })],
  ])('as if %s owned it harms only the BatchJob itself', async (_what, owner) => {
    const name = `owned-by-${(owner() as { kind: string }).kind.toLowerCase()}`;
    const before = [await api.get(paths.tenant(victim.name)), await api.get(paths.namespace(other))].map((object) => object?.metadata.uid);
    const { metadata } = await make(submit(hostileJob(name, { suspend: true }, { ownerReferences: [owner()] })));
    // The garbage collector finds no such owner in this namespace.
    await until('it is gone', 30_000, async () => (await api.get(paths.job(own, name)))?.metadata.uid !== metadata.uid);
    expect([await api.get(paths.tenant(victim.name)), await api.get(paths.namespace(other))].map((object) => object?.metadata.uid)).toEqual(before);
    expect((await getJob(bench, victim, 'long'))?.metadata.uid).toBe(victimJob.metadata.uid);
  });

  test('on other objects makes the operator neither adopt nor remove them', async () => {
    const metadata = { name: 'millrace-quota', labels: { ...forged(), 'millrace.dev/tenant': evil.name } };
    const kinds = { configmaps: { data: { a: 'b' } }, secrets: { type: 'Opaque' }, persistentvolumeclaims: { spec: { storageClassName: 'none', accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } } };
    const made: ApiObject[] = [];
    for (const [plural, content] of Object.entries(kinds)) made.push(await make(asMallory('POST', paths.core(own, plural, ''), { metadata, ...content })));
    // A reconcile of everything in the namespace, seen by its end.
    await api.mergePatch(paths.tenant(evil.name), { spec: { quota: { pods: '59' } } });
    await until('the Tenant was reconciled', 10_000, async () => {
      const tenant = await api.get<TenantObject & { status?: { observedGeneration?: number }; metadata: { generation?: number } }>(paths.tenant(evil.name));
      return tenant?.status?.observedGeneration === tenant?.metadata.generation && tenant?.status?.usage?.['pods']?.hard === '59';
    });
    for (const [index, plural] of Object.keys(kinds).entries()) {
      const now = await api.get(paths.core(own, plural, metadata.name));
      expect(now?.metadata).toMatchObject({ uid: made[index]?.metadata.uid, labels: metadata.labels });
      expect(now?.metadata.ownerReferences).toBeUndefined();
    }
  });

  test('of 300 KiB is refused, and what the API server takes reaches no worker', async () => {
    const annotations = (bytes: number): object => ({ annotations: { big: 'x'.repeat(bytes) } });
    const tooBig = await submit(hostileJob('big', {}, annotations(300 * 1024)));
    expect(tooBig.status).toBe(422);
    expect(tooBig.text).toMatch(/metadata.annotations: Too long/);
    await make(submit(hostileJob('big', {}, annotations(250 * 1024))));
    await completed(bench, evil, 'big');
    const [pod] = await podsOf(bench, evil, 'big');
    expect(JSON.stringify(pod).length).toBeLessThan(32 * 1024);
  });
});

describe.concurrent('a name that is taken', () => {
  test('by a pod that is not the job’s: the pod stays, the job waits and says why', async () => {
    const foreign = { metadata: { name: 'taken-w0-0' }, spec: { nodeSelector: { nowhere: 'at-all' }, terminationGracePeriodSeconds: 0, securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [{ name: 'a', image: 'a', resources: { requests: { cpu: '10m', memory: '16Mi' }, limits: { cpu: '10m', memory: '16Mi' } }, securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } } }] } };
    const { metadata } = await make(asAdmin('POST', paths.pods(own), foreign));
    await make(submit(hostileJob('taken')));
    await jobTells(bench, evil, 'taken', 'tells that the name is taken', ({ status }) => /waiting for the name of Pod "taken-w0-0"/.test(status?.message ?? ''), 15_000);
    const stays = await api.get<PodObject>(paths.pod(own, 'taken-w0-0'));
    expect(stays?.metadata.uid).toBe(metadata.uid);
    expect(stays?.metadata.deletionTimestamp).toBeUndefined();
    await api.delete(paths.pod(own, 'taken-w0-0'), { gracePeriodSeconds: 0 });
    await completed(bench, evil, 'taken');
  });

  test('by a ConfigMap where the input is to be copied: it is neither overwritten nor read', async () => {
    const planted = { metadata: { name: 'inline-input-copy' }, binaryData: { 'input.jsonl': Buffer.from('{"id":"planted"}\n').toString('base64') } };
    const { metadata } = await make(asMallory('POST', paths.core(own, 'configmaps', ''), planted));
    await make(submit(hostileJob('inline', { input: { inline: lines(slowItems(3)) } })));
    await jobTells(bench, evil, 'inline', 'tells that the name is taken', ({ status }) => /waiting for the name of ConfigMap "inline-input-copy"/.test(status?.message ?? ''), 15_000);
    expect(await podsOf(bench, evil, 'inline')).toEqual([]);
    expect(await api.get(paths.core(own, 'configmaps', 'inline-input-copy'))).toMatchObject({ metadata: { uid: metadata.uid }, binaryData: planted.binaryData });
    expect((await asMallory('DELETE', paths.core(own, 'configmaps', 'inline-input-copy'))).status).toBe(200);
    expect((await completed(bench, evil, 'inline')).status?.items).toMatchObject({ total: 3, succeeded: 3 });
  });
});

describe('a worker’s token', () => {
  let line: SyncLine;
  let mine: { job: string; slot: number; attempt: number };
  let theirs: typeof mine;
  let pod: PodObject;

  beforeAll(async () => {
    line = await openSyncLine(bench, 9443);
    const identity = async (tenant: TestTenant): Promise<typeof mine> => {
      const { metadata } = await workerOf(tenant, 'long');
      return { job: metadata.labels?.['millrace.dev/job-uid'] ?? '', slot: Number(metadata.labels?.['millrace.dev/slot']), attempt: Number(metadata.labels?.['millrace.dev/attempt']) };
    };
    [mine, theirs, pod] = await Promise.all([identity(evil), identity(victim), workerOf(evil, 'long')]);
  });
  afterAll(() => line.close());

  /** As the kubelet gets it for a pod; without a pod as a Secret would hold it. */
  async function tokenOf(namespace: string, account: string, { audience, boundTo }: { audience?: string; boundTo?: ApiObject }): Promise<string> {
    const { metadata } = boundTo ?? {};
    const spec = { ...(audience === undefined ? {} : { audiences: [audience] }), ...(metadata === undefined ? {} : { boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: metadata.name, uid: metadata.uid } }) };
    const { status, body, text } = await asAdmin('POST', `${paths.core(namespace, 'serviceaccounts', account)}/token`, { spec });
    expect(status, text).toBe(201);
    return (body as { status: { token: string } }).status.token;
  }

  test('is not in its pod but for the operator, and is nothing to the API server', async () => {
    const token = await tokenOf(own, 'millrace-worker', { audience: SYNC_AUDIENCE, boundTo: pod });
    expect((await caller.request('GET', paths.jobs(own), { token })).status).toBe(401);
    expect(pod.spec.automountServiceAccountToken).toBe(false);
    const sources = (pod.spec as unknown as { volumes: { projected?: { sources: { serviceAccountToken?: { audience?: string } }[] } }[] }).volumes.flatMap(({ projected }) => projected?.sources ?? []);
    expect(sources.map(({ serviceAccountToken }) => serviceAccountToken?.audience)).toEqual([SYNC_AUDIENCE]);
  });

  test('even for the API server gives nothing', async () => {
    const token = await tokenOf(own, 'millrace-worker', { boundTo: pod });
    expect((await caller.request('POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews', { token, body: {} })).text).toContain(serviceAccount(own, 'millrace-worker').user);
    for (const path of [paths.jobs(own), paths.pods(own), paths.pod(own, pod.metadata.name), paths.core(own, 'secrets', ''), paths.core(own, 'configmaps', 'kube-root-ca.crt'), paths.tenant(evil.name), paths.jobs(other)]) {
      expect(isForbidden(await caller.request('GET', path, { token })), path).toBe(true);
    }
  });

  const bound = () => tokenOf(own, 'millrace-worker', { audience: SYNC_AUDIENCE, boundTo: pod });
  const refusals: [what: string, token: () => Promise<string | undefined>, worker: () => typeof mine, status: number, message: RegExp][] = [
    ['none at all', async () => undefined, () => theirs, 401, /bearer token/],
    ['one for another audience', () => tokenOf(own, 'millrace-worker', { boundTo: pod }), () => mine, 401, /not valid for audience/],
    ['one of another account', () => tokenOf(own, 'default', { audience: SYNC_AUDIENCE }), () => mine, 403, /only ServiceAccount millrace-worker/],
    ['one that no pod holds', () => tokenOf(own, 'millrace-worker', { audience: SYNC_AUDIENCE }), () => mine, 403, /not bound to a pod/],
    ['the own, for a job of another tenant', bound, () => theirs, 403, /the token belongs to slot 0, attempt \d+ of job/],
    ['the own, for another slot', bound, () => ({ ...mine, slot: 1 }), 403, /the token belongs to slot 0/],
    ['the own, for another attempt', bound, () => ({ ...mine, attempt: 9 }), 403, /the token belongs to slot 0/],
  ];
  test.each(refusals)('is refused by the operator: %s', async (_what, token, worker, status, message) => {
    const answer = await line.sync(worker(), await token());
    expect(answer).toEqual({ status, message: expect.stringMatching(message) });
  });

  describe.each([
    ['in another tenant’s namespace', (): string => own],
    ['in a namespace of no tenant', (): string => `e2e-free-${bench.runId}`],
  ])('and a pod that claims to be the worker of another’s job, %s', (_what, where) => {
    const namespace = where();

    beforeAll(async () => {
      if (namespace === own) return;
      await make(asAdmin('POST', '/api/v1/namespaces', { metadata: { name: namespace, labels: { [testLabel]: bench.runId } } }));
      await make(asAdmin('POST', paths.core(namespace, 'serviceaccounts', ''), { metadata: { name: 'millrace-worker' } }));
    });

    /** Whoever may make pods somewhere (the cluster's own role edit) can make this one. It fits on no node. */
    async function impostor(name: string, attempt: number): Promise<ApiObject> {
      const { metadata, spec: { nodeName: _node, ...spec } } = await workerOf(victim, 'long');
      const labels = { ...metadata.labels, 'millrace.dev/attempt': `${attempt}` };
      const containers = [{ ...spec.containers[0], volumeMounts: [] }];
      return make(asAdmin('POST', paths.pods(namespace), { metadata: { name, labels, ownerReferences: metadata.ownerReferences }, spec: { ...spec, volumes: [], containers, nodeSelector: { nowhere: 'at-all' } } }));
    }

    test('cannot speak for the job', async () => {
      // The garbage collector deletes a pod whose owner is not in its namespace: it has to be asked before that. Afterwards
      // the token is refused (401) or, where its review came just before, the pod is not found.
      let tries = 0;
      const answer = await until('an impostor is there long enough to ask', 30_000, async () => {
        const made = await impostor(`impostor-${tries++}`, theirs.attempt);
        const got = await line.sync(theirs, await tokenOf(namespace, 'millrace-worker', { audience: SYNC_AUDIENCE, boundTo: made }));
        return got.status === 401 || got.message.includes('does not exist any more') ? undefined : got;
      });
      expect(answer).toEqual({ status: 403, message: expect.stringMatching(/^the pod of this token says that it belongs to BatchJob long, which is not the one of that name in its namespace$/) });
    });

    test('does not take the place of its worker', async () => {
      const worker = await workerOf(victim, 'long');
      await impostor('successor', theirs.attempt + 1);
      const changed = await as(victor)('PATCH', paths.job(other, 'long'), { spec: { retry: { perShard: namespace === own ? 5 : 6 } } }, merge);
      const generation = (changed.body as { metadata: { generation: number } }).metadata.generation;
      const job = await jobTells(bench, victim, 'long', 'was looked at again', ({ status }) => ((status as { observedGeneration?: number } | undefined)?.observedGeneration ?? 0) >= generation);
      expect(job.status).toMatchObject({ state: 'Running', replicas: 1, workers: [{ slot: theirs.slot, attempt: theirs.attempt }] });
      const pods = await podsOf(bench, victim, 'long');
      expect(pods.map(({ metadata }) => metadata.uid)).toEqual([worker.metadata.uid]);
      expect(pods[0]?.metadata.deletionTimestamp).toBeUndefined();
    });
  });
});

test('a Tenant of the name of a deleted one gets nothing of it (CVE-2023-46254)', async () => {
  const [first, second] = [user('first'), user('second')];
  const manifest = (owner: Subject): object => tenantManifest(bench, 'twin', { owners: [{ kind: 'User', name: owner.user }], deletionPolicy: 'Retain' });
  const [name, namespace] = [`twin-${bench.runId}`, `e2e-twin-${bench.runId}`];
  await kubectl(['apply', '-f', '-'], manifest(first));
  await tenantReady(bench, name);
  await kubectl(['label', 'namespace', namespace, `${testLabel}=${bench.runId}`]);
  await make(as(first)('POST', paths.core(namespace, 'secrets', ''), { metadata: { name: 'of-the-first' }, stringData: { a: 'b' } }));
  await kubectl(['delete', 'tenant', name, '--timeout=60s']);
  const before = await api.get(paths.namespace(namespace));
  await kubectl(['apply', '-f', '-'], manifest(second));
  const tenant = await until('the second Tenant is refused', 15_000, async () => {
    const found = await api.get<TenantObject>(paths.tenant(name));
    return found?.status?.state === 'Failed' && found;
  });
  expect(tenant.status?.conditions).toContainEqual(expect.objectContaining({ type: 'Stalled', reason: 'NamespaceConflict' }));
  expect(await api.get(paths.namespace(namespace))).toEqual(before);
  for (const path of [paths.core(namespace, 'secrets', 'of-the-first'), paths.core(namespace, 'secrets', ''), paths.jobs(namespace)]) expect(isForbidden(await as(second)('GET', path)), path).toBe(true);
  // The first owner is no tenant's any more: nothing runs for him either.
  const job = jobManifest({ namespace }, 'late', 'affine.onnx', { inline: '{}' });
  const late = await as(first)('POST', paths.jobs(namespace), job);
  if (late.status === 201) expect((await stalled(bench, { name, namespace, folder: '' }, 'late', 15_000)).reason).toBe('NotATenantNamespace');
  expect(await api.list(paths.pods(namespace))).toEqual([]);
});

test.each(images)('a model image that is %s ends the job, with the image named', async (_what, name, image) => {
  const answer = odd.get(name);
  if (answer?.status === 422) return;
  expect(answer?.status, answer?.text).toBe(201);
  const { reason, message } = await failed(bench, evil, name, 60_000);
  expect(reason).toBe('ImagePullFailed');
  expect(message).toContain(image);
});

test('a planted secret appears in no log of the operator, no event and no status', async () => {
  await failed(bench, evil, 'canary-pull', 60_000);
  await until('the job over the canary has ended', 60_000, async () => {
    const job = await getJob(bench, evil, 'canary-item');
    return conditionOf(job, 'Complete') ?? conditionOf(job, 'Failed');
  });
  const logs = await Promise.all((await operatorPods()).map(({ metadata }) => kubectl(['logs', '--namespace', releaseNamespace, metadata.name])));
  const everywhere = ['/apis/millrace.dev/v1alpha1/tenants', '/apis/millrace.dev/v1alpha1/batchjobs', paths.pods(own)];
  const events = ['/api/v1/events', '/apis/events.k8s.io/v1/events'];
  const [told, toldInEvents] = await Promise.all([everywhere, events].map((list) => Promise.all(list.map(async (path) => (await asAdmin('GET', path)).text))));
  expect(logs.join('')).toContain('canary-pull');
  expect(told?.join('')).toContain('canary-pull');
  for (const secret of [canary, auth, Buffer.from(canary).toString('base64')]) for (const text of [...logs, ...(told ?? []), ...(toldInEvents ?? [])]) expect(text).not.toContain(secret);
  // The spec of the job holds its inline items; logs and events hold none.
  for (const text of [...logs, ...(toldInEvents ?? [])]) expect(text).not.toContain(canaryItem);
});

test('and after all that the operator runs as before, and so does the other tenant', async () => {
  expect(restarts(await operatorPods())).toEqual(operatorBefore);
  const job = await getJob(bench, victim, 'long');
  expect(job?.metadata.uid).toBe(victimJob.metadata.uid);
  expect(job?.status).toMatchObject({ state: 'Running', tenant: victim.name });
  expect((await workerOf(victim, 'long')).status.containerStatuses?.[0]?.restartCount).toBe(0);
  await make(as(victor)('POST', paths.jobs(other), jobManifest(victim, 'after', 'slow.onnx', { configMap: { name: 'input', key: 'items' } })));
  expect((await completed(bench, victim, 'after')).status?.items).toMatchObject({ total: 2, succeeded: 2 });
});
