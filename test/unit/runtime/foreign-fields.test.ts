import { describe, expect, it } from 'vitest';
import type { KubeObject, Stored } from '../../../operator/kube/object.ts';
import { AppliedObjects } from '../../../operator/runtime/applied.ts';
import { hasForeignFields, rewriting } from '../../../operator/runtime/foreign-fields.ts';

const wanted = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'deny', namespace: 'acme' },
  spec: { podSelector: {}, policyTypes: ['Ingress'] },
};
const stored = (changes: { spec?: object; managers?: object[]; resourceVersion?: string; extra?: object } = {}): Stored => {
  const metadata = { ...wanted.metadata, uid: 'u1', resourceVersion: changes.resourceVersion ?? '5', managedFields: changes.managers ?? [] };
  return { ...wanted, ...changes.extra, metadata, spec: changes.spec ?? wanted.spec } as Stored;
};
const ours = { manager: 'millrace-operator', operation: 'Apply', fieldsV1: { 'f:spec': {} } };

describe('fields of others', () => {
  it('are those of the content that another manager owns', () => {
    expect(hasForeignFields(stored({ managers: [ours, { manager: 'kubectl-patch', fieldsV1: { 'f:spec': { 'f:ingress': {} } } }] }), 'millrace-operator')).toBe(true);
  });

  it('are none in labels, annotations or the status', () => {
    const managers = [
      ours,
      { manager: 'kubectl-label', fieldsV1: { 'f:metadata': { 'f:labels': {} } } },
      { manager: 'kube-controller-manager', subresource: 'status', fieldsV1: { 'f:status': {} } },
    ];
    expect(hasForeignFields(stored({ managers }), 'millrace-operator')).toBe(false);
  });

  it('go by a patch that states the whole content and fails when anybody wrote since', () => {
    expect(rewriting(wanted, stored({ extra: { rogue: 1 } }))).toEqual([
      { op: 'test', path: '/metadata/resourceVersion', value: '5' },
      { op: 'add', path: '/spec', value: wanted.spec },
      { op: 'remove', path: '/rogue' },
    ]);
  });
});

describe('what was applied', () => {
  const applied = new AppliedObjects();
  applied.remember(wanted, stored());

  it('holds while the content is what the API server made of it, whatever else was written', () => {
    expect(applied.holds(wanted, stored({ resourceVersion: '9' }))).toBe(true);
  });

  it('does not hold when someone added to an object that is ours whole', () => {
    expect(applied.holds(wanted, stored({ resourceVersion: '9', spec: { ...wanted.spec, ingress: [{}] } }))).toBe(false);
  });

  it('holds with additions to an object that is shared', () => {
    const account: KubeObject & { automountServiceAccountToken: boolean } = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'w', namespace: 'acme' }, automountServiceAccountToken: false };
    const result = { ...account, metadata: { ...account.metadata, uid: 'u2', resourceVersion: '1' } };
    applied.remember(account, result);
    expect(applied.holds(account, { ...result, secrets: [{ name: 's' }], metadata: { ...result.metadata, resourceVersion: '2' } } as Stored)).toBe(true);
  });
});
