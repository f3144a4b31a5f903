import { describe, expect, it } from 'vitest';
import type { Kind } from '../../../operator/kube/kinds.ts';
import { clusterRules, grantRules, kindOf, kinds, pathOf, releaseRules } from '../../../operator/kube/kinds.ts';

describe('paths', () => {
  it('are those of the API server', () => {
    expect(pathOf(kinds.Pod, { namespace: 'a', name: 'p' })).toBe('/api/v1/namespaces/a/pods/p');
    expect(pathOf(kinds.Pod, {})).toBe('/api/v1/pods');
    expect(pathOf(kinds.Tenant, { name: 't' }, 'status')).toBe('/apis/millrace.dev/v1alpha1/tenants/t/status');
    expect(pathOf(kinds.NetworkPolicy, { namespace: 'a' })).toBe(
      '/apis/networking.k8s.io/v1/namespaces/a/networkpolicies',
    );
    expect(pathOf(kinds.Namespace, { namespace: 'ignored', name: 'a' })).toBe('/api/v1/namespaces/a');
  });

  it('are never made of a name alone for a namespaced kind, nor of anything that is no name', () => {
    expect(() => pathOf(kinds.Pod, { name: 'p' })).toThrow('needs its namespace');
    expect(pathOf(kinds.Pod, { namespace: 'a', name: '../secrets' })).toBe('/api/v1/namespaces/a/pods/..%2Fsecrets');
  });
});

describe('rules', () => {
  const held = new Map(clusterRules().map((rule) => [`${rule.apiGroups[0]}/${rule.resources[0]}`, rule.verbs]));

  it('hold everything that owners are granted, else their Role could not be written', () => {
    for (const rule of grantRules()) {
      expect(held.get(`${rule.apiGroups[0]}/${rule.resources[0]}`)).toEqual(expect.arrayContaining(rule.verbs));
    }
  });

  it('hold no wildcard and no way to more rights', () => {
    const text = JSON.stringify([clusterRules(), releaseRules(), grantRules()]);
    for (const forbidden of ['*', 'escalate', 'bind"', 'impersonate']) expect(text).not.toContain(forbidden);
  });

  it('grant owners nothing on what fences them', () => {
    const fences = ['resourcequotas', 'limitranges', 'networkpolicies'];
    for (const rule of grantRules()) {
      expect(rule.resources[0]).not.toMatch(/^(roles|rolebindings|namespaces|serviceaccounts)/);
      if (fences.includes(rule.resources[0] ?? '')) expect(rule.verbs).toEqual(['get', 'list', 'watch']);
    }
  });

  it('let every watched kind be read by the operator itself', () => {
    for (const kind of Object.values<Kind>(kinds)) {
      if (kind.watched) expect(kind.cluster?.[''], kind.kind).toEqual(expect.arrayContaining(['list', 'watch']));
    }
  });

  it('keep Secrets out of the operator’s own needs in the cluster', () => {
    const { Secret }: { Secret: Kind } = kinds;
    expect(Secret.cluster).toBeUndefined();
    expect(Secret.watched).toBe(false);
  });
});

it('an unknown kind is a mistake', () => {
  expect(kindOf({ apiVersion: 'v1', kind: 'Pod' }).plural).toBe('pods');
  expect(() => kindOf({ apiVersion: 'v1', kind: 'Widget' })).toThrow('not in the table');
});
