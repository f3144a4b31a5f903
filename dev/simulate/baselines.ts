import { type Board, isCooling, isWaiting, type Job, seat } from '../../operator/scheduler/board.ts';
import { findNodes } from '../../operator/scheduler/capacity.ts';
import { dependenciesOf } from '../../operator/scheduler/dependents.ts';
import { keepRunning } from '../../operator/scheduler/keep.ts';
import { barFrom, setAside } from '../../operator/scheduler/obstacles.ts';
import { defaultPolicy, type Policy } from '../../operator/scheduler/policy.ts';
import { listByCost, makeRoom } from '../../operator/scheduler/preempt.ts';
import { jobRoom, quotaRoom } from '../../operator/scheduler/quota.ts';
import { compareRanks, rankJob } from '../../operator/scheduler/rank.ts';
import { addTo, timesIn } from '../../operator/scheduler/resources.ts';
import type { Schedule } from '../../operator/scheduler/result.ts';
import { setUp } from '../../operator/scheduler/set-up.ts';
import type { Snapshot } from '../../operator/scheduler/snapshot.ts';
import { tryStart } from '../../operator/scheduler/start.ts';
import { tell } from '../../operator/scheduler/tell.ts';
import type { Scheduler } from './cluster.ts';
import type { Trace } from './trace.ts';

/*
 * What others do, on the books of our own scheduler, so that quotas, nodes and what an elastic worker is are the same: a
 * job starts with its minimum, what can start does before anyone grows, and what runs stays.
 */

/** Neither time nor deadlines nor shares move anyone; one point of priority is enough to be ahead. */
const plainPolicy: Policy = { ...defaultPolicy, ageingPointsPerMinute: 0, dependentPoints: 0, preemptMargin: 1, loanTerm: 0, waitTerm: 0 };

function open(snapshot: Snapshot, now: number): Board {
  const jobs = snapshot.jobs.map((job) => ({ ...job, deadlineAt: undefined }));
  const board = setUp({ ...snapshot, jobs }, now, plainPolicy);
  const dependencies = dependenciesOf(snapshot, plainPolicy);
  for (const job of board.jobs) job.obstacle = setAside(job, dependencies);
  board.ranked = board.jobs.filter(({ obstacle }) => obstacle === undefined);
  for (const job of board.ranked) rankJob(board, job);
  board.ranked.sort((a, b) => compareRanks(a.rank, b.rank));
  keepRunning(board);
  for (const job of board.ranked) job.obstacle = barFrom(board, job, dependencies);
  return board;
}

const canGrow = (job: Job, board: Board): boolean => job.startedAt !== undefined && job.seats.length > 0 && job.seats.length < job.max && !isCooling(job, board);

const grow = (board: Board, job: Job, node: number): void => {
  job.grewAt = board.now;
  seat(board, job, { node, worker: undefined, since: board.now, idle: false });
};

/**
 * Strict priority with preemption, as in Kueue within one queue or in Kubernetes among pods: by priority, then by arrival. Who
 * is ahead takes workers beyond the minimum and then whole jobs from those of lower priority, whoever they belong to,
 * lowest first, with the same minimum runtime as ours, and grows first. `preempts` false: it only goes first.
 */
export function strictPriority(preempts: boolean): Scheduler {
  return (snapshot, now) => {
    const board = open(snapshot, now);
    // Shares let everyone do everything.
    for (const tenant of board.tenants) Object.assign(tenant, { entitled: Number.POSITIVE_INFINITY, weight: Number.POSITIVE_INFINITY });
    listByCost(board);
    const hopeless = new Set<string>();
    for (const job of board.ranked) {
      if (!isWaiting(job) || isCooling(job, board)) continue;
      const like = `${job.kind} ${job.min}`;
      if (hopeless.has(like)) board.queue.push(job);
      else if (!tryStart(board, job, 'start', preempts)) {
        hopeless.add(like);
        board.queue.push(job);
      }
    }
    const grown = new Set<number>();
    for (const job of board.ranked) {
      while (canGrow(job, board) && !grown.has(job.kind)) {
        const find = (): number | undefined => (quotaRoom(job) >= 1 ? findNodes(board.capacity, job.shape, 1)?.[0] : undefined);
        const node = find() ?? (preempts && makeRoom(board, job, 1, 'grow') ? find() : undefined);
        if (node === undefined) grown.add(job.kind);
        else grow(board, job, node);
      }
    }
    return tell(board);
  };
}

/**
 * First in, first out, with EASY backfill (Lifka 1995): room is kept for the first job that nodes have none for, at the time
 * when the running ones will have left enough; others go before it if they are done by then or do not need that room. Nobody
 * is preempted. It knows how long jobs take, which a real one is told by its users and ours measures.
 */
export function fifoWithBackfill({ jobs }: Trace): Scheduler {
  const known = new Map(jobs.map((job) => [job.key, job]));
  const durationOf = ({ state }: Job, workers: number): number => {
    const job = known.get(state.key);
    return job === undefined ? Number.POSITIVE_INFINITY : job.startupMs + ((state.itemsLeft ?? job.items) / job.rate / workers) * 1_000;
  };
  return (snapshot, now): Schedule => {
    const board = open(snapshot, now);
    const order = [...board.ranked].sort((a, b) => a.state.createdAt - b.state.createdAt || a.index - b.index);
    let kept: Kept | undefined;
    for (const job of order) {
      if (!isWaiting(job)) continue;
      const lets = !kept || letsPass(kept, board, job, job.min, now + durationOf(job, job.min));
      if (lets && tryStart(board, job, 'start', false)) {
        const started = job.seats.map(({ node }) => node);
        if (kept && now + durationOf(job, job.min) > kept.at) for (const node of started) addTo(kept.free[node] as Float64Array, job.shape.need, -1);
        continue;
      }
      board.queue.push(job);
      if (!kept && quotaRoom(job) >= job.min && jobRoom(job)) kept = keepFor(board, job, (other) => now + durationOf(other, other.seats.length));
    }
    for (const job of order) {
      while (canGrow(job, board) && quotaRoom(job) >= 1 && (!kept || letsPass(kept, board, job, 1, now + durationOf(job, job.seats.length + 1)))) {
        const node = findNodes(board.capacity, job.shape, 1)?.[0];
        if (node === undefined) break;
        grow(board, job, node);
        if (kept && now + durationOf(job, job.seats.length) > kept.at) addTo(kept.free[node] as Float64Array, job.shape.need, -1);
      }
    }
    return tell(board);
  };
}

/** Room that is kept for a job. */
interface Kept {
  job: Job;
  at: number;
  /** Per node, what will be free then beyond what the job takes. */
  free: Float64Array[];
}

/** The first time at which the job has room, if all that runs ends as foreseen. */
function keepFor(board: Board, job: Job, endOf: (running: Job) => number): Kept | undefined {
  const { capacity, ranked } = board;
  const free = capacity.free.map((amounts) => amounts.slice());
  const room = (): number => job.shape.matching.reduce((sum, node) => sum + timesIn(free[node] as Float64Array, job.shape.need), 0);
  const ends = ranked.filter(({ seats }) => seats.length > 0).map((other) => ({ other, at: endOf(other) })).sort((a, b) => a.at - b.at || a.other.index - b.other.index);
  for (const { other, at } of ends) {
    for (const { node } of other.seats) if (node >= 0) addTo(free[node] as Float64Array, other.shape.need, 1);
    if (room() < job.min) continue;
    let missing = job.min;
    for (const node of job.shape.matching) {
      const takes = Math.min(missing, timesIn(free[node] as Float64Array, job.shape.need));
      if (takes > 0) addTo(free[node] as Float64Array, job.shape.need, -takes);
      missing -= takes;
    }
    return { job, at, free };
  }
  return undefined;
}

/** Whether `count` workers of a job that is done at `endsAt` leave the room that is kept. */
function letsPass({ at, free }: Kept, { capacity }: Board, { shape }: Job, count: number, endsAt: number): boolean {
  if (endsAt <= at) return true;
  const nodes = findNodes(capacity, shape, count) ?? [];
  const taken = new Map<number, number>();
  for (const node of nodes) taken.set(node, (taken.get(node) ?? 0) + 1);
  return [...taken].every(([node, times]) => timesIn(free[node] as Float64Array, shape.need) >= times);
}
