import { Ajv } from 'ajv';
import { addKubernetesFormats, closed, type Schema, sentences } from '../../operator/api/schema.ts';
import { amounts } from '../../operator/scheduler/pod-requests.ts';
import type { Decision, Schedule } from '../../operator/scheduler/result.ts';
import type { Snapshot } from '../../operator/scheduler/snapshot.ts';
import { StepError } from '../step.ts';
import { quotaOf } from './trace.ts';

const text: Schema = { type: 'string', minLength: 1 };
const someQuantities: Schema = { type: 'object', additionalProperties: { type: ['string', 'number'] } };
const quantities: Schema = { ...someQuantities, default: {} };
const texts: Schema = { type: 'object', additionalProperties: { type: 'string' }, default: {} };
const open: Schema = { type: 'object', additionalProperties: true };
const time: Schema = { type: ['string', 'number'] };
const all = (items: Schema): Schema => ({ type: 'array', items });
const list = (items: Schema): Schema => ({ ...all(items), default: [] });
const count: Schema = { type: 'integer', minimum: 1, default: 1 };
const yes: Schema = { type: 'boolean', default: false };

/** A Snapshot as JSON: amounts as Kubernetes writes quantities, times as it writes them or in milliseconds, and defaults. */
const schema: Schema = {
  type: 'object', required: ['jobs', 'nodes', 'tenants'],
  properties: {
    now: time,
    finished: { type: 'object', additionalProperties: { type: 'string', enum: ['Complete', 'Failed'] }, default: {} },
    nodes: all({ type: 'object', required: ['name', 'allocatable'], properties: { name: text, labels: texts, taints: list(open), allocatable: quantities } }),
    tenants: all({
      type: 'object', required: ['name'],
      properties: {
        name: text, weight: { type: 'number', exclusiveMinimum: 0, default: 1 }, maxPriority: { type: 'integer', default: 1_000 }, cordoned: yes, quota: quantities, usedByOthers: quantities,
        maxRunningJobs: { type: 'integer', minimum: 1 },
      },
    }),
    jobs: all({
      type: 'object', required: ['key', 'tenant', 'perWorker'],
      properties: {
        uid: text, key: text, tenant: text, priority: { type: 'integer', default: 0 }, createdAt: time, queuedAt: time, deadlineAt: time, suspended: yes, dependsOn: list(text), min: count, max: count,
        perWorker: quantities, quotaPerWorker: someQuantities, nodeSelector: texts, tolerations: list(open), oneNode: yes,
        workers: list({ type: 'object', properties: { node: text, startedAt: time, idle: { type: 'boolean' }, endingAt: time } }),
        ratePerWorker: { type: 'number' }, itemsLeft: { type: 'number' }, lastCheckpointAt: time, externallyAdmitted: yes, held: open,
      },
    }),
  },
};

/** Reads a snapshot and the time that it is of, which is the present when the file names none. */
export function parseSnapshot(text: string, name: string, present: number): { snapshot: Snapshot; now: number } {
  const fail = (problem: string): never => {
    throw new StepError(`snapshot ${name}`, problem, 'mend that; docs/scheduling.md tells what a snapshot holds');
  };
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    fail(cause instanceof Error ? cause.message : 'is not JSON');
  }
  const ajv = new Ajv({ allErrors: true, useDefaults: true, allowUnionTypes: true });
  addKubernetesFormats(ajv);
  const validate = ajv.compile(closed(schema));
  if (!validate(json)) fail(sentences(validate.errors ?? [], json).join('\n'));
  const raw = timesRead(json, fail) as Omit<Snapshot, 'finished'> & { now?: number; finished: Record<string, 'Complete' | 'Failed'> };
  const now = raw.now ?? present;
  const snapshot: Snapshot = {
    finished: new Map(Object.entries(raw.finished)),
    nodes: raw.nodes.map((node) => ({ ...node, allocatable: { pods: 110, ...amounts(node.allocatable) } })),
    tenants: raw.tenants.map((tenant) => ({ ...tenant, quota: amounts(tenant.quota), usedByOthers: amounts(tenant.usedByOthers) })),
    jobs: raw.jobs.map((job) => {
      const perWorker = { ...amounts(job.perWorker), pods: 1 };
      const quotaPerWorker = job.quotaPerWorker === undefined ? quotaOf(perWorker) : amounts(job.quotaPerWorker);
      const createdAt = job.createdAt ?? now;
      return { ...job, uid: job.uid ?? job.key, createdAt, queuedAt: job.queuedAt ?? createdAt, perWorker, quotaPerWorker };
    }),
  };
  const keys = new Set<string>();
  for (const { key } of snapshot.jobs) {
    if (keys.has(key)) fail(`jobs: got key "${key}" twice, must be another for each job`);
    keys.add(key);
  }
  return { snapshot, now };
}

/** The same JSON with the times in it as milliseconds. */
function timesRead(json: unknown, fail: (problem: string) => never): unknown {
  if (Array.isArray(json)) return json.map((item) => timesRead(item, fail));
  if (typeof json !== 'object' || json === null) return json;
  return Object.fromEntries(Object.entries(json).map(([field, value]) => {
    if (typeof value !== 'string' || !(field === 'now' || field.endsWith('At') || field === 'waitingSince')) return [field, timesRead(value, fail)];
    const at = Date.parse(value);
    return Number.isNaN(at) ? fail(`${field}: got "${value}", must be a time such as 2026-12-01T06:00:00Z, or milliseconds`) : [field, at];
  }));
}

/** What was decided, as lines: a job each, those with workers first and then the queue. */
export function decisionTable({ decisions, victims }: Schedule): string {
  const order = ({ workers, position }: Decision): number => (workers > 0 ? -1 : (position ?? Number.MAX_SAFE_INTEGER));
  const rows = [...decisions].sort((a, b) => order(a) - order(b)).map(({ key, workers, remove, planned, position, reason, message }) =>
    [key, String(workers), planned.length > 0 ? `+${planned.length}` : '', remove.length > 0 ? `-${remove.length}` : '', position === undefined ? '' : String(position), reason, message]);
  const all = [['JOB', 'WORKERS', 'NEW', 'GO', 'QUEUE', 'REASON', 'MESSAGE'], ...rows];
  const widths = all[0]?.map((_, column) => Math.max(...all.map((cells) => (cells[column] ?? '').length))) ?? [];
  const lines = all.map((cells) => cells.map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('  '));
  return [...lines, ...victims.map(({ key, from, to, reason, for: other }) => `${key} goes from ${from} to ${to} worker(s) for ${other} (${reason})`)].join('\n');
}
