import { type Lease, type LeaseReport, leaseKey, type SyncRequest, type SyncResponse } from '../../../inference-pod/contract.ts';
import { openLedger, sync, tick } from '../../../operator/dispatch/ledger.ts';
import type { Ledger, LedgerJob, SavedProgress } from '../../../operator/dispatch/state.ts';

/** A ledger, a clock that tests move, and workers that say what they are told to say. */

export function aJob(over: Partial<LedgerJob> = {}): LedgerJob {
  return { uid: 'job-1', maxWorkers: 10, retryPerShard: 3, maxFailedItems: { percent: 50 }, suspended: false, ...over };
}

export class Scene {
  now = 0;
  ledger: Ledger;

  constructor(job: LedgerJob = aJob(), saved?: SavedProgress) {
    this.ledger = openLedger(job, saved, this.now);
  }

  /** A ledger whose plan of `shards` shards of ten items and a hundred bytes each has just been found. */
  static planned(shards: number, job: LedgerJob = aJob()): Scene {
    return new Scene(job, { ...nothingDone, plan: { shards, items: shards * 10, exact: true, bytes: shards * 100, files: 1 } });
  }

  worker(slot: number, attempt = 0): ScriptedWorker {
    return new ScriptedWorker(this, slot, attempt);
  }

  wait(ms: number): void {
    this.now += ms;
    tick(this.ledger, this.now);
  }
}

export const nothingDone: SavedProgress = { completed: '', items: { succeeded: 0, failed: 0 }, bytes: 0 };

export class ScriptedWorker {
  readonly scene: Scene;
  readonly slot: number;
  readonly attempt: number;
  incarnation: string;
  seq = 0;
  capacity = 2;
  draining = false;
  rate = 0;
  warning: string | undefined;
  reports = new Map<string, LeaseReport>();

  constructor(scene: Scene, slot: number, attempt: number) {
    this.scene = scene;
    this.slot = slot;
    this.attempt = attempt;
    this.incarnation = `first-${slot}-${attempt}`;
  }

  request(over: Partial<SyncRequest> = {}): SyncRequest {
    this.seq++;
    return {
      protocol: 1, worker: { job: 'job-1', slot: this.slot, attempt: this.attempt, incarnation: this.incarnation }, seq: this.seq, term: 0,
      draining: this.draining, capacity: this.capacity, leases: [...this.reports.values()],
      load: { itemsPerSecond: this.rate, cpuSeconds: 0, rssBytes: 0, ...(this.warning && { warning: this.warning }) }, ...over,
    };
  }

  /** Says what it has, takes what it is given; the names of its leases. */
  sync(over: Partial<SyncRequest> = {}): string[] {
    return this.take(sync(this.scene.ledger, this.request(over), this.scene.now));
  }

  take({ leases }: SyncResponse): string[] {
    const listed = new Map(leases.map((lease) => [leaseKey(lease), lease]));
    for (const key of [...this.reports.keys()]) if (!listed.has(key)) this.reports.delete(key);
    for (const [key, lease] of listed) if (!this.reports.has(key)) this.reports.set(key, this.at(lease, 0));
    return [...listed.keys()];
  }

  /** Takes the grant and confirms it. */
  settle(): string[] {
    this.sync();
    return this.sync();
  }

  verdict(): SyncResponse['verdict'] {
    return sync(this.scene.ledger, this.request(), this.scene.now).verdict;
  }

  /** `items` of ten are durable, `failed` of these as errors. */
  reach(key: string, items: number, failed = 0): void {
    const { lease } = this.reports.get(key) ?? fail(key);
    this.reports.set(key, this.at(lease, items, failed));
  }

  done(key: string, failed = 0): void {
    const { lease } = this.reports.get(key) ?? fail(key);
    const report: LeaseReport = { ...this.at(lease, 10, failed), state: 'done' };
    if (lease.kind === 'plan') report.plan = { shards: 2, items: 20, exact: true, bytes: 200, files: 1 };
    if (lease.kind === 'finish') report.finish = { items: { succeeded: 20, failed: 0 }, results: 'results.jsonl', errors: 'errors.jsonl', manifest: 'manifest.json', resultsBytes: 1, errorsBytes: 0 };
    this.reports.set(key, report);
  }

  release(key: string): void {
    this.reports.set(key, { ...(this.reports.get(key) ?? fail(key)), state: 'released' });
  }

  /** The process dies and the kubelet starts it again. */
  restart(): void {
    this.incarnation = `${this.incarnation}+`;
    this.seq = 0;
    this.reports.clear();
  }

  at(lease: Lease, items: number, failed = 0): LeaseReport {
    return {
      lease, state: 'running', items: { succeeded: items - failed, failed }, bytes: { done: items * 10, total: 100 },
      ...(failed > 0 && { firstError: `line 3 of ${leaseKey(lease)}: not JSON` }),
    };
  }
}

function fail(key: string): never {
  throw new Error(`the worker does not hold ${key}`);
}
