import { random } from './random.ts';
import type { JobLine, TraceLine } from './trace.ts';

export interface SyntheticOptions {
  jobs: number;
  seed: number;
}

const HOUR = 3_600;
const DAY = 24 * HOUR;
const GPU = 'nvidia.com/gpu';
const GPU_NODES = 8;
const GPUS_PER_NODE = 8;
const CPU_NODES = 12;
const CORES_PER_NODE = 32;

/**
 * What comes in each hour of the day, from midnight on, in parts of what all GPUs can do in an hour: half of it by night, more
 * than that in working hours. 0.84 in the mean.
 */
const DEMAND = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.6, 0.8, 1.1, 1.2, 1.2, 1.2, 1.1, 1.2, 1.2, 1.2, 1.2, 1.1, 1, 0.8, 0.7, 0.6, 0.5, 0.5] as const;
/** Jobs that come many at a time, of one tenant: sweeps and splits, shorter than what is sent alone. */
const IN_BURSTS = 0.35;
const BURST = { least: 20, most: 150, median: 180 };
const ALONE = { median: 600 };
const LONGEST = 8 * HOUR;

/** How many points, how much of all jobs. Few say of their own work that it can wait: at the height of the day the upper two alone ask for all GPUs. */
const CLASSES = [{ priority: 100, part: 0.15 }, { priority: 500, part: 0.5 }, { priority: 900, part: 0.35 }] as const;

/** By number: weight and quota in GPUs. The weights are about what they ask for on most days: jobs are spread over them by Zipf's law. */
const TENANTS = [
  { weight: 6, gpus: 48 }, { weight: 3, gpus: 32 }, { weight: 2, gpus: 32 }, { weight: 2, gpus: 32 }, { weight: 1, gpus: 24 }, { weight: 1, gpus: 24 },
  { weight: 1, gpus: 24 }, { weight: 1, gpus: 16 }, { weight: 1, gpus: 16 }, { weight: 1, gpus: 16 }, { weight: 1, gpus: 16 }, { weight: 1, gpus: 16 },
] as const;

/**
 * A cluster of 64 GPUs and 384 cores for 12 tenants, and the jobs that they send in from midnight on, for as many days as they
 * take: sizes are log-normal, so that a tenth of the jobs is most of the work; days differ from nights, and some jobs come in
 * bursts. The same for the same options.
 */
export function synthetic({ jobs: count, seed }: SyntheticOptions): TraceLine[] {
  const next = random(seed);
  const dice = { next, below: (n: number) => Math.floor(next() * n), normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()) };
  const jobs = arrivalsOf(count, dice).map((arrival, index) => jobOf(index, arrival, dice));
  chain(jobs, dice);
  return [...nodes, ...tenants, ...jobs.map(({ job }) => job)];
}

interface Dice {
  next: () => number;
  below: (n: number) => number;
  normal: () => number;
}

const nodes: TraceLine[] = [
  { kind: 'nodes', name: 'gpu', count: GPU_NODES, allocatable: { cpu: '96', memory: '768Gi', [GPU]: GPUS_PER_NODE }, labels: { pool: 'gpu' }, taints: [{ key: GPU, effect: 'NoSchedule' }] },
  { kind: 'nodes', name: 'cpu', count: CPU_NODES, allocatable: { cpu: String(CORES_PER_NODE), memory: '128Gi' }, labels: { pool: 'cpu' } },
];

const tenants: TraceLine[] = TENANTS.map(({ weight, gpus }, index) => ({
  kind: 'tenant', name: tenantName(index), weight, quota: { 'requests.cpu': '320', 'requests.memory': '1Ti', [`requests.${GPU}`]: gpus, pods: 200 },
}));

function tenantName(index: number): string {
  return `team-${String.fromCharCode(97 + index)}`;
}

interface Size {
  /** Seconds that one worker would need. */
  work: number;
  gpus: number;
  cores: number;
  min: number;
  max: number;
  /** Until a worker works. */
  startup: number;
}

/** `median`: seconds of one worker's work. */
function sizeOf(median: number, { next, below, normal }: Dice): Size {
  const gpu = next() < 0.65;
  // The mean is four times the median.
  const work = Math.min(LONGEST, Math.max(20, median * Math.exp(1.8 * normal())));
  const gpus = gpu ? pick(next(), [[1, 0.8], [2, 0.13], [4, 0.07]]) : 0;
  const min = next() < 0.85 ? 1 : pick(next(), [[2, 0.6], [4, 0.3], [8, 0.1]]);
  const most = Math.max(1, Math.floor(16 / Math.max(1, gpus)));
  return { work, gpus, cores: gpu ? 4 * gpus : 1 + below(4), min: Math.min(min, most), max: Math.max(min, pick(next(), [[2, 0.2], [4, 0.4], [8, 0.3], [16, 0.1]])), startup: gpu ? 15 + below(31) : 5 + below(11) };
}

/** One of them, by their parts. */
function pick(dice: number, choices: readonly (readonly [value: number, part: number])[]): number {
  let left = dice;
  for (const [value, part] of choices) {
    left -= part;
    if (left < 0) return value;
  }
  return (choices.at(-1) as readonly [number, number])[0];
}

interface Arrival {
  at: number;
  tenant: number;
  size: Size;
}

function arrivalsOf(count: number, dice: Dice): Arrival[] {
  const { next, below } = dice;
  const parts = TENANTS.map((_, rank) => 1 / (rank + 1));
  const all = parts.reduce((sum, part) => sum + part, 0);
  const burst = IN_BURSTS / ((1 - IN_BURSTS) * (BURST.least + BURST.most) / 2);
  const groups: { tenant: number; sizes: Size[] }[] = [];
  for (let left = count; left > 0; ) {
    const tenant = pick(next(), parts.map((part, rank) => [rank, part / all]));
    const isBurst = next() < burst;
    const jobs = Math.min(left, isBurst ? BURST.least + below(BURST.most - BURST.least + 1) : 1);
    groups.push({ tenant, sizes: Array.from({ length: jobs }, () => sizeOf(isBurst ? BURST.median : ALONE.median, dice)) });
    left -= jobs;
  }
  const asked = groups.reduce((all, { sizes }) => all + sizes.reduce((sum, { work, gpus }) => sum + work * gpus, 0), 0) / (GPU_NODES * GPUS_PER_NODE);
  return groups.flatMap(({ tenant, sizes }) => {
    const at = timeWhenAsked(next() * asked);
    return sizes.map((size, index): Arrival => ({ at: at + index * next(), tenant, size }));
  }).sort((a, b) => a.at - b.at);
}

/** From midnight of the first day until so many seconds of work for all GPUs have come. */
function timeWhenAsked(asked: number): number {
  const ofDay = DEMAND.reduce((sum, part) => sum + part * HOUR, 0);
  let left = asked % ofDay;
  let hour = 0;
  while (left > (DEMAND[hour] as number) * HOUR) left -= (DEMAND[hour++] as number) * HOUR;
  return Math.floor(asked / ofDay) * DAY + hour * HOUR + left / (DEMAND[hour] as number);
}

interface Made {
  job: JobLine;
  /** Seconds that it takes if it has all its workers from the start. */
  ideal: number;
}

function jobOf(index: number, { at, tenant, size: { work, gpus, cores, min, max, startup } }: Arrival, { next }: Dice): Made {
  const rate = Math.round(10 ** (next() * 3) * 10) / 10 + 0.1;
  const items = Math.max(1, Math.round(work * rate));
  // Its user knows how many of its workers the quota allows.
  const ideal = startup + work / Math.max(min, Math.min(max, gpus === 0 ? max : Math.floor((TENANTS[tenant] as (typeof TENANTS)[number]).gpus / gpus)));
  const { priority } = CLASSES[pick(next(), CLASSES.map(({ part }, i) => [i, part]))] as (typeof CLASSES)[number];
  // A quarter of the jobs has to be done by a time: two to eight times what it takes at best, and no sooner than in half an hour.
  const deadline = next() < 0.25 ? { deadline: round(at + Math.max(1_800, ideal * (2 + 6 * next()))) } : {};
  return {
    ideal,
    job: {
      kind: 'job', name: `job-${index}`, tenant: tenantName(tenant), at: round(at), priority, ...deadline, items, rate, workers: { min, max }, startup,
      resources: { cpu: cores, memory: `${cores * 2}Gi`, ...(gpus > 0 ? { [GPU]: gpus } : {}) }, ...(gpus > 0 ? { tolerations: [{ key: GPU, operator: 'Exists' as const }] } : {}),
    },
  };
}

/** Each twelfth job or so waits for the one before it of the same tenant, and its deadline allows for that. */
function chain(jobs: readonly Made[], { next }: Dice): void {
  const last = new Map<string, Made>();
  for (const made of jobs) {
    const { job } = made;
    const before = last.get(job.tenant);
    if (before && next() < 0.08 && job.at - before.job.at < 600) {
      job.dependsOn = [before.job.name];
      if (job.deadline !== undefined) job.deadline = round(job.deadline + before.ideal * 3);
    }
    last.set(job.tenant, made);
  }
}

const round = (seconds: number): number => Math.round(seconds * 1_000) / 1_000;
