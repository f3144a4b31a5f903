import type { Clock } from '../kit/clock.ts';
import { type ItemCounts, type Lease, type LeaseReport, timing } from './contract.ts';
import { ItemsStuck, PoolStopped, type Sessions, type Slot } from './engine/pool.ts';
import { findManifest } from './finishing/manifest.ts';
import type { Gate } from './gate.ts';
import { type Job, loadPlan, type PlannedInput } from './job.ts';
import type { ShardRange } from './planning/cut.ts';
import { tokensOf } from './planning/measure-batch.ts';
import type { Plan } from './planning/plan-file.ts';
import type { Chunk, ChunkResult, RunTimes } from './reading/chunk.ts';
import { ChunkQueue } from './reading/chunk-queue.ts';
import type { ChunkSize } from './reading/chunk-size.ts';
import { type Concatenation, fileAt } from './reading/concatenation.ts';
import { groupLimits, readChunk } from './reading/groups.ts';
import { maxLineBytes } from './reading/limits.ts';
import { LineReader, type Position } from './reading/lines.ts';
import type { SpareBuffers } from './reading/spare-buffers.ts';
import type { Suspects } from './reading/suspects.ts';
import { OpenSegment } from './segments/open-segment.ts';
import type { Footer } from './segments/segment.ts';
import { readStuckRuns, storeStuckRun } from './segments/stuck-runs.ts';
import { followChain, openShardFolder, type ShardFolder, shardFolder, storeSegment } from './segments/store.ts';
import { Gone } from './stores/store.ts';

/** A segment is closed before its time when its results take this much memory. */
const segmentBytes = 8 * 1024 * 1024;

export interface ShardDeps {
  job: Job;
  pool: Sessions;
  gate: Gate;
  chunkSize: ChunkSize;
  spares: SpareBuffers;
  clock: Clock;
  /** Items became durable by this process. */
  onDurable: (items: ItemCounts) => void;
  onRuns: (runs: RunTimes) => void;
  /** The report has something that the operator should know at once or soon. */
  onNews: () => void;
}

/** `over`: nothing more can be done on the lease; else a stored segment was adopted, and the work goes on behind it. */
interface Stretch {
  reached: Position;
  over: boolean;
}

/**
 * The work on one shard lease: read on from the end of the stored chain, run, store a segment at each checkpoint.
 * Any number of runs of one shard, in any processes, together store one chain of segments.
 */
export class ShardRun {
  readonly lease: Extract<Lease, { kind: 'shard' }>;
  readonly #deps: ShardDeps;
  readonly #rank: number;
  /** Ends everything: no further segment. */
  readonly #stopped = new AbortController();
  /** Ends the taking up of new chunks; what is in flight still counts. */
  readonly #drained = new AbortController();
  #state: LeaseReport['state'] = 'running';
  #items: ItemCounts = { succeeded: 0, failed: 0 };
  #bytes = { done: 0, total: 0 };
  #firstError: string | undefined;
  #suspects: Suspects = [];

  /** Among the runs of one process the lowest `rank` gets the sessions first. */
  constructor(lease: Extract<Lease, { kind: 'shard' }>, rank: number, deps: ShardDeps) {
    this.lease = lease;
    this.#rank = rank;
    this.#deps = deps;
  }

  report(): LeaseReport {
    return {
      lease: this.lease,
      state: this.#state,
      items: { ...this.#items },
      bytes: { ...this.#bytes },
      ...(this.#firstError === undefined ? {} : { firstError: this.#firstError }),
    };
  }

  /** The lease is lost: no further segment. */
  stop(): void {
    this.#stopped.abort(new PoolStopped('the lease was given up'));
    this.#drained.abort(this.#stopped.signal.reason);
  }

  /** Takes up nothing new; `run` ends with a last segment of what is done, and the lease is released. */
  drain(): void {
    this.#drained.abort(new PoolStopped('the worker is leaving'));
  }

  /** Ends when the shard is complete, stopped or drained. Rejects with FatalError, or with what a restart may mend. */
  async run(): Promise<void> {
    try {
      const complete = await this.#work().catch(async (error: unknown) => {
        // Another worker committed the job meanwhile and removed its segments.
        if (error instanceof Gone) return await this.#takeFromManifest(error);
        throw error;
      });
      this.#state = complete ? 'done' : 'released';
    } catch (error) {
      if (!(error instanceof PoolStopped)) throw error;
      this.#state = 'released';
    }
    if (!this.#stopped.signal.aborted) this.#deps.onNews();
  }

  async #work(): Promise<boolean> {
    const { job } = this.#deps;
    const { shard, generation } = this.lease;
    const planned = await loadPlan(job);
    if (planned === undefined) return await this.#takeFromManifest(new Error(`lease of shard ${shard}, but the job has no plan`));
    const range = planned.plan.shards[shard];
    if (range === undefined) throw new Error(`lease of shard ${shard}, but the plan has ${planned.plan.shards.length}`);
    await job.input.check(filesOf(planned, range));
    const place = shardFolder(job.output, job.state, shard, generation);
    await openShardFolder(place);
    this.#bytes.total = range.end - range.start;
    let at: Position = { offset: range.start, line: range.line };
    for (const footer of await followChain(place, range)) at = this.#count(footer);
    this.#suspects = await readStuckRuns(place);
    this.#deps.onNews();
    try {
      for (let over = false; !over && at.offset < range.end; ) ({ reached: at, over } = await this.#stretch(planned, range, place, at));
    } catch (error) {
      if (error instanceof ItemsStuck) {
        const at = ({ file, offset }: ItemsStuck['first']): number => globalOffset(planned.input, file, offset);
        await storeStuckRun(place, { first: at(error.first), last: at(error.last) });
      }
      throw error;
    }
    return at.offset >= range.end;
  }

  /** After the commit the segments are gone, and the manifest speaks for the shard. */
  async #takeFromManifest(otherwise: unknown): Promise<boolean> {
    const { job } = this.#deps;
    const found = await findManifest(job.output, job.spec.job.uid);
    const shard = found.kind === 'ours' ? found.manifest.shards[this.lease.shard] : undefined;
    if (shard === undefined) throw otherwise;
    const [bytes, succeeded, failed] = shard;
    this.#items = { succeeded, failed };
    this.#bytes = { done: bytes, total: bytes };
    return true;
  }

  /** Works from `from` until the shard ends, the run is to end, or a stored segment makes it rewind; where it got to. */
  async #stretch(planned: PlannedInput, range: ShardRange, place: ShardFolder, from: Position): Promise<Stretch> {
    const reader = new LineReader(planned.input, from, range.end, maxLineBytes, this.#deps.job.spec.input.format);
    const over = new AbortController();
    const queue = new ChunkQueue(this.#deps.pool.depth * 2);
    const producing = this.#produce(reader, planned, queue, AbortSignal.any([over.signal, this.#drained.signal]));
    try {
      return await this.#consume(queue, place, from);
    } finally {
      over.abort(new PoolStopped('rewound'));
      queue.close();
      await producing;
      await reader.close();
    }
  }

  async #produce(reader: LineReader, { input, plan }: PlannedInput, queue: ChunkQueue, signal: AbortSignal): Promise<void> {
    const { pool, gate, chunkSize, spares, job } = this.#deps;
    const limits = groupLimits(pool.signature, plan.batch);
    const batch = { items: plan.batch.size, tokens: tokensOf(job) };
    try {
      for (;;) {
        await gate.passed(signal);
        await queue.hasRoom(signal);
        const slot = await pool.acquire(this.#rank, signal);
        let sent = false;
        try {
          const cut = await readChunk(reader, input, limits, chunkSize.target, batch, this.#suspects, spares);
          if (signal.aborted) return;
          if (cut === undefined) {
            queue.end(reader.position);
            return;
          }
          sent = true;
          queue.push({ next: cut.next, lines: cut.chunk.starts.length, result: this.#run(slot, cut.chunk) });
        } finally {
          if (!sent) slot.giveBack();
        }
      }
    } catch (error) {
      if (!(error instanceof PoolStopped)) queue.fail(error);
    } finally {
      queue.close();
    }
  }

  async #run(slot: Slot, chunk: Chunk): Promise<ChunkResult> {
    const result = await slot.run(chunk);
    if (result.spent) this.#deps.spares.give(result.spent);
    return result;
  }

  async #consume(queue: ChunkQueue, place: ShardFolder, from: Position): Promise<Stretch> {
    const { clock, chunkSize } = this.#deps;
    let segment = new OpenSegment(from);
    let reached = from;
    for (;;) {
      const wait = segment.since === undefined ? undefined : segment.since + timing.checkpointMs - clock.monotonic();
      const next = await queue.next(wait);
      this.#stopped.signal.throwIfAborted();
      if (next.kind === 'result') {
        chunkSize.observe(next.chunk.lines, next.result.elapsedMs);
        this.#deps.onRuns(next.result.runs);
        segment.append(next.result, next.chunk.next, clock.monotonic());
      } else if (next.kind === 'end') {
        segment.extend(next.end);
      }
      const over = next.kind === 'end' || next.kind === 'closed';
      const due = segment.since !== undefined && clock.monotonic() - segment.since >= timing.checkpointMs;
      if (!over && !due && next.kind !== 'late' && segment.bytes < segmentBytes) continue;
      if (!segment.isEmpty) {
        const { footer, body } = segment.close(this.lease.shard, this.lease.generation);
        const stored = await storeSegment(place, footer, body);
        if (!stored.adopted) this.#deps.onDurable(footer.items);
        reached = this.#count(stored.footer);
        this.#deps.onNews();
        if (stored.footer.end !== footer.end) return { reached, over: false };
        segment = new OpenSegment(reached);
      }
      if (over) return { reached, over };
    }
  }

  #count(footer: Footer): Position {
    this.#items.succeeded += footer.items.succeeded;
    this.#items.failed += footer.items.failed;
    this.#bytes.done += footer.end - footer.start;
    this.#firstError ??= footer.firstError;
    return { offset: footer.end, line: footer.line };
  }
}

function globalOffset({ files, starts }: Concatenation, path: string, offset: number): number {
  return (starts[files.findIndex((file) => file.path === path)] as number) + offset;
}

function filesOf({ plan, input }: PlannedInput, { start, end }: ShardRange): Plan['files'] {
  return plan.files.slice(fileAt(input, start), fileAt(input, end - 1) + 1);
}
