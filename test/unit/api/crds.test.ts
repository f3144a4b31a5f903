import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';
import { describe, expect, it } from 'vitest';
import type { Schema } from '../../../operator/api/schema.ts';

interface Crd {
  spec: { names: { kind: string }; versions: { subresources?: { status?: object }; additionalPrinterColumns?: { name: string }[]; schema: { openAPIV3Schema: Schema } }[] };
}

const folder = join(import.meta.dirname, '../../../crds');
const crds = readdirSync(folder)
  .filter((name) => name.endsWith('.yaml'))
  .map((name) => [name, load(readFileSync(join(folder, name), 'utf8')) as Crd] as const);

/** Characters that an object of the schema may take at most, as far as the schema bounds it. */
function most(node: Schema): number {
  const { type, properties = {}, items, maxItems = 0, maxLength = 0, format } = node as Schema & { maxItems?: number; maxLength?: number; format?: string };
  if (items !== undefined) return 2 + maxItems * (1 + most(items));
  if (type === 'object') return Object.entries(properties).reduce((sum, [key, value]) => sum + key.length + 4 + most(value), 2);
  return type === 'string' ? 2 + (format === 'date-time' ? 32 : Math.max(maxLength, 32)) : 24;
}

/** Every node below the root, but metadata, of which the API server allows no description. */
function nodes(schema: Schema, path = ''): [string, Schema][] {
  const below: [string, Schema][] = [
    ...Object.entries(schema.properties ?? {}).map(([key, value]): [string, Schema] => [`${path}.${key}`, value]),
    ...(schema.items === undefined ? [] : [[`${path}[]`, schema.items] as [string, Schema]]),
    ...(typeof schema.additionalProperties === 'object' ? [[`${path}{}`, schema.additionalProperties] as [string, Schema]] : []),
  ];
  return below.filter(([name]) => name !== '.metadata').flatMap(([name, node]) => [[name, node] as [string, Schema], ...nodes(node, name)]);
}

const offenders = (crd: Crd, wrong: (node: Schema, path: string) => boolean): string[] =>
  nodes(crd.spec.versions[0]!.schema.openAPIV3Schema)
    .filter(([path, node]) => wrong(node, path))
    .map(([path]) => path);

describe.each(crds)('%s', (_name, crd) => {
  const version = crd.spec.versions[0]!;

  it('describes every field in a sentence, so that kubectl explain has no gaps', () => {
    expect(version.schema.openAPIV3Schema['description']).toMatch(/\.$/);
    expect(offenders(crd, (node) => typeof node['description'] !== 'string' || !/[.…]$/.test(node['description'].trim()))).toEqual([]);
  });

  it('bounds every list, map and text of the spec, which CEL costs and etcd need', () => {
    expect(
      offenders(crd, (node, path) => {
        if (!path.startsWith('.spec') && !path.startsWith('.status')) return false;
        if (node['x-kubernetes-int-or-string'] === true) return node['maxLength'] === undefined;
        if (node['type'] === 'array') return node['maxItems'] === undefined;
        if (node['type'] === 'string') return node['maxLength'] === undefined && node['enum'] === undefined && node['format'] !== 'date-time';
        return typeof node.additionalProperties === 'object' && node['maxProperties'] === undefined;
      }),
    ).toEqual([]);
  });

  it('gives every list a merge type, because it can hardly be changed later', () => {
    expect(offenders(crd, (node) => node['type'] === 'array' && node['x-kubernetes-list-type'] === undefined)).toEqual([]);
  });

  it('has a sentence as message of every rule', () => {
    const rules = [['', version.schema.openAPIV3Schema] as const, ...nodes(version.schema.openAPIV3Schema)].flatMap(
      ([, node]) => (node['x-kubernetes-validations'] as { rule: string; message?: string }[] | undefined) ?? [],
    );
    expect(rules.length).toBeGreaterThan(0);
    for (const { message } of rules) expect(message).toMatch(/^\S+( \S+){3,}[^.]$/);
  });

  it('has a status subresource and shows State first and Age among at most eight columns', () => {
    expect(version.subresources?.status).toBeDefined();
    const columns = (version.additionalPrinterColumns ?? []).filter((column) => !('priority' in column)).map(({ name }) => name);
    expect(columns[0]).toBe('State');
    expect(columns.at(-1)).toBe('Age');
    expect(columns.length).toBeLessThanOrEqual(8);
  });
});

it('keeps the largest status well below the 1.5 MiB that etcd takes, with room for every other of 10,000 shards', () => {
  const [, batchjob] = crds.find(([name]) => name === 'batchjob.yaml') as (typeof crds)[number];
  const status = batchjob.spec.versions[0]?.schema.openAPIV3Schema.properties?.['status'] as Schema;
  expect(most(status)).toBeLessThan(0.75 * 1024 * 1024);
  const worst = Array.from({ length: 5_000 }, (_, index) => index * 2).join(',');
  const completed = status.properties?.['shards']?.properties?.['completed'] as (Schema & { maxLength?: number }) | undefined;
  expect(worst.length).toBeLessThan(completed?.maxLength ?? 0);
});
