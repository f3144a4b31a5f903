import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseTenant } from '../../operator/api/parse.ts';
import { keyOf, type KubeObject, type Stored } from '../../operator/kube/object.ts';
import { deepEqual } from '../../operator/runtime/equal.ts';
import type { ChangeSet, Plan } from '../../operator/runtime/plan.ts';
import { childLabels } from '../../operator/tenant/child.ts';
import type { NamespaceObject, Observed, ResourceQuotaObject, StoredTenant } from '../../operator/tenant/observe.ts';
import { planTenant } from '../../operator/tenant/plan.ts';

/** One namespace of an API server with a quota controller, and what is written to it. A write may be the last before a crash. */
class World {
  tenant: StoredTenant;
  readonly objects = new Map<string, Stored>();
  writes = 0;
  now = Date.parse('2026-11-23T12:00:00Z');
  #version = 1;

  constructor(tenant: StoredTenant) {
    this.tenant = tenant;
  }

  put(object: KubeObject): boolean {
    const key = `${object.kind} ${keyOf(object.metadata)}`;
    const before = this.objects.get(key);
    const uid = before?.metadata.uid ?? `uid-${this.#version}`;
    const status = (before as { status?: unknown } | undefined)?.status;
    const metadata = { ...object.metadata, uid, resourceVersion: before?.metadata.resourceVersion ?? '' };
    const after = { ...object, ...(status === undefined ? {} : { status }), metadata };
    if (before !== undefined && deepEqual(before, after)) return false;
    this.writes += 1;
    this.#version += 1;
    this.objects.set(key, { ...after, metadata: { ...after.metadata, resourceVersion: `${this.#version}` } });
    return true;
  }

  countQuota(): void {
    for (const object of this.objects.values()) {
      const quota = object as Stored<ResourceQuotaObject>;
      if (quota.kind !== 'ResourceQuota') continue;
      this.objects.set(`ResourceQuota ${keyOf(quota.metadata)}`, { ...quota, status: { hard: quota.spec?.hard ?? {}, used: Object.fromEntries(Object.keys(quota.spec?.hard ?? {}).map((resource) => [resource, '0'])) } } as Stored);
    }
  }

  observe(): Observed {
    const all = [...this.objects.values()];
    const namespace = all.find(({ kind }) => kind === 'Namespace') as Stored<NamespaceObject> | undefined;
    const labels = Object.entries(childLabels(this.tenant));
    const children = all.filter(({ metadata }) => labels.every(([label, value]) => metadata.labels?.[label] === value));
    const quota = children.find(({ kind }) => kind === 'ResourceQuota') as Stored<ResourceQuotaObject> | undefined;
    return {
      ...(namespace === undefined ? {} : { namespace }),
      ...(quota === undefined ? {} : { quota }),
      children,
      jobs: { pending: 0, running: 0, suspended: 0, complete: 0, failed: 0 },
      liveWorkers: 0,
      rivals: [],
      contests: new Map(),
      settings: { operatorNamespace: 'millrace-system', syncPort: 9443, operatorLabels: { app: 'millrace' } },
    };
  }

  /** As `execute` does it; stops after `limit` writes, as a crash would. Tells whether anything was written. */
  execute(plan: Plan, limit = Number.POSITIVE_INFINITY): boolean {
    const start = this.writes;
    const changes: ChangeSet = { created: [], configured: [], unchanged: [], removed: [], refused: [] };
    const crashed = (): boolean => this.writes - start >= limit;
    for (const object of [...plan.apply, ...plan.create]) {
      if (crashed()) return true;
      (this.put(object) ? changes.configured : changes.unchanged).push(`${object.kind}/${object.metadata.name}`);
    }
    for (const removal of plan.remove) {
      if (crashed()) return true;
      this.objects.delete(`${removal.kind} ${keyOf(removal)}`);
      this.writes += 1;
    }
    if (crashed()) return true;
    const { status } = plan.report(changes);
    if (status !== undefined && !deepEqual(status, this.tenant.status)) {
      this.tenant = { ...this.tenant, status };
      this.writes += 1;
    }
    return this.writes > start;
  }

  /** Until a round writes nothing; the world around moves on in between. */
  settle(): number {
    for (let round = 1; round <= 10; round += 1) {
      this.now += 7_000;
      this.countQuota();
      if (!this.execute(planTenant(this.tenant, this.observe(), this.now))) return round;
    }
    throw new Error('the plan does not come to rest');
  }
}

const quantity = fc.oneof(fc.nat(100), fc.constantFrom('500m', '1000m', '1.5Gi', '2048Mi', '4'));
const specs = fc.record(
  {
    owners: fc.array(fc.record({ kind: fc.constantFrom('User', 'Group'), name: fc.stringMatching(/^[a-z]{1,8}$/) }), { maxLength: 3 }),
    quota: fc.dictionary(fc.constantFrom('pods', 'requests.cpu', 'limits.memory', 'count/batchjobs.millrace.dev'), quantity),
    limits: fc.record({ default: fc.dictionary(fc.constantFrom('cpu', 'memory'), quantity), max: fc.dictionary(fc.constantFrom('cpu', 'memory'), quantity) }, { requiredKeys: [] }),
    network: fc.record({ egress: fc.array(fc.constantFrom({}, { ports: [{ port: 443 }] }, { to: [] }), { maxLength: 3 }), ingress: fc.constantFrom([], [{}]) }, { requiredKeys: [] }),
    imagePullSecrets: fc.uniqueArray(fc.constantFrom('a', 'b', 'c')),
    cordoned: fc.boolean(),
  },
  { requiredKeys: [] },
);

function tenantOf(spec: object, generation = 1, before?: StoredTenant): StoredTenant {
  const metadata = { name: 'acme', uid: 'u1', resourceVersion: '1', creationTimestamp: '2026-11-23T11:00:00Z', generation };
  const parsed = parseTenant({ apiVersion: 'millrace.dev/v1alpha1', kind: 'Tenant', metadata, spec });
  if (!parsed.ok) throw new Error(parsed.problems.join('; '));
  return { ...parsed.value, metadata, ...(before?.status === undefined ? {} : { status: before.status }) };
}

const image = (world: World): unknown =>
  [...world.objects.entries()]
    .map(([key, { metadata, ...rest }]) => [key, rest, metadata.labels])
    .sort(([a], [b]) => (String(a) < String(b) ? -1 : 1));

describe('whatever the spec', () => {
  it('the plan comes to rest, Ready or Cordoned, and then writes nothing however often it runs', () => {
    fc.assert(
      fc.property(specs, (spec) => {
        const world = new World(tenantOf(spec));
        world.settle();
        expect(world.tenant.status?.state).toBe(world.tenant.spec.cordoned ? 'Cordoned' : 'Ready');
        const { writes } = world;
        world.settle();
        expect(world.writes).toBe(writes);
      }),
    );
  });

  it('a crash after any write leads to the same end', () => {
    fc.assert(
      fc.property(specs, fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 6 }), (spec, crashes) => {
        const clean = new World(tenantOf(spec));
        clean.settle();
        const world = new World(tenantOf(spec));
        for (const limit of crashes) world.execute(planTenant(world.tenant, world.observe(), world.now), limit);
        world.settle();
        expect(image(world)).toEqual(image(clean));
      }),
    );
  });

  it('objects that were deleted or changed come back, and those of an earlier spec go', () => {
    fc.assert(
      fc.property(specs, specs, fc.array(fc.nat(20), { maxLength: 8 }), (first, second, victims) => {
        const world = new World(tenantOf(first));
        world.settle();
        for (const victim of victims) {
          const [key, object] = [...world.objects][victim % world.objects.size] ?? [];
          if (key === undefined || object === undefined || object.kind === 'Namespace') continue;
          if (victim % 2 === 0) world.objects.delete(key);
          else world.objects.set(key, { ...object, spec: { tampered: true } } as Stored);
        }
        world.tenant = tenantOf(second, 2, world.tenant);
        world.settle();
        const fresh = new World(tenantOf(second, 2));
        fresh.settle();
        expect(image(world)).toEqual(image(fresh));
        expect(world.tenant.status?.state).toBe(fresh.tenant.status?.state);
      }),
    );
  });
});
