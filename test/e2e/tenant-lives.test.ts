import { beforeAll, describe, expect, test } from 'vitest';
import { type ApiObject, paths } from '../support/e2e/api.ts';
import { openBench } from '../support/e2e/bench.ts';
import { testLabel } from '../support/e2e/global-setup.ts';
import { apply, completed, doneItems, fromVolume, isLive, jobManifest, jobTells, lines, outcomeOf, podsOf, putInput, stalled } from '../support/e2e/jobs.ts';
import { slowItems, slowResults } from '../support/e2e/slow.ts';
import { makeTenant, tenantManifest, type TenantObject, tenantReady, type TestTenant } from '../support/e2e/tenant.ts';
import { until } from '../support/e2e/until.ts';

const bench = openBench();
const { api, kubectl, refused, runId } = bench;
const net = 'networking.k8s.io';

const told = (name: string, what: string, holds: (tenant: TenantObject) => boolean, limitMs = 20_000): Promise<TenantObject> => {
  let last: TenantObject | undefined;
  return until(`Tenant ${name} ${what}`, limitMs, async () => {
    last = await api.get<TenantObject>(paths.tenant(name));
    return last !== undefined && holds(last) ? last : undefined;
  }, () => JSON.stringify(last?.status ?? 'no such Tenant'));
};
const reasonOf = (tenant: TenantObject, type: string): string | undefined => tenant.status?.conditions?.find((one) => one.type === type && one.status === 'True')?.reason;
const named = (name: string, spec: object = {}): object => ({ apiVersion: 'millrace.dev/v1alpha1', kind: 'Tenant', metadata: { name, labels: { [testLabel]: runId } }, spec });
const keep = (namespace: string): Promise<string> => kubectl(['label', 'namespace', namespace, `${testLabel}=${runId}`, '--overwrite']);
const asOwner = ['--as=ann', '--as-group=lives-ml', '--as-group=system:authenticated'];

describe('names', () => {
  test.each([
    ['with a dot', named('acme.ml'), 'must be a DNS label'],
    ['too long for its namespace', named('a'.repeat(57)), 'must be at most 56 characters long'],
    ['longer than a label', named('a'.repeat(64), { namespace: 'short' }), 'must be a DNS label of at most 63 characters'],
    ['whose namespace starts with kube-', named('acme', { namespace: 'kube-acme' }), 'must not be default or start with kube-'],
    ['whose namespace is default', named('acme', { namespace: 'default' }), 'must not be default or start with kube-'],
    ['whose namespace has a dot', named('acme', { namespace: 'acme.ml' }), 'must be a DNS label'],
  ])('a Tenant %s is refused', async (_what, manifest, message) => expect(await refused(['apply', '--filename=-'], manifest)).toContain(message));

  test('of the greatest length get a fence like others', async () => {
    const own = `${'t'.repeat(50)}-${runId}`;
    const [short, long] = [`long-${runId}`, `${'n'.repeat(57)}-${runId}`];
    await kubectl(['apply', '--filename=-'], named(own));
    await kubectl(['apply', '--filename=-'], named(short, { namespace: long, deletionPolicy: 'Delete' }));
    for (const [name, namespace] of [[own, `tenant-${own}`], [short, long]] as const) {
      await tenantReady(bench, name);
      expect(await api.list(paths.group(net, namespace, 'networkpolicies'))).toHaveLength(3);
    }
    await keep(`tenant-${own}`);
  });

  test('the namespace of the operator itself is nobody’s to have', async () => {
    const name = `grabs-${runId}`;
    await kubectl(['apply', '--filename=-'], named(name, { namespace: 'millrace-system' }));
    await told(name, 'is refused', (tenant) => reasonOf(tenant, 'Stalled') === 'NamespaceReserved');
    await kubectl(['delete', 'tenant', name, '--timeout=30s']);
  });
});

describe('a Tenant that is deleted while its jobs run', () => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await makeTenant(bench, 'leaving', { deletionPolicy: 'Retain', owners: [{ kind: 'Group', name: 'lives-ml' }] });
    putInput(tenant, 'in.jsonl', lines(slowItems(1_500)));
    await apply(bench, jobManifest(tenant, 'work', 'slow.onnx', fromVolume('in.jsonl'), { workers: { max: 2 } }));
    await jobTells(bench, tenant, 'work', 'has durable results', (job) => doneItems(job) > 0);
    await keep(tenant.namespace);
    await kubectl(['delete', 'tenant', tenant.name, '--timeout=90s']);
  });

  test('goes when its workers are gone, and leaves namespace, fence and data', async () => {
    expect((await podsOf(bench, tenant, 'work')).filter(isLive)).toEqual([]);
    expect((await api.get(paths.namespace(tenant.namespace)))?.metadata.deletionTimestamp).toBeUndefined();
    expect(await api.list(paths.group(net, tenant.namespace, 'networkpolicies'))).toHaveLength(3);
    expect(await api.get(paths.core(tenant.namespace, 'persistentvolumeclaims', 'data'))).toBeDefined();
  });

  test('has no successor by name alone', async () => {
    await kubectl(['apply', '--filename=-'], tenantManifest(bench, 'leaving', { deletionPolicy: 'Retain' }));
    const refusedTenant = await told(tenant.name, 'is refused', (found) => reasonOf(found, 'Stalled') === 'NamespaceConflict');
    expect(refusedTenant.status?.message).toContain(`was made for an earlier Tenant ${tenant.name}`);
    expect((await podsOf(bench, tenant, 'work')).filter(isLive)).toEqual([]);
  });

  test('has one that an administrator names on the namespace, and its jobs go on from where they were', async () => {
    expect(await refused(['annotate', 'namespace', tenant.namespace, `millrace.dev/adopt-by=${tenant.name}`, ...asOwner])).toContain('forbidden');
    await kubectl(['annotate', 'namespace', tenant.namespace, `millrace.dev/adopt-by=${tenant.name}`]);
    const now = await tenantReady(bench, tenant.name);
    expect((await api.get(paths.namespace(tenant.namespace)))?.metadata.labels?.['millrace.dev/tenant-uid']).toBe(now.metadata.uid);
    await completed(bench, tenant, 'work');
    expect(outcomeOf(tenant, 'work').results).toBe(slowResults(1_500));
  });
});

describe('a namespace that is stuck on its way out', () => {
  const name = `stuck-${runId}`;
  const namespace = `e2e-${name}`;
  const hold = paths.core(namespace, 'configmaps', 'hold');
  beforeAll(async () => {
    await kubectl(['apply', '--filename=-'], tenantManifest(bench, 'stuck'));
    await tenantReady(bench, name);
    await kubectl(['apply', '--filename=-'], { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'hold', namespace, finalizers: ['example.com/hold'] } });
    await kubectl(['delete', 'tenant', name, '--wait=false']);
  });

  test('is named in the Tenant with what holds it', async () => {
    const going = await told(name, 'tells the blocker', ({ status }) => status?.message?.includes('example.com/hold') === true, 40_000);
    expect(going.status).toMatchObject({ state: 'Terminating', message: expect.stringMatching(/^Deleting namespace .*NamespaceFinalizersRemaining: .*example\.com\/hold in 1 resource instances/) });
  });

  test('gets nothing new for another Tenant that wants the name, which is told why and follows once it is gone', async () => {
    const heir = `heir-${runId}`;
    await kubectl(['apply', '--filename=-'], named(heir, { namespace, deletionPolicy: 'Delete' }));
    await told(heir, 'waits', (tenant) => (tenant.status?.message ?? '').length > 0);
    expect(await api.list(paths.group(net, namespace, 'networkpolicies'))).toEqual([]);
    await api.mergePatch(hold, { metadata: { finalizers: null } });
    await until('the first Tenant is gone', 60_000, async () => (await api.get(paths.tenant(name))) === undefined);
    await tenantReady(bench, heir);
    expect(await api.list(paths.group(net, namespace, 'networkpolicies'))).toHaveLength(3);
  });
});

describe('a Tenant that goes on', () => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await makeTenant(bench, 'lives', { owners: [{ kind: 'Group', name: 'lives-ml' }], maxPriority: 100, allowedModelImages: ['millrace.local/models', 'registry.example/acme'] });
    putInput(tenant, 'in.jsonl', lines(slowItems(1_000)));
  });
  const job = (name: string, more: { workers?: object; [key: string]: unknown } = {}): object => jobManifest(tenant, name, 'slow.onnx', fromVolume('in.jsonl'), more);

  test('tells when its quota is lowered below what is used; running pods stay and new ones wait', async () => {
    await apply(bench, job('squeezed', { workers: { max: 1 } }));
    await jobTells(bench, tenant, 'squeezed', 'works', (found) => doneItems(found) > 0);
    const [pod] = (await podsOf(bench, tenant, 'squeezed')).filter(isLive);
    await api.mergePatch(paths.tenant(tenant.name), { spec: { quota: { pods: '0' } } });
    const over = await told(tenant.name, 'tells it', ({ status }) => status?.message?.includes('More is in use than the quota allows') === true);
    expect(over.status).toMatchObject({ state: 'Ready', message: 'More is in use than the quota allows: pods (1 of 0). New pods wait until it falls.', usage: { pods: { used: '1', hard: '0' } } });
    expect((await podsOf(bench, tenant, 'squeezed')).filter(isLive).map(({ metadata }) => metadata.uid)).toContain(pod?.metadata.uid);
    await apply(bench, job('waits'));
    await jobTells(bench, tenant, 'waits', 'waits for quota', ({ status }) => /quota/.test(status?.message ?? ''));
    await api.mergePatch(paths.tenant(tenant.name), { spec: { quota: { pods: '60' } } });
    await completed(bench, tenant, 'squeezed');
    await completed(bench, tenant, 'waits');
  });

  test('starts nothing new while it is cordoned', async () => {
    await api.mergePatch(paths.tenant(tenant.name), { spec: { cordoned: true } });
    await told(tenant.name, 'is cordoned', ({ status }) => status?.state === 'Cordoned');
    await apply(bench, job('later'));
    await jobTells(bench, tenant, 'later', 'waits', ({ status }) => status?.message?.includes('is cordoned: nothing new is admitted') === true);
    expect(await podsOf(bench, tenant, 'later')).toEqual([]);
    await api.mergePatch(paths.tenant(tenant.name), { spec: { cordoned: false } });
    await completed(bench, tenant, 'later');
  });

  test('uses no model image but those that it is allowed', async () => {
    const foreign = { ...(job('foreign') as { spec: object }), spec: { ...(job('foreign') as { spec: object }).spec, model: { image: 'registry.example/acme-evil/digits:v1' } } };
    await apply(bench, foreign);
    expect(await stalled(bench, tenant, 'foreign')).toMatchObject({
      reason: 'ModelImageNotAllowed',
      message: expect.stringContaining('"registry.example/acme-evil/digits:v1" is not allowed for tenant'),
    });
    expect(await podsOf(bench, tenant, 'foreign')).toEqual([]);
  });

  test('has no job above its maxPriority, and a lower limit leaves jobs that are there open to changes', async () => {
    expect(await refused(['apply', '--filename=-', ...asOwner], job('vip', { priority: 101, suspend: true }))).toContain(`spec.priority: 101 is above the maxPriority of tenant "${tenant.name}", which is 100; choose that or less`);
    await kubectl(['apply', '--filename=-', ...asOwner], job('vip', { priority: 100, suspend: true }));
    const patch = (spec: object): string[] => ['patch', 'batchjob', 'vip', '--namespace', tenant.namespace, '--type=merge', `--patch=${JSON.stringify({ spec })}`, ...asOwner];
    expect(await refused(patch({ priority: 500 }))).toContain('is above the maxPriority');
    await api.mergePatch(paths.tenant(tenant.name), { spec: { maxPriority: 50 } });
    await until('the namespace carries it', 10_000, async () => (await api.get(paths.namespace(tenant.namespace)))?.metadata.labels?.['millrace.dev/max-priority'] === '50');
    await kubectl(patch({ workers: { max: 2 } }));
    expect(await refused(patch({ priority: 99 }))).toContain('which is 50');
    await kubectl(patch({ priority: 10 }));
  });

  test('is the only kind of namespace where a BatchJob can be made', async () => {
    const stray = { ...(job('stray') as { metadata: object }), metadata: { name: 'stray', namespace: 'default' } };
    expect(await refused(['apply', '--filename=-'], stray)).toContain('namespace "default" belongs to no Tenant; create the BatchJob in the namespace of a tenant');
  });

  test('lets its owners make Secrets, but none that Kubernetes fills with a token', async () => {
    const secret = (name: string, account: string): object => ({ apiVersion: 'v1', kind: 'Secret', type: 'kubernetes.io/service-account-token', metadata: { name, namespace: tenant.namespace, annotations: { 'kubernetes.io/service-account.name': account } } });
    for (const account of ['millrace-worker', 'default']) {
      expect(await refused(['create', '--filename=-', ...asOwner], secret('token', account))).toContain(`a Secret with a token of ServiceAccount "${account}" needs the right to create serviceaccounts/token`);
    }
    await kubectl(['create', '--filename=-', ...asOwner], { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'own', namespace: tenant.namespace }, stringData: { key: 'value' } });
    await kubectl(['create', '--filename=-'], secret('token', 'default'));
  });
});

test('the operator’s own account cannot write outside of tenants’ namespaces, though its role would let it', async () => {
  const asOperator = ['--as=system:serviceaccount:millrace-system:millrace', '--as-group=system:serviceaccounts', '--as-group=system:authenticated'];
  const object = (kind: string, apiVersion: string, more: object): object => ({ apiVersion, kind, metadata: { name: `reach-${runId}`, namespace: 'kube-system' }, ...more });
  for (const manifest of [
    object('Secret', 'v1', { stringData: { a: 'b' } }),
    object('Role', 'rbac.authorization.k8s.io/v1', { rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }] }),
    object('Pod', 'v1', { spec: { containers: [{ name: 'a', image: 'a' }] } }),
  ]) {
    expect(await refused(['create', '--filename=-', ...asOperator], manifest)).toContain('namespace kube-system is no tenant\'s, so the operator has no business in it');
  }
});

test('what somebody else changes again and again is told by name, in growing intervals, and nothing spins', async () => {
  const name = `fought-${runId}`;
  const path = paths.group(net, `e2e-${name}`, 'networkpolicies', 'millrace-allow-dns');
  await kubectl(['apply', '--filename=-'], tenantManifest(bench, 'fought', { quota: {} }));
  await tenantReady(bench, name);
  // As a controller does that wants it otherwise: whenever it is put back, it is changed again.
  const stop = new AbortController();
  const rounds: number[] = [];
  const rival = (async () => {
    while (!stop.signal.aborted) {
      const policy = await api.get<ApiObject & { spec: { egress?: { ports: unknown[] }[] } }>(path);
      if (policy?.spec.egress?.[0]?.ports.length !== 2) continue;
      await kubectl(['patch', 'networkpolicy', 'millrace-allow-dns', '--namespace', `e2e-${name}`, '--field-manager=rival-controller', '--type=merge', '--patch={"spec":{"egress":[{"ports":[{"port":53}]}]}}']);
      rounds.push(performance.now());
    }
  })();
  try {
    const contested = await told(name, 'is Stalled', (tenant) => reasonOf(tenant, 'Stalled') === 'FieldConflict');
    expect(contested.status?.message).toContain('NetworkPolicy/millrace-allow-dns by the field manager "rival-controller"');
    expect(contested.status?.conditions).toContainEqual(expect.objectContaining({ type: 'Ready', status: 'False', reason: 'FieldConflict' }));
    expect(await kubectl(['describe', 'tenant', name])).toMatch(/Warning +FieldConflict/);
    // Put back at once five times; the sixth time is 10 s later.
    await until('it is put back once more', 25_000, async () => rounds.length === 7);
    expect((rounds[6] ?? 0) - (rounds[5] ?? 0)).toBeGreaterThan(9_000);
  } finally {
    stop.abort();
    await rival;
  }
}, 90_000);
