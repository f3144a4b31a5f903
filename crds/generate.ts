/**
 * Makes everything that follows from crds/*.yaml (types in operator/api/*.gen.ts, the chart's copies of the CRDs), from
 * config/operator.schema.json (operator/config.gen.ts) and from the table of kinds (rules of the chart's ClusterRole).
 * `--check` writes nothing and fails when a file is not what would be written.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { compile } from 'json-schema-to-typescript';
import { dump, load } from 'js-yaml';
import { clusterRules } from '../operator/kube/kinds.ts';

type Schema = { [key: string]: unknown };
interface Crd {
  metadata: { name: string; annotations?: Record<string, string> };
  spec: { group: string; names: { kind: string }; versions: { name: string; schema: { openAPIV3Schema: Schema } }[] };
}

const root = join(import.meta.dirname, '..');
const check = process.argv.includes('--check');

const HEADER = 'made by `npm run generate`; change that one instead';
const KEEP = '  annotations:\n    {{- if .Values.crds.keep }}\n    helm.sh/resource-policy: keep\n    {{- end }}\n';

const KEYWORDS = new Set(
  `title type description properties items additionalProperties required enum default nullable format pattern minimum maximum
  minLength maxLength minItems maxItems minProperties maxProperties anyOf x-kubernetes-int-or-string x-kubernetes-validations
  x-kubernetes-list-type x-kubernetes-list-map-keys x-kubernetes-map-type x-kubernetes-preserve-unknown-fields`.split(/\s+/),
);

const STYLE = {
  additionalProperties: false,
  ignoreMinAndMaxItems: true,
  style: { singleQuote: true, printWidth: 120, bracketSpacing: true },
};

const wanted = new Map<string, string>();
for (const file of readdirSync(import.meta.dirname).filter((name) => name.endsWith('.yaml')).sort()) {
  try {
    const crd = load(readFileSync(join(import.meta.dirname, file), 'utf8')) as Crd;
    wanted.set(`operator/api/${file.replace('.yaml', '.gen.ts')}`, await types(crd, file));
    wanted.set(`charts/millrace/templates/crds/${file}`, chartCopy(crd, file));
  } catch (error) {
    console.error(`crds/${file}: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}

wanted.set('operator/config.gen.ts', await configTypes());
wanted.set('charts/millrace/files/cluster-rules.yaml', `# From operator/kube/kinds.ts, ${HEADER}.\n${dump(clusterRules(), { flowLevel: 2 })}`);

let stale = 0;
for (const [path, text] of wanted) {
  const full = join(root, path);
  if (stored(full) === text) continue;
  if (check) {
    stale += 1;
    console.error(`${relative(process.cwd(), full)} is not what its source says: run "npm run generate" and commit the result`);
    continue;
  }
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, text);
  console.log(`wrote ${relative(process.cwd(), full)}`);
}
if (stale > 0) process.exitCode = 1;

function stored(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function types(crd: Crd, file: string): Promise<string> {
  const { kind } = crd.spec.names;
  const version = crd.spec.versions[0];
  if (version === undefined) throw new Error('spec.versions is empty');
  const source = version.schema.openAPIV3Schema as { properties: { metadata: Schema } };
  const foreign = Object.keys(source.properties.metadata).find((key) => key !== 'type' && key !== 'properties');
  if (foreign !== undefined) throw new Error(`the API server refuses "${foreign}" in the schema of metadata`);
  const schema = typed(source, kind);
  const properties = schema['properties'] as Record<string, Schema>;
  properties['apiVersion'] = { ...properties['apiVersion'], tsType: `'${crd.spec.group}/${version.name}'` };
  properties['kind'] = { ...properties['kind'], tsType: `'${kind}'` };
  properties['metadata'] = { tsType: 'ObjectMeta' };
  schema['required'] = ['apiVersion', 'kind', 'metadata', ...((schema['required'] as string[] | undefined) ?? [])];
  return await compile(schema as Parameters<typeof compile>[0], kind, {
    ...STYLE,
    bannerComment: [
      `// From crds/${file}, ${HEADER}.`,
      '// Fields with a default are required here: the API server and parse.ts fill them in.',
      "import type { ObjectMeta } from '../kube/object.ts';",
      ...(JSON.stringify(schema).includes('"tsType":"Condition[]"') ? ["import type { Condition } from './conditions.ts';"] : []),
    ].join('\n'),
  });
}

async function configTypes(): Promise<string> {
  const schema = JSON.parse(readFileSync(join(root, 'config/operator.schema.json'), 'utf8')) as Schema;
  return await compile(requireDefaulted(schema) as Parameters<typeof compile>[0], 'OperatorFile', {
    ...STYLE,
    bannerComment: `// From config/operator.schema.json, ${HEADER}.\n// Fields with a default are required here: config.ts fills them in.`,
  });
}

function requireDefaulted(schema: Schema): Schema {
  const properties = schema['properties'] as Record<string, Schema> | undefined;
  if (properties === undefined) return schema;
  const defaulted = Object.keys(properties).filter((key) => properties[key]?.['default'] !== undefined);
  return {
    ...schema,
    required: [...((schema['required'] as string[] | undefined) ?? []), ...defaulted],
    properties: Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, requireDefaulted(value)])),
  };
}

/** The API server drops keywords that it does not know without a word; most often one is a text with an unquoted comma. */
function onlyKeywords(schema: Schema, name: string): void {
  const unknown = Object.keys(schema).find((key) => !KEYWORDS.has(key));
  if (unknown !== undefined) throw new Error(`${name}: "${unknown}" is no keyword of a CRD schema; is a text with a comma unquoted?`);
}

/**
 * The schema in words that json-schema-to-typescript knows. Objects get a title, from which it makes the name of an
 * interface: the kind and the path, without `Spec` in it, in the singular for items; or the title that the YAML gives.
 */
function typed(schema: Schema, name: string): Schema {
  onlyKeywords(schema, name);
  const description = schema['description'];
  if (schema['x-kubernetes-int-or-string'] === true) return { description, anyOf: [{ type: 'integer' }, { type: 'string' }] };
  const properties = schema['properties'] as Record<string, Schema> | undefined;
  const items = schema['items'] as Schema | undefined;
  const values = schema['additionalProperties'] as Schema | undefined;
  const out: Schema = { type: schema['type'], description };
  if (schema['enum'] !== undefined) out['enum'] = schema['enum'];
  if (items !== undefined) out['items'] = typed(items, name.replace(/(?<=[^s])s$/, ''));
  if (typeof values === 'object') out['additionalProperties'] = typed(values, name);
  if (properties !== undefined) {
    out['title'] = schema['title'] ?? name;
    out['required'] = [
      ...((schema['required'] as string[] | undefined) ?? []),
      ...Object.keys(properties).filter((key) => properties[key]?.['default'] !== undefined),
    ];
    out['properties'] = Object.fromEntries(
      Object.entries(properties).map(([key, value]) => [
        key,
        key === 'conditions'
          ? { description: value['description'], tsType: 'Condition[]' }
          : typed(value, (name.endsWith('Spec') ? name.slice(0, -4) : name) + key.charAt(0).toUpperCase() + key.slice(1)),
      ]),
    );
  }
  return out;
}

function chartCopy(crd: Crd, file: string): string {
  const yaml = dump(crd, { lineWidth: 120, noRefs: true }).replaceAll('{{', '{{ "{{" }}');
  const digest = createHash('sha256').update(JSON.stringify(crd.spec)).digest('hex').slice(0, 16);
  const annotated = yaml.replace(/^metadata:\n/m, `metadata:\n${KEEP}    millrace.dev/schema-digest: '${digest}'\n`);
  return `# From crds/${file}, ${HEADER}.\n{{- if .Values.crds.enabled }}\n${annotated}{{- end }}\n`;
}
