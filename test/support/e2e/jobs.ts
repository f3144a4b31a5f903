import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type ApiObject, paths } from './api.ts';
import type { Bench } from './bench.ts';
import { modelImage } from './global-setup.ts';
import type { Condition, TestTenant } from './tenant.ts';
import { GaveUp, until } from './until.ts';

export interface JobObject extends ApiObject {
  spec: { workers: { max: number } };
  status?: {
    state?: string;
    message?: string;
    progress?: string;
    rate?: string;
    eta?: string;
    replicas?: number;
    readyWorkers?: string;
    queuePosition?: number;
    items?: { total?: number; succeeded?: number; failed?: number; firstError?: string };
    shards?: { total?: number; completed?: string; leased?: number; retried?: number };
    workers?: { slot: number; attempt?: number; shard?: string; state?: string }[];
    startTime?: string;
    completionTime?: string;
    conditions?: Condition[];
  };
}

export interface PodObject extends ApiObject {
  spec: {
    nodeName?: string;
    serviceAccountName?: string;
    automountServiceAccountToken?: boolean;
    securityContext?: { runAsNonRoot?: boolean };
    containers: { resources: { requests: Record<string, string>; limits: Record<string, string> } }[];
  };
  status: {
    phase: string;
    containerStatuses?: { containerID?: string; restartCount: number; ready: boolean; state: { running?: { startedAt: string } }; lastState?: { terminated?: { exitCode: number; finishedAt: string } } }[];
  };
}

/** Small workers, so that several jobs fit beside the control plane on a small machine. */
export const smallWorker = { requests: { cpu: '50m', memory: '128Mi' }, limits: { cpu: '500m', memory: '512Mi' } };

/** `model` names a file of test/support/models. Output goes to out/<name> on the claim `data`. */
export function jobManifest(tenant: Pick<TestTenant, 'namespace'>, name: string, model: string, input: object, more: { workers?: object; [key: string]: unknown } = {}): object {
  const { workers, ...spec } = more;
  return {
    apiVersion: 'millrace.dev/v1alpha1',
    kind: 'BatchJob',
    metadata: { name, namespace: tenant.namespace },
    spec: {
      model: { image: modelImage, path: model },
      input,
      output: { volume: { claimName: 'data', path: `out/${name}` } },
      workers: { max: 1, accelerator: 'cpu', resources: smallWorker, ...workers },
      ...spec,
    },
  };
}

export const fromVolume = (path: string): object => ({ volume: { claimName: 'data', path } });
export const lines = (items: readonly object[]): string => items.map((item) => `${JSON.stringify(item)}\n`).join('');

export function putInput(tenant: TestTenant, path: string, content: string): void {
  const file = join(tenant.folder, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}

export const apply = (bench: Bench, manifest: object): Promise<string> => bench.kubectl(['apply', '-f', '-'], manifest);

export const getJob = (bench: Bench, tenant: TestTenant, name: string): Promise<JobObject | undefined> => bench.api.get<JobObject>(paths.job(tenant.namespace, name));

export const conditionOf = (job: JobObject | undefined, type: string): Condition | undefined =>
  job?.status?.conditions?.find((condition) => condition.type === type && condition.status === 'True');

/** Waits for something that the job's status tells. A job that has failed meanwhile is not waited for. */
export function jobTells(bench: Bench, tenant: TestTenant, name: string, what: string, holds: (job: JobObject) => boolean, limitMs = 60_000): Promise<JobObject> {
  let last: JobObject | undefined;
  return until(`BatchJob ${name} ${what}`, limitMs, async () => {
    last = await getJob(bench, tenant, name);
    if (last === undefined) return undefined;
    if (holds(last)) return last;
    const failed = conditionOf(last, 'Failed');
    if (failed !== undefined) throw new GaveUp(`BatchJob ${name} failed: ${failed.reason}: ${failed.message}`);
    return undefined;
  }, () => JSON.stringify(last?.status ?? 'no status'));
}

export const completed = (bench: Bench, tenant: TestTenant, name: string, limitMs = 90_000): Promise<JobObject> =>
  jobTells(bench, tenant, name, 'is Complete', (job) => conditionOf(job, 'Complete') !== undefined, limitMs);

export const failed = (bench: Bench, tenant: TestTenant, name: string, limitMs = 90_000): Promise<Condition> => {
  let last: JobObject | undefined;
  return until(`BatchJob ${name} has Failed`, limitMs, async () => {
    last = await getJob(bench, tenant, name);
    if (conditionOf(last, 'Complete') !== undefined) throw new GaveUp(`BatchJob ${name} is Complete: ${last?.status?.message}`);
    return conditionOf(last, 'Failed');
  }, () => JSON.stringify(last?.status ?? 'no status'));
};

export const stalled = (bench: Bench, tenant: TestTenant, name: string, limitMs = 60_000): Promise<Condition> => {
  let last: JobObject | undefined;
  return until(`BatchJob ${name} is Stalled`, limitMs, async () => {
    last = await getJob(bench, tenant, name);
    return conditionOf(last, 'Stalled');
  }, () => JSON.stringify(last?.status ?? 'no status'));
};

/** Items with a durable result or error. */
export const doneItems = ({ status }: JobObject): number => (status?.items?.succeeded ?? 0) + (status?.items?.failed ?? 0);

export const podsOf = (bench: Bench, tenant: TestTenant, name: string): Promise<PodObject[]> =>
  bench.api.list<PodObject>(paths.pods(tenant.namespace, `millrace.dev/job-name=${name}`));

export const isLive = (pod: PodObject): boolean => pod.status.phase === 'Running' || pod.status.phase === 'Pending';

export interface Outcome {
  results: string;
  errors: string;
  resultLines: { id?: unknown; outputs: Record<string, unknown> }[];
  errorLines: { id?: unknown; file: string; line: number; offset: number; code: string; message: string }[];
  manifest: { items: { succeeded: number; failed: number }; results: { sha256: string; bytes: number }; job: { uid: string } };
}

/** The files that a finished job left, checked against the digests of the manifest. */
export function outcomeOf(tenant: TestTenant, name: string): Outcome {
  const folder = join(tenant.folder, 'out', name);
  const read = (file: string): string => readFileSync(join(folder, file), 'utf8');
  const parse = <T>(text: string): T[] => text.split('\n').filter(Boolean).map((line) => JSON.parse(line) as T);
  const [results, errors] = [read('results.jsonl'), read('errors.jsonl')];
  const manifest = JSON.parse(read('manifest.json')) as Outcome['manifest'];
  if (manifest.results.sha256 !== sha256(results)) throw new Error(`manifest.json of ${name} tells another digest than results.jsonl has`);
  return { results, errors, resultLines: parse(results), errorLines: parse(errors), manifest };
}

export const outputExists = (tenant: TestTenant, name: string): boolean => ['results.jsonl', 'manifest.json'].some((file) => existsSync(join(tenant.folder, 'out', name, file)));
export const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
