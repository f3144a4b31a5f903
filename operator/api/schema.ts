import { isIP } from 'node:net';
import type { Ajv, ErrorObject } from 'ajv';

/** A JSON Schema, or the structural schema of a CRD. */
export interface Schema {
  properties?: Record<string, Schema>;
  items?: Schema;
  additionalProperties?: Schema | boolean;
  [keyword: string]: unknown;
}

/** The same schema, in which objects with named properties take no others (the API server prunes or refuses them). */
export function closed(schema: Schema): Schema {
  const out: Schema = { ...schema };
  if (out['x-kubernetes-int-or-string'] === true) delete out['anyOf'];
  if (out.items !== undefined) out.items = closed(out.items);
  if (typeof out.additionalProperties === 'object') out.additionalProperties = closed(out.additionalProperties);
  if (out.properties !== undefined) {
    out.properties = Object.fromEntries(Object.entries(out.properties).map(([key, value]) => [key, closed(value)]));
    if (out.additionalProperties === undefined && out['x-kubernetes-preserve-unknown-fields'] !== true) out.additionalProperties = false;
  }
  return out;
}

/** Teaches ajv the keywords and formats of structural schemas. Rules in CEL are taken as notes. */
export function addKubernetesFormats(ajv: Ajv): void {
  ajv.addVocabulary([
    'x-kubernetes-validations',
    'x-kubernetes-list-type',
    'x-kubernetes-list-map-keys',
    'x-kubernetes-map-type',
    'x-kubernetes-preserve-unknown-fields',
  ]);
  ajv.addKeyword({
    keyword: 'x-kubernetes-int-or-string',
    schemaType: 'boolean',
    macro: (on: boolean) => (on ? { type: ['integer', 'string'] } : {}),
  });
  ajv.addFormat('int32', { type: 'number', validate: (n: number) => Number.isInteger(n) && Math.abs(n) <= 2 ** 31 });
  ajv.addFormat('int64', { type: 'number', validate: Number.isInteger });
  ajv.addFormat('date-time', (text: string) => /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/.test(text) && !Number.isNaN(Date.parse(text)));
  ajv.addFormat('cidr', isCidr);
}

function isCidr(text: string): boolean {
  const [address = '', bits = '', ...rest] = text.split('/');
  const family = isIP(address);
  return family !== 0 && rest.length === 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128);
}

/** ajv's errors as sentences: where, what came, what was expected. At most 20, each at most 400 characters. */
export function sentences(errors: readonly ErrorObject[], value: unknown): string[] {
  const told = new Set<string>();
  for (const error of errors) {
    const sentence = tell(error, value);
    if (sentence !== undefined) told.add(sentence);
  }
  const all = [...told];
  return all.length <= 20 ? all : [...all.slice(0, 20), `and ${all.length - 20} more`];
}

function tell(error: ErrorObject, value: unknown): string | undefined {
  const path = dotted(error.instancePath);
  const params = error.params as Record<string, unknown>;
  switch (error.keyword) {
    case 'additionalProperties':
      return `${join(path, String(params['additionalProperty']))}: unknown field`;
    case 'required':
      return `${join(path, String(params['missingProperty']))}: required`;
    case 'x-kubernetes-int-or-string':
      return undefined;
    default:
      return `${path || 'the document'}: got ${shown(at(error.instancePath, value))}, ${expected(error, params)}`.slice(0, 400);
  }
}

function expected(error: ErrorObject, params: Record<string, unknown>): string {
  switch (error.keyword) {
    case 'type':
      return `must be ${[params['type']].flat().map(article).join(' or ')}`;
    case 'enum':
      return `must be ${(params['allowedValues'] as unknown[]).join(', ').replace(/, ([^,]*)$/, ' or $1')}`;
    case 'minimum':
    case 'maximum':
      return `must be ${String(params['comparison'])} ${String(params['limit'])}`;
    case 'minLength':
    case 'maxLength':
      return `must be at ${error.keyword === 'minLength' ? 'least' : 'most'} ${String(params['limit'])} characters long`;
    case 'minItems':
    case 'maxItems':
      return `must have at ${error.keyword === 'minItems' ? 'least' : 'most'} ${String(params['limit'])} items`;
    case 'minProperties':
    case 'maxProperties':
      return `must have at ${error.keyword === 'minProperties' ? 'least' : 'most'} ${String(params['limit'])} fields`;
    case 'format':
      return `must be ${FORMATS[String(params['format'])] ?? `a ${String(params['format'])}`}`;
    case 'pattern':
      return String(params['pattern']).includes('[KMGTPE]i')
        ? 'must be a quantity such as 500m, 2 or 8Gi'
        : `must match ${String(params['pattern'])}`;
    default:
      return error.message ?? error.keyword;
  }
}

const FORMATS: Record<string, string> = {
  'date-time': 'a time such as 2026-12-01T06:00:00Z',
  cidr: 'an address block such as 10.0.0.0/8',
  int32: 'a whole number of 32 bits',
  int64: 'a whole number',
};

const article = (type: unknown): string => (/^[aeiou]/.test(String(type)) ? `an ${String(type)}` : `a ${String(type)}`);

function shown(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}

function at(pointer: string, value: unknown): unknown {
  return steps(pointer).reduce<unknown>(
    (node, key) => (typeof node === 'object' && node !== null ? (node as Record<string, unknown>)[key] : undefined),
    value,
  );
}

const steps = (pointer: string): string[] =>
  pointer.split('/').slice(1).map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));

const dotted = (pointer: string): string => steps(pointer).reduce(join, '');

function join(path: string, key: string): string {
  if (/^\d+$/.test(key)) return `${path}[${key}]`;
  if (!/^[\w-]+$/.test(key)) return `${path}["${key}"]`;
  return path === '' ? key : `${path}.${key}`;
}
