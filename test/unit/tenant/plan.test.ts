import { describe, expect, it } from 'vitest';
import { setCondition } from '../../../operator/api/conditions.ts';
import { TENANT_FINALIZER } from '../../../operator/api/names.ts';
import type { StoredTenant } from '../../../operator/tenant/observe.ts';
import { planTenant } from '../../../operator/tenant/plan.ts';
import { resourceQuota } from '../../../operator/tenant/resource-quota.ts';
import { aTenant, foreignNamespace, names, NOW, observed, ownChild, ownNamespace, reportOf, stored, statusOf } from './fixtures.ts';

const condition = (status: StoredTenant['status'], type: string) => status?.conditions?.find((one) => one.type === type);

describe('a new Tenant', () => {
  it('gets its finalizer, and its namespace by POST alone', () => {
    const plan = planTenant(aTenant(), observed(), NOW);
    expect(plan.finalizer).toEqual({ add: TENANT_FINALIZER });
    expect(names(plan.create)).toEqual(['Namespace/tenant-acme']);
    expect([...plan.apply, ...plan.remove]).toEqual([]);
    const report = reportOf(plan, { created: ['Namespace/tenant-acme'] });
    expect(report.status).toMatchObject({ state: 'Pending', namespace: 'tenant-acme' });
    expect(report.events).toMatchObject([{ type: 'Normal', reason: 'Created' }]);
    expect(report.outcome.kind).toBe('requeue');
  });

  it('looks again when a namespace of that name turns up that the cache had not shown', () => {
    const refused = [{ kind: 'Namespace', name: 'tenant-acme', reason: 'AlreadyExists', message: 'belongs to someone else' }];
    const report = reportOf(planTenant(aTenant(), observed(), NOW), { refused });
    expect(report).toMatchObject({ status: { state: 'Pending' }, events: [], outcome: { kind: 'requeue' } });
  });

  it('gets the fence in its namespace, policies first, and then the rights of its owners', () => {
    const tenant = aTenant({ owners: [{ kind: 'User', name: 'ann' }], quota: { pods: 5 }, limits: { max: { cpu: 1 } } });
    const plan = planTenant(tenant, observed({ namespace: ownNamespace(tenant) }), NOW);
    expect(names(plan.apply)).toEqual([
      'Namespace/tenant-acme',
      'NetworkPolicy/millrace-default-deny',
      'NetworkPolicy/millrace-allow-dns',
      'NetworkPolicy/millrace-allow-operator',
      'ResourceQuota/millrace-quota',
      'LimitRange/millrace-limits',
      'ServiceAccount/millrace-worker',
      'Role/millrace-tenant-owner',
      'RoleBinding/millrace-tenant-owner',
    ]);
  });

  it('applies its namespace only to the very object that was seen', () => {
    const tenant = aTenant();
    const plan = planTenant(tenant, observed({ namespace: ownNamespace(tenant, { uid: 'ns-1' }) }), NOW);
    expect(plan.apply[0]?.metadata.uid).toBe('ns-1');
  });

  it('is ready only when its quota is counted', () => {
    const tenant = aTenant({ quota: { 'requests.cpu': 4 } });
    const quota = stored(resourceQuota(tenant, undefined, 0)[0]!);
    const before = statusOf(planTenant(tenant, observed({ namespace: ownNamespace(tenant), quota }), NOW));
    expect(before.state).toBe('Pending');
    expect(condition(before, 'Ready')).toMatchObject({ status: 'False', reason: 'QuotaPending' });
    expect(condition(before, 'Reconciling')).toMatchObject({ status: 'True' });
    const counted = { ...quota, status: { hard: { 'requests.cpu': '4' }, used: { 'requests.cpu': '1500m' } } };
    const after = statusOf(planTenant(tenant, observed({ namespace: ownNamespace(tenant), quota: counted }), NOW));
    expect(after).toMatchObject({
      state: 'Ready',
      observedGeneration: 1,
      usage: { 'requests.cpu': { used: '1500m', hard: '4' } },
      summary: { cpu: '1500m/4', jobs: '0' },
    });
    expect(condition(after, 'Ready')).toMatchObject({ status: 'True', observedGeneration: 1 });
    expect(condition(after, 'Stalled')).toMatchObject({ status: 'False' });
  });
});

describe('the status', () => {
  it('has no empty usage, which the API server would refuse where there was one before', () => {
    const tenant = aTenant();
    expect(statusOf(planTenant(tenant, observed({ namespace: ownNamespace(tenant) }), NOW))).not.toHaveProperty('usage');
  });

  it('shows use and quota of CPU, memory and GPU, and BatchJobs, ready-made for the columns', () => {
    const tenant = aTenant();
    const quota = stored(resourceQuota(aTenant({ quota: { pods: 1 } }), undefined, 0)[0]!);
    const status = {
      hard: { 'limits.cpu': '8', 'requests.memory': '8Gi', 'requests.nvidia.com/gpu': '2' },
      used: { 'limits.cpu': '2', 'requests.nvidia.com/gpu': '1' },
    };
    const jobs = { pending: 2, running: 1, suspended: 0, complete: 4, failed: 0 };
    const told = statusOf(planTenant(tenant, observed({ namespace: ownNamespace(tenant), quota: { ...quota, status }, jobs }), NOW));
    expect(told.summary).toEqual({ cpu: '2/8', memory: '0/8Gi', gpu: '1/2', jobs: '1 running, 2 pending' });
    expect(told.jobs).toEqual(jobs);
  });

  it('says so when more is in use than the quota allows, and stays ready', () => {
    const tenant = aTenant({ quota: { 'requests.memory': '1Gi' } });
    const quota = { ...stored(resourceQuota(tenant, undefined, 0)[0]!), status: { hard: { 'requests.memory': '1Gi' }, used: { 'requests.memory': '1536Mi' } } };
    const told = statusOf(planTenant(tenant, observed({ namespace: ownNamespace(tenant), quota }), NOW));
    expect(told.state).toBe('Ready');
    expect(told.message).toContain('requests.memory (1536Mi of 1Gi)');
  });

  it('is Cordoned, and ready, while spec.cordoned is true', () => {
    const tenant = aTenant({ cordoned: true });
    const told = statusOf(planTenant(tenant, observed({ namespace: ownNamespace(tenant) }), NOW));
    expect(told.state).toBe('Cordoned');
    expect(condition(told, 'Ready')).toMatchObject({ status: 'True', reason: 'Cordoned' });
  });

  it('fails with what was refused, told once, and tries again only what somebody else may come to allow', () => {
    const tenant = aTenant({ quota: { pods: 5 } });
    const plan = planTenant(tenant, observed({ namespace: ownNamespace(tenant) }), NOW);
    const refused = [{ kind: 'ResourceQuota', name: 'millrace-quota', reason: 'Invalid', message: 'spec.hard: no' }];
    const report = reportOf(plan, { refused });
    expect(report).toMatchObject({ status: { state: 'Failed' }, outcome: { kind: 'stalled' }, events: [{ type: 'Warning', reason: 'ChildRefused' }] });
    expect(condition(report.status as StoredTenant['status'], 'Stalled')).toMatchObject({ status: 'True', message: expect.stringContaining('spec.hard: no') });
    expect(reportOf(plan, { refused: [{ ...refused[0]!, reason: 'Forbidden' }] }).outcome.kind).toBe('waiting');
    const again = planTenant({ ...tenant, status: report.status! }, observed({ namespace: ownNamespace(tenant) }), NOW);
    expect(reportOf(again, { refused }).events).toEqual([]);
  });
});

describe('a namespace that is not ours', () => {
  const refusal = (plan: ReturnType<typeof planTenant>) => {
    expect([...plan.apply, ...plan.create, ...plan.remove, plan.finalizer]).toEqual([undefined]);
    const { status, outcome, events } = reportOf(plan);
    expect(status).toMatchObject({ state: 'Failed' });
    expect(outcome.kind).toBe('stalled');
    expect(condition(status as StoredTenant['status'], 'Ready')).toMatchObject({ status: 'False' });
    expect(condition(status as StoredTenant['status'], 'Stalled')).toMatchObject({ status: 'True' });
    expect(events).toHaveLength(1);
    return condition(status as StoredTenant['status'], 'Ready')!;
  };

  it('is left untouched, and the message says what to do', () => {
    const { reason, message } = refusal(planTenant(aTenant(), observed({ namespace: foreignNamespace('tenant-acme') }), NOW));
    expect(reason).toBe('NamespaceConflict');
    expect(message).toContain('kubectl annotate namespace tenant-acme millrace.dev/adopt-by=acme');
  });

  it('is not taken up by name alone when it was kept from an earlier Tenant of that name', () => {
    const earlier = ownNamespace(aTenant({}, { uid: 'uid-earlier' }));
    expect(refusal(planTenant(aTenant(), observed({ namespace: earlier }), NOW)).message).toContain('an earlier Tenant acme');
  });

  it('is taken up with the annotation that names this Tenant, and no other', () => {
    const adopted = foreignNamespace('tenant-acme', { annotations: { 'millrace.dev/adopt-by': 'acme' } });
    expect(names(planTenant(aTenant(), observed({ namespace: adopted }), NOW).apply)).toContain('Namespace/tenant-acme');
    const other = foreignNamespace('tenant-acme', { annotations: { 'millrace.dev/adopt-by': 'globex' } });
    refusal(planTenant(aTenant(), observed({ namespace: other }), NOW));
  });

  it("is never the operator's own, annotation or not", () => {
    const own = foreignNamespace('millrace-system', { annotations: { 'millrace.dev/adopt-by': 'acme' } });
    expect(refusal(planTenant(aTenant({ namespace: 'millrace-system' }), observed({ namespace: own }), NOW)).reason).toBe('NamespaceReserved');
  });

  it('goes to the oldest of the Tenants that claim a free one, by name when they are of one age', () => {
    const tenant = aTenant({ namespace: 'shared' });
    const rival = (name: string, creationTimestamp: string) => ({ name, uid: `uid-${name}`, creationTimestamp });
    const older = rival('globex', '2026-11-23T10:00:00Z');
    expect(refusal(planTenant(tenant, observed({ rivals: [older] }), NOW)).message).toContain('older Tenant globex');
    expect(planTenant(tenant, observed({ rivals: [rival('globex', '2026-11-23T11:30:00Z')] }), NOW).create).toHaveLength(1);
    expect(planTenant(tenant, observed({ rivals: [rival('globex', tenant.metadata.creationTimestamp!)] }), NOW).create).toHaveLength(1);
    refusal(planTenant(tenant, observed({ rivals: [rival('aaa', tenant.metadata.creationTimestamp!)] }), NOW));
  });

  it('stays with the Tenant that holds it, even when an older one comes to claim it', () => {
    const young = aTenant({ namespace: 'shared' });
    const old = aTenant({ namespace: 'shared' }, { name: 'globex', uid: 'uid-globex', creationTimestamp: '2026-11-01T00:00:00Z' });
    const as = (tenant: StoredTenant) => ({ name: tenant.metadata.name, uid: tenant.metadata.uid, creationTimestamp: tenant.metadata.creationTimestamp! });
    const namespace = ownNamespace(young, { annotations: { 'millrace.dev/adopt-by': 'globex' } });
    expect(planTenant(young, observed({ namespace, rivals: [as(old)] }), NOW).apply).not.toEqual([]);
    expect(refusal(planTenant(old, observed({ namespace, rivals: [as(young)] }), NOW)).message).toContain('belongs to the Tenant acme');
  });
});

describe('a namespace on its way out', () => {
  it('gets nothing, and the message names what holds it up', () => {
    const tenant = aTenant();
    const namespace = ownNamespace(tenant, { deletionTimestamp: CREATED_LATER }, {
      phase: 'Terminating',
      conditions: [
        { type: 'NamespaceContentRemaining', status: 'True', message: 'Some resources are remaining: pods. has 1 resource instances' },
        { type: 'NamespaceFinalizersRemaining', status: 'True', message: 'Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances' },
      ],
    });
    const plan = planTenant(tenant, observed({ namespace }), NOW);
    expect([...plan.apply, ...plan.create, ...plan.remove]).toEqual([]);
    const report = reportOf(plan);
    expect(report).toMatchObject({ status: { state: 'Pending', message: expect.stringContaining('example.com/hold') }, outcome: { kind: 'waiting' } });
  });
});

describe('drift', () => {
  const ready = (tenant: StoredTenant): StoredTenant => ({
    ...tenant,
    status: { observedGeneration: 1, conditions: setCondition([], { type: 'Ready', status: 'True', reason: 'Ready', message: 'ok' }, NOW) },
  });

  it('removes children that the spec wants no more, by UID, and no one else’s', () => {
    const tenant = aTenant();
    const quota = ownChild(tenant, 'v1', 'ResourceQuota', 'millrace-quota');
    const kept = ownChild(tenant, 'networking.k8s.io/v1', 'NetworkPolicy', 'millrace-default-deny');
    const plan = planTenant(tenant, observed({ namespace: ownNamespace(tenant), children: [quota, kept] }), NOW);
    expect(plan.remove).toEqual([{ apiVersion: 'v1', kind: 'ResourceQuota', namespace: 'tenant-acme', name: 'millrace-quota', uid: quota.metadata.uid }]);
  });

  it('is told in an event when a settled Tenant’s object was put back', () => {
    const tenant = ready(aTenant());
    const child = ownChild(tenant, 'networking.k8s.io/v1', 'NetworkPolicy', 'millrace-default-deny');
    const plan = planTenant(tenant, observed({ namespace: ownNamespace(tenant), children: [child] }), NOW);
    expect(reportOf(plan, { created: ['Role/millrace-tenant-owner'], configured: ['NetworkPolicy/millrace-default-deny'] }).events).toMatchObject([
      { reason: 'Restored', note: expect.stringContaining('NetworkPolicy/millrace-default-deny, Role/millrace-tenant-owner') },
    ]);
  });

  it('is not taken for one when only the cache was behind, or when the spec changed', () => {
    const tenant = ready(aTenant());
    const plan = planTenant(tenant, observed({ namespace: ownNamespace(tenant) }), NOW);
    expect(reportOf(plan, { configured: ['Role/millrace-tenant-owner'] }).events).toEqual([]);
    const changed = { ...tenant, metadata: { ...tenant.metadata, generation: 2 } };
    const again = planTenant(changed, observed({ namespace: ownNamespace(tenant) }), NOW);
    expect(reportOf(again, { created: ['LimitRange/millrace-limits'] }).events).toMatchObject([{ reason: 'Configured' }]);
  });
});

describe('deletion', () => {
  const deleted = (spec: object = {}, secondsAgo = 1): StoredTenant =>
    aTenant(spec, { finalizers: [TENANT_FINALIZER], deletionTimestamp: new Date(NOW - secondsAgo * 1000).toISOString() });

  it('waits for the workers to stop, but not for ever', () => {
    const tenant = deleted();
    const seen = observed({ namespace: ownNamespace(tenant), liveWorkers: 2 });
    const plan = planTenant(tenant, seen, NOW);
    expect(plan.finalizer).toBeUndefined();
    expect(reportOf(plan)).toMatchObject({ status: { state: 'Terminating', message: expect.stringContaining('2 worker pods') }, outcome: { kind: 'waiting' } });
    expect(planTenant(deleted({}, 61), seen, NOW).finalizer).toEqual({ remove: TENANT_FINALIZER });
  });

  it('with Retain leaves everything in place', () => {
    const tenant = deleted();
    const plan = planTenant(tenant, observed({ namespace: ownNamespace(tenant), children: [ownChild(tenant, 'v1', 'ResourceQuota', 'millrace-quota')] }), NOW);
    expect(plan).toMatchObject({ finalizer: { remove: TENANT_FINALIZER }, apply: [], create: [], remove: [] });
  });

  it('with Delete deletes the namespace by UID and holds on until it is gone', () => {
    const tenant = deleted({ deletionPolicy: 'Delete' });
    const namespace = ownNamespace(tenant, { uid: 'ns-1' });
    const first = planTenant(tenant, observed({ namespace }), NOW);
    expect(first.remove).toEqual([{ apiVersion: 'v1', kind: 'Namespace', name: 'tenant-acme', uid: 'ns-1' }]);
    expect(first.finalizer).toBeUndefined();
    const going = planTenant(tenant, observed({ namespace: { ...namespace, metadata: { ...namespace.metadata, deletionTimestamp: CREATED_LATER } } }), NOW);
    expect(going.remove).toEqual([]);
    expect(reportOf(going).status).toMatchObject({ state: 'Terminating', message: expect.stringContaining('content is being deleted') });
    expect(planTenant(tenant, observed(), NOW).finalizer).toEqual({ remove: TENANT_FINALIZER });
  });

  it('never touches a namespace that is not ours', () => {
    const tenant = deleted({ deletionPolicy: 'Delete' });
    const plan = planTenant(tenant, observed({ namespace: foreignNamespace('tenant-acme') }), NOW);
    expect(plan).toMatchObject({ finalizer: { remove: TENANT_FINALIZER }, apply: [], remove: [] });
  });

  it('does nothing once the finalizer is off', () => {
    const plan = planTenant({ ...deleted(), metadata: { ...deleted().metadata, finalizers: ['example.com/other'] } }, observed(), NOW);
    expect([...plan.apply, ...plan.create, ...plan.remove, plan.finalizer]).toEqual([undefined]);
    expect(reportOf(plan)).toEqual({ events: [], outcome: { kind: 'settled' } });
  });
});

const CREATED_LATER = '2026-11-23T11:59:00Z';
