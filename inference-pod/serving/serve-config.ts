import { type CgroupLimits, readCgroupLimits } from '../cgroup.ts';
import { cpusOf, type Environment, invalid, parseObject, required, wholeNumber } from '../config.ts';
import { env } from '../contract.ts';
import type { ServeSpec } from './serve-spec.ts';

type Whole<T> = { [key in keyof T]-?: T[key] extends object | undefined ? Whole<NonNullable<T[key]>> : NonNullable<T[key]> };

export interface ServeConfig {
  /** With all defaults filled in. */
  spec: Whole<ServeSpec>;
  port: number;
  /** Whole CPUs that the process may use. */
  cpus: number;
  /** Memory limit; absent where there is none. */
  memoryBytes: number | undefined;
  /** 0: no health server. */
  healthPort: number;
}

const mib = 1024 * 1024;
/** The share of the memory that request bodies may take at most. */
const bodyShare = 0.25;

/** Throws FatalError SpecInvalid with one sentence: which variable or field, what came, what was expected. */
export function readServeConfig(environment: Environment = process.env, limits: CgroupLimits = readCgroupLimits()): ServeConfig {
  const spec = readServeSpec(required(environment, env.spec), limits.memoryBytes);
  const port = wholeNumber(environment, env.servePort, 8080);
  const healthPort = wholeNumber(environment, env.healthPort, 0);
  for (const [name, value] of [[env.servePort, port], [env.healthPort, healthPort]] as const) {
    if (value > 65_535) throw invalid(`${name} is "${value}", expected a port from 0 to 65535`);
  }
  return { spec, port, cpus: cpusOf(environment, limits), memoryBytes: limits.memoryBytes, healthPort };
}

function readServeSpec(text: string, memoryBytes: number | undefined): Whole<ServeSpec> {
  const read = parseObject(env.spec, text);
  const model = read.object('model');
  const batching = read.objectIfAny('batching');
  const queue = read.objectIfAny('queue');
  const answers = read.objectIfAny('answers');
  const spec = {
    model: {
      root: model.root(),
      path: model.path(),
      // A path segment of the URL.
      name: model.text('name', /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'letters, digits, ".", "_" and "-"'),
      version: model.textOr('version', '1', /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'letters, digits, ".", "_" and "-"'),
      task: model.oneOf('task', ['tensors']),
      accelerator: model.oneOf('accelerator', ['auto', 'cuda', 'cpu']),
    },
    batching: {
      maxSize: batching.positiveOr('maxSize', 32),
      windowMs: batching.wholeOr('windowMs', 10),
      timeoutSeconds: batching.positiveOr('timeoutSeconds', 60),
    },
    queue: {
      maxRequests: queue.positiveOr('maxRequests', 1_024),
      maxBytes: queue.positiveOr('maxBytes', Math.floor(Math.min(256 * mib, (memoryBytes ?? Number.POSITIVE_INFINITY) * bodyShare))),
    },
    maxRequestBytes: read.positiveOr('maxRequestBytes', 16 * mib),
    receiveSeconds: read.positiveOr('receiveSeconds', 30),
    answers: { maxCount: answers.wholeOr('maxCount', 1_024), maxBytes: answers.wholeOr('maxBytes', 32 * mib), seconds: answers.positiveOr('seconds', 600) },
    drainSeconds: read.wholeOr('drainSeconds', 20),
  };
  if (spec.maxRequestBytes > spec.queue.maxBytes) spec.maxRequestBytes = spec.queue.maxBytes;
  return spec;
}
