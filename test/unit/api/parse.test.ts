import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadAll } from 'js-yaml';
import { describe, expect, it } from 'vitest';
import { parseBatchJob, parseTenant } from '../../../operator/api/parse.ts';

const tenant = (spec: unknown, over: object = {}) => ({ apiVersion: 'millrace.dev/v1alpha1', kind: 'Tenant', metadata: { name: 'acme' }, spec, ...over });

describe('a Tenant', () => {
  it('gets the defaults of the CRD, and what came in stays as it was', () => {
    const given = Object.freeze(tenant(Object.freeze({})));
    const parsed = parseTenant(given);
    expect(parsed).toMatchObject({
      ok: true,
      value: { spec: { owners: [], network: { egress: [], ingress: [] }, cordoned: false, deletionPolicy: 'Retain', scheduling: { nodeSelector: {}, tolerations: [] } } },
    });
    expect(given.spec).toEqual({});
  });

  it.each<[string, object, string]>([
    ['an unknown field', { colour: 2 }, 'spec.colour: unknown field'],
    ['an unknown field deep inside', { network: { egress: [{ port: 1 }] } }, 'spec.network.egress[0].port: unknown field'],
    ['a wrong type', { cordoned: 'yes' }, 'spec.cordoned: got "yes", must be a boolean'],
    ['a value off the list', { deletionPolicy: 'Keep' }, 'spec.deletionPolicy: got "Keep", must be Retain or Delete'],
    ['a missing field', { owners: [{ kind: 'User' }] }, 'spec.owners[0].name: required'],
    ['no quantity', { quota: { 'requests.cpu': '-1' } }, 'spec.quota["requests.cpu"]: got "-1", must be a quantity such as 500m, 2 or 8Gi'],
    ['neither number nor text', { quota: { pods: true } }, 'spec.quota.pods: got true, must be an integer or a string'],
    ['a number out of range', { network: { egress: [{ ports: [{ port: 80, endPort: 70000 }] }] } }, 'spec.network.egress[0].ports[0].endPort: got 70000, must be <= 65535'],
    ['no address block', { network: { egress: [{ to: [{ ipBlock: { cidr: '10.0.0.0/33' } }] }] } }, 'spec.network.egress[0].to[0].ipBlock.cidr: got "10.0.0.0/33", must be an address block such as 10.0.0.0/8'],
    ['null', { quota: null }, 'spec.quota: got null, must be an object'],
  ])('with %s is refused in a sentence', (_what, spec, sentence) => {
    expect(parseTenant(tenant(spec))).toEqual({ ok: false, problems: [sentence] });
  });

  it('of another version or kind is refused', () => {
    expect(parseTenant(tenant({}, { apiVersion: 'millrace.dev/v2', kind: 'Team' }))).toEqual({
      ok: false,
      problems: ['apiVersion: got "millrace.dev/v2", must be millrace.dev/v1alpha1', 'kind: got "Team", must be Tenant'],
    });
  });

  it('that is no object at all is refused without a crash', () => {
    for (const json of [null, 3, 'x', [], undefined]) expect(parseTenant(json)).toMatchObject({ ok: false });
  });

  it('with many faults gets a bounded list of them', () => {
    const spec = Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`field${index}`, 1]));
    const parsed = parseTenant(tenant(spec));
    expect(parsed.ok ? [] : parsed.problems).toHaveLength(21);
    expect(parsed.ok ? '' : parsed.problems.at(-1)).toBe('and 30 more');
  });

  it('takes both numbers and text where Kubernetes does', () => {
    expect(parseTenant(tenant({ quota: { pods: 3, 'requests.cpu': '1500m' }, network: { ingress: [{ ports: [{ port: 'http' }, { port: 80 }] }] } }))).toMatchObject({ ok: true });
  });
});

describe('the samples', () => {
  const folder = join(import.meta.dirname, '../../../config/samples');
  const documents = readdirSync(folder)
    .filter((name) => name.endsWith('.yaml'))
    .flatMap((name) => loadAll(readFileSync(join(folder, name), 'utf8')).map((json) => [name, json as { kind: string }] as const))
    .filter(([, { kind }]) => kind === 'Tenant' || kind === 'BatchJob');

  it('hold both kinds', () => {
    expect(new Set(documents.map(([, { kind }]) => kind))).toEqual(new Set(['Tenant', 'BatchJob']));
  });

  it.each(documents)('%s fits the schema', (_name, json) => {
    expect(json.kind === 'Tenant' ? parseTenant(json) : parseBatchJob(json)).toMatchObject({ ok: true });
  });
});
