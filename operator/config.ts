import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Ajv } from 'ajv';
import { load } from 'js-yaml';
import { sentences } from './api/schema.ts';
import schema from '../config/operator.schema.json' with { type: 'json' };
import type { OperatorFile } from './config.gen.ts';

/** The file's settings, and who and where this process is (from the downward API). */
export interface OperatorConfig extends OperatorFile {
  /** Namespace of the operator: POD_NAMESPACE. */
  namespace: string;
  /** Identity in the leader election: POD_NAME. */
  podName: string;
  /** Address at which workers reach this replica: POD_IP. */
  podIP: string;
}

/** A setting that is missing or wrong. The message says where and what to do. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}

/** Reads the file that `--config` or MILLRACE_CONFIG names. Throws ConfigError with all that is wrong. */
export function loadConfig(args: readonly string[], env: Readonly<Record<string, string | undefined>>): OperatorConfig {
  const path = configPath(args) ?? env['MILLRACE_CONFIG'];
  if (path === undefined || path === '') throw new ConfigError('No configuration: give --config <file> or set MILLRACE_CONFIG.');
  const value = read(path);
  const validate = new Ajv({ allErrors: true, useDefaults: true, strictTypes: false }).compile<OperatorFile>(schema);
  const problems = validate(value) ? [] : sentences(validate.errors ?? [], value);
  if (problems.length > 0) throw new ConfigError(`Configuration ${path}: ${problems.join('; ')}.`);
  return {
    ...(value as OperatorFile),
    namespace: variable(env, 'POD_NAMESPACE'),
    podName: variable(env, 'POD_NAME'),
    podIP: variable(env, 'POD_IP'),
  };
}

function configPath(args: readonly string[]): string | undefined {
  try {
    return parseArgs({ args: [...args], options: { config: { type: 'string' } } }).values.config;
  } catch (error) {
    throw new ConfigError(`Arguments: ${(error as Error).message}. Only --config <file> is known.`);
  }
}

function read(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError(`Configuration ${path} cannot be read: ${(error as Error).message}.`);
  }
  try {
    return text.trim() === '' ? {} : load(text);
  } catch (error) {
    throw new ConfigError(`Configuration ${path} is no YAML: ${(error as Error).message.split('\n', 1)[0] ?? ''}.`);
  }
}

function variable(env: Readonly<Record<string, string | undefined>>, name: string): string {
  const value = env[name];
  if (value === undefined || value === '') throw new ConfigError(`Environment variable ${name} is not set; the chart sets it from the pod's own fields.`);
  return value;
}
