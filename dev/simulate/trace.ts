import { Ajv, type ValidateFunction } from 'ajv';
import { addKubernetesFormats, closed, type Schema, sentences } from '../../operator/api/schema.ts';
import { amounts } from '../../operator/scheduler/pod-requests.ts';
import type { Amounts, NodeState, TenantState, Toleration } from '../../operator/scheduler/snapshot.ts';
import { StepError } from '../step.ts';

/** What happens to a cluster: its nodes and tenants, and the jobs that come. Times are milliseconds from the start. */
export interface Trace {
  nodes: readonly NodeState[];
  tenants: readonly TenantState[];
  /** In the order in which they come. */
  jobs: readonly TraceJob[];
}

export interface TraceJob {
  /** tenant/name */
  key: string;
  tenant: string;
  arrivesAt: number;
  priority: number;
  deadlineAt: number | undefined;
  dependsOn: readonly string[];
  items: number;
  /** Items per second of one worker. Only the simulation knows it: the scheduler is told what has been measured. */
  rate: number;
  shards: number;
  min: number;
  max: number;
  /** From when a worker has its node until it works: image, model. */
  startupMs: number;
  perWorker: Amounts;
  nodeSelector: Readonly<Record<string, string>>;
  tolerations: readonly Toleration[];
}

/** A trace as text: one JSON object a line, in any order, as docs/scheduling.md describes them. */
export type TraceLine = NodesLine | TenantLine | JobLine;

type Quantities = Readonly<Record<string, string | number>>;

export interface NodesLine {
  kind: 'nodes';
  name: string;
  count: number;
  allocatable: Quantities;
  labels?: Record<string, string>;
  taints?: { key: string; value?: string; effect: string }[];
}

export interface TenantLine {
  kind: 'tenant';
  name: string;
  weight?: number;
  maxPriority?: number;
  maxRunningJobs?: number;
  quota?: Quantities;
}

export interface JobLine {
  kind: 'job';
  name: string;
  tenant: string;
  /** Seconds, as all times of a line. */
  at: number;
  priority?: number;
  deadline?: number;
  dependsOn?: string[];
  items: number;
  rate: number;
  shards?: number;
  workers?: { min?: number; max?: number };
  startup?: number;
  resources: Quantities;
  nodeSelector?: Record<string, string>;
  tolerations?: Toleration[];
}

const text: Schema = { type: 'string', minLength: 1 };
const texts: Schema = { type: 'object', additionalProperties: { type: 'string' } };
const quantities: Schema = { type: 'object', additionalProperties: { type: ['string', 'number'], pattern: '^(\\d+\\.?\\d*|\\.\\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\\d{1,2})?$', minimum: 0 } };
const count: Schema = { type: 'integer', minimum: 1 };
const seconds: Schema = { type: 'number', minimum: 0 };
const positive: Schema = { type: 'number', exclusiveMinimum: 0 };
const toleration: Schema = { type: 'object', properties: { key: { type: 'string' }, operator: { type: 'string', enum: ['Exists', 'Equal'] }, value: { type: 'string' }, effect: { type: 'string' } } };

const schemas: Record<TraceLine['kind'], Schema> = {
  nodes: {
    type: 'object', required: ['name', 'count', 'allocatable'],
    properties: {
      kind: text, name: text, count, allocatable: quantities, labels: texts,
      taints: { type: 'array', items: { type: 'object', required: ['key', 'effect'], properties: { key: text, value: { type: 'string' }, effect: text } } },
    },
  },
  tenant: {
    type: 'object', required: ['name'],
    properties: { kind: text, name: text, weight: positive, maxPriority: { type: 'integer', minimum: 0 }, maxRunningJobs: count, quota: quantities },
  },
  job: {
    type: 'object', required: ['name', 'tenant', 'at', 'items', 'rate', 'resources'],
    properties: {
      kind: text, name: text, tenant: text, at: seconds, priority: { type: 'integer' }, deadline: seconds, dependsOn: { type: 'array', items: text }, items: count, rate: positive, shards: count,
      workers: { type: 'object', properties: { min: count, max: count } }, startup: seconds, resources: quantities, nodeSelector: texts, tolerations: { type: 'array', items: toleration },
    },
  },
};

const validators = new Map<string, ValidateFunction>();

function validatorOf(kind: TraceLine['kind']): ValidateFunction {
  const known = validators.get(kind);
  if (known) return known;
  const ajv = new Ajv({ allErrors: true, allowUnionTypes: true });
  addKubernetesFormats(ajv);
  const validate = ajv.compile(closed(schemas[kind]));
  validators.set(kind, validate);
  return validate;
}

/** Reads a trace. `name` is told when something is wrong with it, with the line and the field. */
export function parseTrace(text: string, name: string): Trace {
  const fail = (line: number, problem: string): never => {
    throw new StepError(`trace ${name}`, `line ${line}: ${problem}`, 'mend that line; docs/scheduling.md tells what a trace holds');
  };
  const nodes: NodeState[] = [];
  const tenants: TenantState[] = [];
  const jobs: { job: TraceJob; line: number }[] = [];
  text.split('\n').forEach((content, index) => {
    if (content.trim() === '') return;
    const line = readLine(content, (problem) => fail(index + 1, problem));
    if (line.kind === 'nodes') nodes.push(...nodesOf(line));
    else if (line.kind === 'tenant') tenants.push(tenantOf(line));
    else jobs.push({ job: jobOf(line), line: index + 1 });
  });
  const [tenantNames, keys] = [new Set(tenants.map((tenant) => tenant.name)), new Set<string>()];
  for (const { job, line } of jobs) {
    if (!tenantNames.has(job.tenant)) fail(line, `tenant: got "${job.tenant}", must be one that the trace has a line of`);
    if (keys.has(job.key)) fail(line, `name: got "${job.key.slice(job.key.indexOf('/') + 1)}" a second time for tenant ${job.tenant}, must be another`);
    if (job.max < job.min) fail(line, `workers.max: got ${job.max}, must be >= workers.min, which is ${job.min}`);
    keys.add(job.key);
  }
  if (nodes.length === 0 || jobs.length === 0) throw new StepError(`trace ${name}`, `it has ${nodes.length} nodes and ${jobs.length} jobs`, 'give it a line of kind "nodes" and one of kind "job" at least');
  return { nodes, tenants, jobs: jobs.map(({ job }) => job).sort((a, b) => a.arrivesAt - b.arrivesAt) };
}

function readLine(content: string, fail: (problem: string) => never): TraceLine {
  let line: unknown;
  try {
    line = JSON.parse(content);
  } catch (cause) {
    fail(cause instanceof Error ? cause.message : 'is not JSON');
  }
  const kind = (line as { kind?: unknown } | null)?.kind;
  if (kind !== 'nodes' && kind !== 'tenant' && kind !== 'job') return fail(`kind: got ${JSON.stringify(kind) ?? 'nothing'}, must be nodes, tenant or job`);
  const validate = validatorOf(kind);
  if (!validate(line)) fail(sentences(validate.errors ?? [], line).join('; '));
  return line as TraceLine;
}

export function nodesOf({ name, count, allocatable, labels = {}, taints = [] }: NodesLine): NodeState[] {
  return Array.from({ length: count }, (_, index) => ({ name: `${name}-${index}`, labels, taints, allocatable: { pods: 110, ...amounts(allocatable) } }));
}

export const tenantOf = ({ name, weight = 1, maxPriority = 1_000, maxRunningJobs, quota = {} }: TenantLine): TenantState =>
  ({ name, weight, maxPriority, cordoned: false, quota: amounts(quota), usedByOthers: {}, maxRunningJobs });

export function jobOf({ name, tenant, at, priority = 0, deadline, dependsOn = [], items, rate, workers = {}, shards, startup = 15, resources, nodeSelector = {}, tolerations = [] }: JobLine): TraceJob {
  const { min = 1, max = Math.max(1, min) } = workers;
  return {
    key: `${tenant}/${name}`, tenant, arrivesAt: at * 1_000, priority, deadlineAt: deadline === undefined ? undefined : deadline * 1_000,
    dependsOn: dependsOn.map((other) => `${tenant}/${other}`), items, rate, shards: Math.min(items, shards ?? max * 4), min, max, startupMs: startup * 1_000,
    perWorker: { ...amounts(resources), pods: 1 }, nodeSelector, tolerations,
  };
}

/** What a worker takes of its tenant's quota, by the names that a ResourceQuota has for it. */
export function quotaOf(perWorker: Amounts): Amounts {
  const { pods = 1, ...requests } = perWorker;
  return { pods, ...Object.fromEntries(Object.entries(requests).map(([resource, amount]) => [`requests.${resource}`, amount])) };
}
