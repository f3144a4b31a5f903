import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { releaseNamespace } from '../../dev/install.ts';
import { paths } from '../support/e2e/api.ts';
import { openBench } from '../support/e2e/bench.ts';
import { testLabel } from '../support/e2e/global-setup.ts';
import { type Answer, Caller, forEach, isForbidden, type Method, serviceAccount, type Subject, user } from '../support/e2e/rights/caller.ts';
import { beyond, labelOf, type NamedRule, namedRules, type Rights, rightsOf, type Scope, toText } from '../support/e2e/rights/matrix.ts';
import { builtInGroups, discover, pathOf, type Resource } from '../support/e2e/rights/resources.ts';
import { tenantManifest, tenantReady } from '../support/e2e/tenant.ts';
import { until } from '../support/e2e/until.ts';

/**
 * Who may do what, as the API server itself answers: every verb × resource × subresource × scope for each role, held
 * against files that a person can review. Kubernetes' own groups and ours only, so that add-ons of a cluster do not matter.
 */
const bench = openBench();
const { api, kubectl } = bench;
const caller = new Caller(bench.cluster.kubeconfig);

const ours = `e2e-rights-${bench.runId}`;
const theirs = `e2e-rights2-${bench.runId}`;
const alice = user('alice');
const bob = user('bob');
const binding = (role: string): string => `e2e-rights-${role.replaceAll(':', '-')}-${bench.runId}`;

const scopesOf = (own: string, other: string): Scope[] => [
  { title: 'in the namespace of the tenant', namespace: own },
  { title: 'in the namespace of another tenant', namespace: other },
  { title: 'in kube-system', namespace: 'kube-system' },
  { title: 'in the namespace of the operator', namespace: releaseNamespace },
  { title: 'outside of all namespaces', namespace: undefined },
];
const scopes = scopesOf(ours, theirs);

let resources: Resource[];
let named: NamedRule[];
let asked = 0;

const ask = async (subject: Subject, where = scopes): Promise<Rights> => {
  const { rights, asked: count } = await rightsOf(caller, subject, where, resources, named);
  asked += count;
  return rights;
};

const rbac = '/apis/rbac.authorization.k8s.io/v1';
/** People of the platform team, each with one of the cluster's own roles in all namespaces. */
const clusterRoles = ['admin', 'edit', 'view'] as const;
/** What those roles consist of without what a chart adds to them. */
const parts = { admin: ['admin', 'edit', 'view'], edit: ['edit', 'view'], view: ['view'] } as const;
const bindings = clusterRoles.flatMap((role) => [
  { role, user: `all-${role}` },
  ...parts[role].map((part) => ({ role: `system:aggregate-to-${part}`, user: `plain-${role}` })),
]);

beforeAll(async () => {
  const owners = [{ kind: 'User', name: 'alice' }, { kind: 'Group', name: 'ml' }, { kind: 'ServiceAccount', name: 'pipelines', namespace: 'default' }];
  const tenants = [tenantManifest(bench, 'rights', { owners }), tenantManifest(bench, 'rights2', { owners: [{ kind: 'User', name: 'bob' }] })];
  await kubectl(['apply', '-f', '-'], { apiVersion: 'v1', kind: 'List', items: tenants });
  for (const { role, user: name } of bindings) {
    const { status, text } = await caller.request('POST', `${rbac}/clusterrolebindings`, {
      body: {
        metadata: { name: `${binding(role)}-${name}`, labels: { [testLabel]: bench.runId } },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
        subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name }],
      },
    });
    expect(status, text).toBe(201);
  }
  for (const { metadata } of tenants) await tenantReady(bench, metadata.name);
  const groups = await builtInGroups(caller);
  resources = (await discover(caller)).filter(({ group }) => groups.has(group) || group === 'millrace.dev');
  named = await namedRules(caller, [ours, theirs, 'kube-system', releaseNamespace]);
  // The authorizer learns of a binding from a watch.
  for (const { user: name } of bindings) {
    await until(`${name} has its role`, 10_000, async () => (await caller.request('GET', '/api/v1/pods?limit=1', { as: user(name) })).status === 200);
  }
});

afterAll(async () => {
  await caller.request('DELETE', `${rbac}/clusterrolebindings?labelSelector=${encodeURIComponent(`${testLabel}=${bench.runId}`)}`);
  await caller.close();
});

/** Held against test/e2e/golden/<name>.txt; UPDATE_GOLDEN=1 writes the file instead. */
function expectGolden(name: string, heading: readonly string[], rights: Rights): void {
  const file = join(import.meta.dirname, 'golden', `${name}.txt`);
  const text = toText([...heading, '', ...legend], rights);
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(file, text);
  expect(text, `rights are not those of test/e2e/golden/${name}.txt. If that is meant: UPDATE_GOLDEN=1 npm test -- e2e test/e2e/rights.test.ts, and have the file reviewed`)
    .toBe(existsSync(file) ? readFileSync(file, 'utf8') : '');
}

const legend = [
  'Answers of the API server (SubjectAccessReview). Asked for: get, list, watch, create, update, patch, delete and',
  "deletecollection of every resource and subresource of Kubernetes' own groups and of millrace.dev, update of",
  'finalizers, and escalate, bind, impersonate, approve, sign, attest. "Quoted": for that one object. What is not',
  'listed is denied.',
];

describe('the API server allows exactly what is written in test/e2e/golden to', () => {
  let owner: Rights;
  let anyone: Rights;

  test('an owner of a tenant, be it a user, a group or a service account', async () => {
    owner = await ask(alice);
    expectGolden('tenant-owner', ['An owner of a tenant.'], owner);
    expect(await ask(user('somebody', 'ml'))).toEqual(owner);
    expect(await ask(serviceAccount('default', 'pipelines'))).toEqual(withDiscovery(owner));
  });

  test('an owner of another tenant: the same in the own namespace, nothing in this one', async () => {
    expect(await ask(bob, scopesOf(theirs, ours))).toEqual(owner);
    const seenFromHere = await ask(bob);
    expect(seenFromHere.get('in the namespace of the tenant')).toEqual(new Map());
  });

  test('anybody who is authenticated', async () => {
    anyone = await ask(user('nobody'));
    expectGolden('anybody', ['Anybody who is authenticated.'], anyone);
  });

  test('a worker: nothing beyond what every service account may', async () => {
    const worker = await ask(serviceAccount(ours, 'millrace-worker'));
    expect(worker).toEqual(withDiscovery(anyone));
    expectGolden('worker', ['The service account of the workers in the namespace of a tenant.'], worker);
  });

  test.each(clusterRoles)("a person with the cluster's own role %s, beyond what the role is without Millrace", async (role) => {
    const added = beyond(await ask(user(`all-${role}`)), await ask(user(`plain-${role}`)));
    expectGolden(`cluster-${role}`, [`What the chart adds to the cluster's own role ${role} (rbac.aggregate), given in all namespaces.`], added);
  });

  test('the operator', async () => {
    const operator = await ask(serviceAccount(releaseNamespace, 'millrace'));
    expectGolden('operator', ['The service account of the operator.'], operator);
  });

  test('and was asked about everything', () => {
    console.log(`${asked} access reviews over ${resources.length} resources and subresources`);
    expect(resources.length).toBeGreaterThan(100);
    expect(asked).toBeGreaterThan(20_000);
  });
});

/** Service accounts may read the keys that their tokens are signed with; the rest is as for people. */
function withDiscovery(rights: Rights): Rights {
  const urls = 'URLs that are no resources';
  return new Map(rights).set(urls, new Map([...(rights.get(urls) ?? []), ...['/openid/v1/jwks', '/.well-known/openid-configuration'].map((path): [string, string[]] => [path, ['get']])]));
}

/** How each verb is asked for. None changes anything: names that nobody has, and dry runs. */
const requests: Record<string, (path: (name?: string) => string) => [method: Method, path: string, body?: object]> = {
  get: (path) => ['GET', path('no-such-thing')],
  list: (path) => ['GET', `${path()}?limit=1`],
  watch: (path) => ['GET', `${path()}?watch=true&timeoutSeconds=1&resourceVersion=0`],
  create: (path) => ['POST', `${path()}?dryRun=All`, {}],
  update: (path) => ['PUT', `${path('no-such-thing')}?dryRun=All`, {}],
  patch: (path) => ['PATCH', `${path('no-such-thing')}?dryRun=All`, {}],
  delete: (path) => ['DELETE', `${path('no-such-thing')}?dryRun=All`],
  deletecollection: (path) => ['DELETE', `${path()}?dryRun=All`],
};

describe('and what the reviews tell is what requests get', () => {
  test('for every verb on every resource, as an owner', async () => {
    const rights = await ask(alice);
    const cases = scopes.flatMap((scope) => resources
      .filter(({ namespaced }) => namespaced === (scope.namespace !== undefined))
      .flatMap((resource) => resource.verbs.map((verb) => ({ scope, resource, verb }))));
    const wrong: string[] = [];
    let refused = 0;
    await forEach(cases, async ({ scope, resource, verb }) => {
      const form = requests[verb];
      if (form === undefined) throw new Error(`${labelOf(resource)} has the verb ${verb}, which this test does not know`);
      const allowed = rights.get(scope.title)?.get(labelOf(resource))?.includes(verb) === true;
      // A subresource is always one of an object.
      const [method, path, body] = form((name) => pathOf(resource, scope.namespace, resource.subresource === '' ? name : 'no-such-thing'));
      const answer = await caller.request(method, path, { as: alice, ...(body === undefined ? {} : { body }), ...(method === 'PATCH' ? { type: 'application/merge-patch+json' } : {}) });
      if (isForbidden(answer)) refused++;
      if (isForbidden(answer) === allowed) wrong.push(`${scope.title}: ${verb} ${labelOf(resource)} is ${allowed ? '' : 'not '}allowed by review, but ${method} ${path} got ${answer.status}`);
    });
    console.log(`${cases.length} requests as an owner, ${refused} refused`);
    expect(wrong).toEqual([]);
    expect(refused).toBeGreaterThan(1000);
  });

  const as = (subject: Subject) => (method: Method, path: string, body?: object): Promise<Answer> => caller.request(method, path, { as: subject, ...(body === undefined ? {} : { body }) });

  test('for what an owner needs', async () => {
    const owner = as(alice);
    const configMap = { metadata: { name: 'mine' }, data: { a: '1' } };
    expect((await owner('POST', paths.core(ours, 'configmaps', ''), configMap)).status).toBe(201);
    expect((await owner('GET', paths.core(ours, 'configmaps', 'mine'))).body).toMatchObject(configMap);
    expect((await owner('DELETE', paths.core(ours, 'configmaps', 'mine'))).status).toBe(200);
    for (const path of [paths.jobs(ours), paths.core(ours, 'pods', ''), paths.core(ours, 'resourcequotas', ''), paths.core(ours, 'events', '')]) expect((await owner('GET', path)).status, path).toBe(200);
  });

  test('for what the platform team needs', async () => {
    const admin = as(user('all-admin'));
    const viewer = as(user('all-view'));
    for (const person of [admin, viewer]) for (const path of [paths.tenant(''), paths.jobs(ours)]) expect((await person('GET', path)).status, path).toBe(200);
    const tenant = { ...tenantManifest(bench, 'rights3') };
    expect(isForbidden(await viewer('POST', `${paths.tenant('')}?dryRun=All`, tenant))).toBe(true);
    expect((await admin('POST', `${paths.tenant('')}?dryRun=All`, tenant)).status).toBe(201);
    expect((await api.get(paths.tenant(tenant.metadata.name)))).toBeUndefined();
  });
});
