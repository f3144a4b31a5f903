import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { loadAll } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureClients } from '../../../dev/cluster/tools.ts';
import { loadConfig } from '../../../operator/config.ts';
import { releaseRules } from '../../../operator/kube/kinds.ts';

interface Rendered {
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string>; annotations?: Record<string, string> };
  data?: Record<string, string>;
  rules?: { apiGroups: string[]; resources: string[]; resourceNames?: string[]; verbs: string[] }[];
  spec?: Record<string, unknown>;
}

const run = promisify(execFile);
const chart = join(import.meta.dirname, '../../../charts/millrace');
let helm = '';
let folder = '';

beforeAll(async () => {
  helm = (await ensureClients()).helm;
  folder = await mkdtemp(join(tmpdir(), 'millrace-chart-'));
}, 600_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

async function render(values: object = {}, release = 'millrace'): Promise<Rendered[]> {
  const file = join(folder, 'values.json');
  await writeFile(file, JSON.stringify(values));
  const { stdout } = await run(helm, ['template', release, chart, '--namespace', 'millrace-system', '--values', file, '--kube-version', '1.36.0']);
  return (loadAll(stdout) as (Rendered | null)[]).filter((object) => object !== null);
}

const one = (objects: Rendered[], kind: string, name?: string): Rendered => {
  const found = objects.filter((object) => object.kind === kind && (name === undefined || object.metadata.name === name));
  expect(found).toHaveLength(1);
  return found[0] as Rendered;
};

async function configOf(objects: Rendered[]): Promise<ReturnType<typeof loadConfig>> {
  const path = join(folder, 'operator.yaml');
  await writeFile(path, one(objects, 'ConfigMap').data?.['operator.yaml'] ?? '');
  return loadConfig(['--config', path], { POD_NAMESPACE: 'millrace-system', POD_NAME: 'p', POD_IP: '10.0.0.1' });
}

describe('the chart', () => {
  it('passes helm lint in strict mode', async () => {
    await expect(run(helm, ['lint', '--strict', chart])).resolves.toBeDefined();
  });

  it('gives the operator a configuration that it takes, with the names of the objects beside it', async () => {
    for (const release of ['millrace', 'my-release', 'x'.repeat(50)]) {
      const objects = await render({}, release);
      const config = await configOf(objects);
      one(objects, 'Service', config.syncServiceName);
      const { template } = one(objects, 'Deployment').spec as { template: Rendered };
      expect(template.metadata.labels).toMatchObject(config.operatorLabels);
      expect(config).toMatchObject({ workerImage: 'millrace/inference-pod:0.1.0', syncPort: 9443, caSecret: { create: true }, logLevel: 'info' });
    }
  });

  it('takes an image by digest before its tag', async () => {
    const digest = `sha256:${'0'.repeat(64)}`;
    const objects = await render({ image: { digest }, workerImage: { repository: 'r/w', tag: 'v9' } });
    expect(JSON.stringify(one(objects, 'Deployment'))).toContain(`millrace/operator@${digest}`);
    expect((await configOf(objects)).workerImage).toBe('r/w:v9');
  });

  it('hands over an existing Secret instead of having one made, with no right to write it', async () => {
    const objects = await render({ sync: { existingSecret: 'corporate-ca' } });
    expect((await configOf(objects)).caSecret).toEqual({ name: 'corporate-ca', create: false });
    const secrets = one(objects, 'Role').rules?.filter(({ resources }) => resources.includes('secrets'));
    expect(secrets).toEqual([{ apiGroups: [''], resources: ['secrets'], resourceNames: ['corporate-ca'], verbs: ['get'] }]);
  });

  it('gives the operator in its own namespace the rights of the table of kinds, by name where RBAC can', async () => {
    const objects = await render();
    const flat = (rules: Rendered['rules']): string[] =>
      [...new Set((rules ?? []).flatMap(({ apiGroups, resources, verbs }) => verbs.map((verb) => `${apiGroups[0]} ${resources[0]} ${verb}`)))].sort();
    const { rules } = one(objects, 'Role');
    expect(flat(rules)).toEqual(flat(releaseRules()));
    const unnamed = (rules ?? []).filter(({ resourceNames }) => resourceNames === undefined).flatMap(({ resources, verbs }) => verbs.map((verb) => `${resources[0]} ${verb}`));
    expect(unnamed.filter((right) => !right.endsWith(' create') && !right.startsWith('endpointslices'))).toEqual([]);
  });

  it('runs the operator confined: not root, nothing to write, no capabilities, bounded', async () => {
    const { template } = one(await render(), 'Deployment').spec as { template: { spec: { securityContext: object; containers: object[] } } };
    const pod = template.spec;
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: 'RuntimeDefault' } });
    expect(pod.containers[0]).toMatchObject({
      securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
      resources: { requests: { cpu: '100m' }, limits: { memory: '512Mi' } },
    });
  });

  it('keeps the CRDs at uninstall unless told otherwise, and leaves them out when told so', async () => {
    const crds = async (values: object): Promise<Rendered[]> => (await render(values)).filter(({ kind }) => kind === 'CustomResourceDefinition');
    for (const { metadata } of await crds({})) expect(metadata.annotations).toMatchObject({ 'helm.sh/resource-policy': 'keep' });
    expect((await crds({})).map(({ metadata }) => metadata.name).sort()).toEqual(['batchjobs.millrace.dev', 'tenants.millrace.dev']);
    for (const { metadata } of await crds({ crds: { keep: false } })) expect(metadata.annotations).not.toHaveProperty('helm.sh/resource-policy');
    expect(await crds({ crds: { enabled: false } })).toEqual([]);
  });

  it('has a disruption budget only with more than one replica', async () => {
    one(await render(), 'PodDisruptionBudget');
    expect((await render({ replicas: 1 })).map(({ kind }) => kind)).not.toContain('PodDisruptionBudget');
  });

  it('leaves the sync Service without a selector: the leader writes its EndpointSlice', async () => {
    expect(one(await render(), 'Service', 'millrace-sync').spec).not.toHaveProperty('selector');
  });

  it('refuses a mistyped value by name', async () => {
    await expect(render({ replica: 3 })).rejects.toThrow(/replica/);
  });
});
