import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv, type ValidateFunction } from 'ajv';
import { load } from 'js-yaml';
import type { BatchJob } from './batchjob.gen.ts';
import { addKubernetesFormats, closed, type Schema, sentences } from './schema.ts';
import type { Tenant } from './tenant.gen.ts';

/** Problems are sentences such as `spec.workers.max: got 0, must be >= 1`, in the order of the document. */
export type Parsed<T> = { ok: true; value: T } | { ok: false; problems: string[] };

/**
 * Checks JSON against the schema in crds/*.yaml, fills in its defaults and refuses unknown fields, as
 * `kubectl --validate=strict` does. CEL rules are left to the API server. The value is a copy; what came in is untouched.
 */
export const parseTenant = (json: unknown): Parsed<Tenant> => parse<Tenant>('tenant', json);
export const parseBatchJob = (json: unknown): Parsed<BatchJob> => parse<BatchJob>('batchjob', json);

interface Crd {
  spec: { group: string; names: { kind: string }; versions: { name: string; schema: { openAPIV3Schema: Schema } }[] };
}

const compiled = new Map<string, ValidateFunction>();

function parse<T>(name: 'tenant' | 'batchjob', json: unknown): Parsed<T> {
  const validate = compiled.get(name) ?? compile(name);
  compiled.set(name, validate);
  const value: unknown = structuredClone(json);
  return validate(value) ? { ok: true, value: value as T } : { ok: false, problems: sentences(validate.errors ?? [], value) };
}

function compile(name: string): ValidateFunction {
  const crd = load(readFileSync(join(import.meta.dirname, '../../crds', `${name}.yaml`), 'utf8')) as Crd;
  const version = crd.spec.versions[0];
  if (version === undefined) throw new Error(`crds/${name}.yaml has no version`);
  const schema = version.schema.openAPIV3Schema;
  const required = ['apiVersion', 'kind', 'metadata', ...((schema.required as string[] | undefined) ?? [])];
  const properties = {
    ...schema.properties,
    apiVersion: { type: 'string', enum: [`${crd.spec.group}/${version.name}`] },
    kind: { type: 'string', enum: [crd.spec.names.kind] },
    metadata: { type: 'object', required: ['name'], properties: { name: { type: 'string', minLength: 1 } }, additionalProperties: true },
  };
  const ajv = new Ajv({ allErrors: true, useDefaults: true, strictTypes: false, allowUnionTypes: true });
  addKubernetesFormats(ajv);
  return ajv.compile(closed({ ...schema, required, properties }));
}
