import { randomUUID } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { type CgroupLimits, readCgroupLimits } from './cgroup.ts';
import { type EmbeddingSpec, env, type S3Place, type WorkerId, type WorkerSpec } from './contract.ts';
import { FatalError } from './fatal.ts';
import { pathFault } from './paths.ts';
import type { SyncTarget } from './sync-client.ts';

export interface Config {
  spec: WorkerSpec;
  worker: WorkerId;
  sync: SyncTarget;
  /** Whole CPUs that the process may use; what is left over of a limit goes to reading, writing and the sync. */
  cpus: number;
  /** Memory limit; absent where there is none. */
  memoryBytes: number | undefined;
  /** 0: no health server. */
  healthPort: number;
}

/** For the parts of start and end that must work with a bad configuration too. */
export interface EarlyConfig {
  logLevel: string;
  terminationLog: string | undefined;
}

const mostMillis = 999_999_999;

export type Environment = Readonly<Record<string, string | undefined>>;

const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

export function readEarlyConfig(environment: Environment = process.env): EarlyConfig {
  const level = environment[env.logLevel] ?? '';
  return { logLevel: levels.includes(level) ? level : 'info', terminationLog: environment[env.terminationLog] || undefined };
}

/** Throws FatalError SpecInvalid with one sentence: which variable or field, what came, what was expected. */
export function readConfig(environment: Environment = process.env, limits: CgroupLimits = readCgroupLimits()): Config {
  const spec = readSpec(required(environment, env.spec));
  const url = required(environment, env.syncUrl);
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw invalid(`${env.syncUrl} is "${url}", expected a URL such as https://millrace-sync.millrace-system.svc:9443`);
  }
  const ca = environment[env.syncCa] || undefined;
  const tokenFile = environment[env.tokenFile] || undefined;
  return {
    spec,
    worker: {
      job: spec.job.uid,
      slot: wholeNumber(environment, env.slot, 0),
      attempt: wholeNumber(environment, env.attempt, 0),
      incarnation: randomUUID(),
    },
    sync: { url, ...(ca === undefined ? {} : { ca }), ...(tokenFile === undefined ? {} : { tokenFile }) },
    cpus: cpusOf(environment, limits),
    memoryBytes: limits.memoryBytes,
    healthPort: wholeNumber(environment, env.healthPort, 0),
  };
}

/** Whole CPUs of the least limit, and one at least. */
export function cpusOf(environment: Environment, limits: CgroupLimits): number {
  return Math.max(1, Math.floor(Math.min(wholeNumber(environment, env.cpuMillis, mostMillis), limits.cpuMillis ?? mostMillis, availableParallelism() * 1_000) / 1_000));
}

export function required(environment: Environment, name: string): string {
  const value = environment[name];
  if (value === undefined || value === '') throw invalid(`${name} is not set`);
  return value;
}

export function wholeNumber(environment: Environment, name: string, otherwise: number): number {
  const text = environment[name];
  if (text === undefined || text === '') return otherwise;
  if (!/^\d{1,9}$/.test(text)) throw invalid(`${name} is "${text}", expected a whole number`);
  return Number(text);
}

function readSpec(text: string): WorkerSpec {
  const read = parseObject(env.spec, text);
  const job = read.object('job');
  const model = read.object('model');
  const input = read.object('input');
  const output = read.object('output');
  const sharding = read.object('sharding');
  const batching = read.object('batching');
  const task = model.oneOf('task', ['tensors', 'text-embedding']);
  const format = input.oneOf('format', ['jsonl', 'csv', 'openai-batch']);
  if (format === 'openai-batch' && task !== 'text-embedding') throw invalid(`${env.spec}: input.format is "${format}", which goes with model.task "text-embedding", got "${task}"`);
  if (model.has('embedding') !== (task === 'text-embedding')) throw invalid(`${env.spec}: model.embedding goes with model.task "text-embedding" alone, got "${task}" ${model.has('embedding') ? 'with' : 'without'} it`);
  return {
    // The UID names a folder.
    job: { uid: job.text('uid', /^[A-Za-z0-9][A-Za-z0-9-]{0,127}$/, 'letters, digits and "-"'), namespace: job.text('namespace'), name: job.text('name') },
    model: {
      root: model.root(),
      path: model.path(),
      task,
      accelerator: model.oneOf('accelerator', ['auto', 'cuda', 'cpu']),
      ...(model.has('embedding') ? { embedding: readEmbedding(model.object('embedding')) } : {}),
    },
    input: {
      format,
      ...(input.has('bucket')
        ? { ...s3Place(input), key: input.text('key'), additionalKeys: input.texts('additionalKeys') }
        : { root: input.root(), path: input.path(), additionalPaths: input.paths('additionalPaths') }),
    },
    output: { overwrite: output.truth('overwrite'), ...(output.has('bucket') ? { ...s3Place(output), prefix: output.text('prefix', /^$|\/$/, 'nothing, or text that ends with "/"') } : { root: output.root(), path: output.path() }) },
    sharding: { targetBytes: sharding.positive('targetBytes'), maxWorkers: sharding.positive('maxWorkers') },
    batching: { maxSize: batching.positive('maxSize'), timeoutSeconds: batching.positive('timeoutSeconds'), ...batching.positiveIfAny('maxTokens') },
  };
}

export function parseObject(name: string, text: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid(`${name} is not valid JSON`);
  }
  return new Fields(value, name);
}

function readEmbedding(read: Fields): EmbeddingSpec {
  return {
    ...(read.has('pooling') ? { pooling: read.oneOf('pooling', ['mean', 'cls']) } : {}),
    ...(read.has('normalize') ? { normalize: read.truth('normalize') } : {}),
    truncate: read.truth('truncate'),
    ...read.positiveIfAny('maxSequenceLength'),
    ...(read.has('prompt') ? { prompt: read.text('prompt', /^/) } : {}),
  };
}

function s3Place(read: Fields): S3Place {
  return {
    bucket: read.text('bucket'),
    region: read.text('region'),
    pathStyle: read.truth('pathStyle'),
    ...(read.has('endpoint') ? { endpoint: read.text('endpoint', /^https?:\/\/[^/]+\/?$/, 'a URL such as http://s3.example:9000') } : {}),
  };
}

/** Reads fields of an object of unknown shape; each fault names the field by its full path. */
export class Fields {
  readonly #where: string;
  readonly #value: Record<string, unknown>;

  constructor(value: unknown, where: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(`${where} is ${show(value)}, expected an object`);
    this.#value = value as Record<string, unknown>;
    this.#where = where;
  }

  has(name: string): boolean {
    return this.#value[name] !== undefined;
  }

  object(name: string): Fields {
    return new Fields(this.#value[name], `${this.#where}: ${name}`);
  }

  /** Absent is the same as empty. */
  objectIfAny(name: string): Fields {
    return new Fields(this.#value[name] ?? {}, `${this.#where}: ${name}`);
  }

  textOr(name: string, otherwise: string, pattern: RegExp, expected: string): string {
    return this.#value[name] === undefined ? otherwise : this.text(name, pattern, expected);
  }

  text(name: string, pattern = /./, expected = 'text'): string {
    const value = this.#value[name];
    return typeof value === 'string' && pattern.test(value) ? value : this.#refuse(name, expected);
  }

  oneOf<const T extends string>(name: string, allowed: readonly T[]): T {
    return allowed.find((one) => one === this.#value[name]) ?? this.#refuse(name, allowed.map((one) => `"${one}"`).join(' or '));
  }

  root(): string {
    return this.text('root', /^\/[^\0]*$/, 'an absolute path');
  }

  path(): string {
    return this.#checkPath('path', this.#value['path']);
  }

  texts(name: string): string[] {
    const list = this.#value[name];
    return Array.isArray(list) && list.every((one) => typeof one === 'string' && one !== '') ? (list as string[]) : this.#refuse(name, 'a list of texts');
  }

  paths(name: string): string[] {
    const list = this.#value[name];
    if (!Array.isArray(list)) return this.#refuse(name, 'a list of paths');
    return list.map((path: unknown, index) => this.#checkPath(`${name}[${index}]`, path));
  }

  #checkPath(name: string, path: unknown): string {
    if (typeof path !== 'string') throw invalid(`${this.#where}.${name} is ${show(path)}, expected text`);
    const fault = pathFault(path);
    if (fault !== undefined) throw invalid(`${this.#where}.${name} is ${show(path)}: ${fault}`);
    return path;
  }

  truth(name: string): boolean {
    const value = this.#value[name];
    return typeof value === 'boolean' ? value : this.#refuse(name, 'true or false');
  }

  positive(name: string): number {
    const value = this.#value[name];
    return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : this.#refuse(name, 'a whole number above 0');
  }

  positiveOr(name: string, otherwise: number): number {
    return this.#value[name] === undefined ? otherwise : this.positive(name);
  }

  wholeOr(name: string, otherwise: number): number {
    const value = this.#value[name];
    if (value === undefined) return otherwise;
    return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : this.#refuse(name, 'a whole number');
  }

  positiveIfAny<const T extends string>(name: T): { [key in T]?: number } {
    return (this.#value[name] === undefined ? {} : { [name]: this.positive(name) }) as { [key in T]?: number };
  }

  #refuse(name: string, expected: string): never {
    throw invalid(`${this.#where}.${name} is ${show(this.#value[name])}, expected ${expected}`);
  }
}

function show(value: unknown): string {
  return value === undefined ? 'missing' : JSON.stringify(value).slice(0, 100);
}

export function invalid(message: string): FatalError {
  return new FatalError('SpecInvalid', message);
}
