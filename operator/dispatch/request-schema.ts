import { Ajv, type ErrorObject } from 'ajv';
import { fatalExitCodes, PROTOCOL } from '../../inference-pod/contract.ts';
import type { SyncRequest } from '../../inference-pod/contract.ts';

/** The wire shape of `SyncRequest`. Bounds keep one worker from making the operator hold much. Unknown fields are let through, for newer workers. */

const mostShards = 10_000;
const count = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER } as const;
const amount = { type: 'number', minimum: 0, maximum: Number.MAX_SAFE_INTEGER } as const;
const text = (maxLength: number, minLength = 0) => ({ type: 'string', minLength, maxLength }) as const;
const object = (required: Record<string, unknown>, optional: Record<string, unknown> = {}) =>
  ({ type: 'object', required: Object.keys(required), properties: { ...required, ...optional } }) as const;

const itemCounts = object({ succeeded: count, failed: count });
const generationRange = object({ shards: text(100_000), generation: count });
const plan = object({ shards: { type: 'integer', minimum: 0, maximum: mostShards }, items: count, exact: { type: 'boolean' }, bytes: count, files: count });
const finish = object({ items: itemCounts, results: text(4_096), errors: text(4_096), manifest: text(4_096), resultsBytes: count, errorsBytes: count });
const lease = {
  type: 'object',
  required: ['kind'],
  discriminator: { propertyName: 'kind' },
  oneOf: [
    object({ kind: { const: 'plan' } }),
    object({ kind: { const: 'shard' }, shard: { type: 'integer', minimum: 0, maximum: mostShards - 1 }, generation: count }),
    object({ kind: { const: 'finish' }, generations: { type: 'array', maxItems: mostShards, items: generationRange } }),
  ],
};
const doneOf = (kind: string) => ({ properties: { state: { const: 'done' }, lease: { properties: { kind: { const: kind } } } } });
const engine = object({ provider: { enum: ['cpu', 'cuda'] }, device: text(100), runtime: text(100), node: text(100), sessions: count, threads: count });
const load = object(
  { itemsPerSecond: amount, cpuSeconds: amount, rssBytes: amount },
  { cpus: amount, runs: object({ count, p50: amount, p90: amount, p99: amount }), queueDepth: count, failuresInARow: count, engine, warning: text(300) },
);
const report = {
  ...object(
    { lease, state: { enum: ['running', 'done', 'released'] }, items: itemCounts, bytes: object({ done: count, total: count }) },
    { firstError: text(300), plan, finish },
  ),
  allOf: [
    { if: doneOf('plan'), then: { required: ['plan'] } },
    { if: doneOf('finish'), then: { required: ['finish'] } },
  ],
};
const request = object(
  {
    protocol: { const: PROTOCOL },
    worker: object({ job: text(64, 1), slot: count, attempt: count, incarnation: text(64, 1) }),
    seq: count,
    term: count,
    draining: { type: 'boolean' },
    capacity: { type: 'integer', minimum: 0, maximum: 64 },
    leases: { type: 'array', maxItems: 128, items: report },
    load,
  },
  { fatal: object({ code: { enum: Object.keys(fatalExitCodes) }, message: text(1_000, 1) }) },
);

const valid = new Ajv({ strict: true, strictRequired: false, strictTypes: false, discriminator: true }).compile<SyncRequest>(request);

/** The request, or one sentence on what is wrong with it. */
export function parseSyncRequest(body: string): SyncRequest | { wrong: string } {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch (error) {
    return { wrong: `the body is not JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
  if (valid(json)) return json;
  const [error] = valid.errors ?? [];
  return { wrong: error ? sentence(error) : 'the body is not a sync request' };
}

function sentence({ instancePath, message, keyword, params }: ErrorObject): string {
  const where = instancePath === '' ? 'the body' : instancePath.slice(1).replaceAll('/', '.');
  if (where === 'protocol') return `protocol must be ${PROTOCOL}: worker image and operator are of different releases`;
  const allowed = keyword === 'enum' ? `: ${(params as { allowedValues: string[] }).allowedValues.join(', ')}` : '';
  return `${where} ${message ?? 'is wrong'}${allowed}`;
}
