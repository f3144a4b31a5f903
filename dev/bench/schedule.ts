/**
 * How long one round of the scheduler takes: 10,000 jobs of 200 tenants on 1,000 nodes, on one core.
 *
 *   npm run bench -- schedule [JOBS [TENANTS [NODES [ROUNDS]]]]
 */
import type { Held, JobState, NodeState, Snapshot, TenantState, WorkerState } from '../../operator/scheduler/snapshot.ts';
import type { Schedule } from '../../operator/scheduler/result.ts';
import { schedule } from '../../operator/scheduler/schedule.ts';
import { random } from '../simulate/random.ts';

const [jobCount = 10_000, tenantCount = 200, nodeCount = 1_000, ROUNDS = 15] = process.argv.slice(2).map(Number);
const NOW = Date.UTC(2026, 0, 1);
const GI = 2 ** 30;

const next = random(1);
const below = (n: number): number => Math.floor(next() * n);

const nodes = Array.from({ length: nodeCount }, (_, i): NodeState => {
  const gpu = i % 4 === 0;
  return {
    name: `node-${i}`,
    labels: { 'kubernetes.io/hostname': `node-${i}`, pool: gpu ? 'gpu' : 'cpu' },
    taints: gpu ? [{ key: 'nvidia.com/gpu', effect: 'NoSchedule' }] : [],
    allocatable: { cpu: gpu ? 64_000 : 32_000, memory: (gpu ? 512 : 128) * GI, pods: 110, ...(gpu ? { 'nvidia.com/gpu': 8 } : {}) },
  };
});

const tenants = Array.from({ length: tenantCount }, (_, i): TenantState => ({
  name: `tenant-${i}`, weight: 1 + (i % 3), maxPriority: 1_000, cordoned: false, usedByOthers: {},
  quota: { 'requests.cpu': 400_000, 'requests.memory': 2_048 * GI, 'requests.nvidia.com/gpu': 16, pods: 200 },
}));

const jobs = Array.from({ length: jobCount }, (_, i): JobState => {
  const gpu = next() < 0.5;
  const cpu = 1_000 * (1 + below(4));
  const memory = GI * (1 + below(8));
  const createdAt = NOW - below(7_200_000);
  return {
    uid: `uid-${i}`, key: `tenant-${i % tenantCount}/job-${i}`, tenant: `tenant-${i % tenantCount}`,
    priority: 100 * below(10), createdAt, queuedAt: createdAt,
    ...(next() < 0.2 ? { deadlineAt: NOW + below(14_400_000) - 600_000 } : {}),
    suspended: false, dependsOn: next() < 0.05 && i > 0 ? [`tenant-${i % tenantCount}/job-${below(i)}`] : [],
    min: next() < 0.1 ? 4 : 1, max: 4 + below(5),
    perWorker: { cpu, memory, pods: 1, ...(gpu ? { 'nvidia.com/gpu': 1 } : {}) },
    quotaPerWorker: { 'requests.cpu': cpu, 'requests.memory': memory, pods: 1, ...(gpu ? { 'requests.nvidia.com/gpu': 1 } : {}) },
    nodeSelector: gpu ? { pool: 'gpu' } : {}, tolerations: gpu ? [{ key: 'nvidia.com/gpu', operator: 'Exists' }] : [], oneNode: false,
    workers: [], ratePerWorker: 10 + below(90), itemsLeft: 1_000 + below(1_000_000), lastCheckpointAt: NOW - below(2_000), externallyAdmitted: false,
  };
});

/** The snapshot in which the schedule has been carried out, `ageMs` ago. */
function carriedOut(snapshot: Snapshot, { decisions }: Schedule, ageMs: number): Snapshot {
  const past = (time: number | undefined): number | undefined => (time === undefined ? undefined : time - ageMs);
  return {
    ...snapshot,
    jobs: snapshot.jobs.map((job, index) => {
      const decision = decisions[index];
      if (!decision) throw new RangeError(`no decision for ${job.key}`);
      const { held } = decision;
      const kept = job.workers.filter((worker, at) => worker.node !== undefined && !decision.remove.includes(at));
      const workers: WorkerState[] = [...kept, ...decision.planned.map((node) => ({ node, startedAt: NOW - ageMs }))];
      const older: Held = { ...held, planned: [], waitingSince: held.waitingSince, startedAt: past(held.startedAt), grewAt: past(held.grewAt), cutAt: past(held.cutAt) };
      return { ...job, workers, held: older };
    }),
  };
}

function measure(title: string, snapshot: Snapshot): Schedule {
  let result = schedule(snapshot, NOW);
  const times: number[] = [];
  const cpuTimes: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const [start, cpuStart] = [performance.now(), process.threadCpuUsage()];
    result = schedule(snapshot, NOW);
    times.push(performance.now() - start);
    const { user, system } = process.threadCpuUsage(cpuStart);
    cpuTimes.push((user + system) / 1_000);
  }
  const running = result.decisions.filter(({ reason }) => reason === 'Running').length;
  const workers = result.decisions.reduce((sum, decision) => sum + decision.workers, 0);
  const [wall, cpu] = [median(times), median(cpuTimes)];
  console.log(`${title.padEnd(34)} ${wall.toFixed(0).padStart(5)} ms (${cpu.toFixed(0)} ms of CPU); ${running} jobs run with ${workers} workers, ${result.victims.length} lose some`);
  return result;
}

const median = (times: number[]): number => times.sort((a, b) => a - b)[times.length >> 1] ?? 0;

console.log(`${jobCount} jobs, ${tenantCount} tenants, ${nodeCount} nodes; medians of ${ROUNDS} rounds`);
const empty: Snapshot = { tenants, jobs, nodes, finished: new Map() };
const first = measure('cold start, empty cluster', empty);
const hour = 3_600_000;
const full = carriedOut(empty, first, hour);
const second = measure('full cluster, an hour later', full);
measure('the same, carried out', carriedOut(full, second, 0));
const half = { ...full, jobs: full.jobs.filter((_, index) => index % 10 !== 0) };
measure('a tenth of the jobs has ended', half);
const favoured = { ...full, tenants: tenants.map((tenant, i) => ({ ...tenant, weight: i % 2 === 0 ? 10 : 1 })) };
measure('other weights: half must give back', favoured);
