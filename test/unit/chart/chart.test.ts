import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { load } from 'js-yaml';
import { describe, expect, it } from 'vitest';
import { clusterRules } from '../../../operator/kube/kinds.ts';

type Json = { [key: string]: unknown };
const chart = join(import.meta.dirname, '../../../charts/millrace');
const read = (path: string): string => readFileSync(join(chart, path), 'utf8');
const values = load(read('values.yaml')) as Json;
const schema = JSON.parse(read('values.schema.json')) as Json;

describe('the values', () => {
  it('fit their own schema', () => {
    const validate = new Ajv({ strict: false, allErrors: true }).compile(schema);
    expect(validate(values) ? [] : validate.errors).toEqual([]);
  });

  it('are all known to the schema, which knows no other, and each is described', () => {
    const walk = (given: Json, known: Json, path: string): string[] => {
      const properties = known['properties'] as Record<string, Json>;
      const faults = [...new Set([...Object.keys(given), ...Object.keys(properties)])].filter((key) => path + key !== 'global' && (!(key in given) || !(key in properties)));
      return [
        ...faults.map((key) => path + key),
        ...Object.entries(properties).flatMap(([key, node]) => [
          ...(typeof node['description'] === 'string' ? [] : [`${path}${key} (description)`]),
          ...(node['properties'] === undefined ? [] : walk(given[key] as Json, node, `${path}${key}.`)),
        ]),
      ];
    };
    expect(walk(values, schema, '')).toEqual([]);
  });

  it('with a mistyped name are refused', () => {
    const validate = new Ajv({ strict: false }).compile(schema);
    expect(validate({ replica: 2 })).toBe(false);
    expect(validate({ image: { repository: 'a', digests: '' } })).toBe(false);
    expect(validate({ sync: { port: 8080 } })).toBe(false);
    expect(validate({ image: { repository: 'a', digest: 'sha256:1' } })).toBe(false);
  });

  it('are all read by a template', () => {
    const templates = readdirSync(join(chart, 'templates'), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(yaml|tpl|txt)$/.test(name))
      .map((name) => read(join('templates', name)))
      .join('\n');
    const leaves = (node: unknown, path: string): string[] =>
      typeof node === 'object' && node !== null && !Array.isArray(node) && Object.keys(node).length > 0
        ? Object.entries(node).flatMap(([key, value]) => leaves(value, `${path}.${key}`))
        : [path];
    const isRead = (path: string): boolean => {
      const parts = path.split('.');
      if (templates.includes(`Values${path}`)) return true;
      // Images and resources are handed on whole.
      return parts.length > 2 && /^\.(image|workerImage|resources)\b/.test(path) && templates.includes(`.Values.${parts[1]}`);
    };
    expect(leaves(values, '').filter((path) => !isRead(path))).toEqual([]);
  });
});

describe("the operator's ClusterRole", () => {
  const rules = load(read('files/cluster-rules.yaml')) as { verbs: string[]; resources: string[]; apiGroups: string[] }[];

  it('is what the table of kinds says', () => {
    expect(rules).toEqual(clusterRules());
  });

  it('has no wildcard and none of escalate, bind and impersonate', () => {
    const words = rules.flatMap(({ verbs, resources, apiGroups }) => [...verbs, ...resources, ...apiGroups]);
    expect(words.filter((word) => /[*]|^(escalate|bind|impersonate)$/.test(word))).toEqual([]);
  });
});
