import { timing } from '../../inference-pod/contract.ts';
import type { SyncRequest, SyncResponse, WorkerEngine } from '../../inference-pod/contract.ts';
import type { Clock } from '../../kit/clock.ts';
import { answer, isNews } from './answer.ts';
import { leave, openLedger, receive, tick, updateJob, workerGone } from './ledger.ts';
import { type LedgerProgress, progress, save } from './progress.ts';
import type { Ledger, LedgerJob, SavedProgress } from './state.ts';

export interface DispatcherOptions {
  clock: Pick<Clock, 'monotonic'>;
  /** Something visible of this job changed: at most once a second, at once when the phase changed. */
  onChange: (jobUid: string, phaseChanged: boolean) => void;
  holdMs?: number;
}

/** Why a sync gets no answer: `unknown` job, this process was `deposed` by a leader with a higher term, or it is `closed`. */
export type NoAnswer = 'unknown' | 'deposed' | 'closed';

const tickMs = 500;
const notifyMs = 1_000;
/** A worker that repeats a request without taking in the answer gets the same answer no faster than this. */
const repeatMs = 200;

interface OpenSync {
  slot: number;
  resolve: (response: SyncResponse) => void;
  timer: NodeJS.Timeout;
}

interface Entry {
  ledger: Ledger;
  open: Map<number, OpenSync>;
  /** The latest answer to each slot: whether it said to pause, its text, and when it was given. */
  told: Map<number, { pause: boolean; text: string; at: number }>;
  notified: { version: number; phase: string; at: number };
  notice: NodeJS.Timeout | undefined;
}

/** The ledgers of all jobs, the syncs that are held open on them, and the timer that lets leases expire. */
export class Dispatcher {
  readonly #options: Required<DispatcherOptions>;
  readonly #entries = new Map<string, Entry>();
  readonly #ticker: NodeJS.Timeout;
  #term = 0;
  #closed = false;

  constructor(options: DispatcherOptions) {
    this.#options = { holdMs: timing.holdMs, ...options };
    this.#ticker = setInterval(() => this.#tick(), tickMs);
  }

  /** Grows with every change of the leader; sent with every answer. Set before the first `open`. */
  set term(term: number) {
    this.#term = term;
  }

  /** Opens a job's ledger; for one that is open already this is `update`, and `saved` counts for nothing. */
  open(job: LedgerJob, saved: SavedProgress | undefined): void {
    if (this.#closed) return;
    if (this.#entries.has(job.uid)) return this.update(job);
    const ledger = openLedger(job, saved, this.#now());
    const notified = { version: ledger.version, phase: ledger.phase, at: this.#now() };
    this.#entries.set(job.uid, { ledger, open: new Map(), told: new Map(), notified, notice: undefined });
  }

  update(job: LedgerJob): void {
    const entry = this.#entries.get(job.uid);
    if (!entry) return;
    updateJob(entry.ledger, job, this.#now());
    this.#settle(entry);
  }

  has(jobUid: string): boolean {
    return this.#entries.has(jobUid);
  }

  /** The worker is told at once, over the sync that it holds open. False when it holds none, or was told before. */
  leave(jobUid: string, slot: number, attempt: number): boolean {
    const entry = this.#entries.get(jobUid);
    if (!entry) return false;
    const open = entry.open.get(slot);
    leave(entry.ledger, slot, attempt);
    this.#settle(entry);
    return open !== undefined && entry.open.get(slot) !== open;
  }

  workerGone(jobUid: string, slot: number, attempt: number, byCrash = false): void {
    const entry = this.#entries.get(jobUid);
    if (!entry) return;
    workerGone(entry.ledger, slot, attempt, this.#now(), byCrash);
    this.#settle(entry);
  }

  progress(jobUid: string): LedgerProgress | undefined {
    const entry = this.#entries.get(jobUid);
    return entry && progress(entry.ledger, this.#now());
  }

  /** `progress` and what a new leader needs, of the same moment: both belong into the same status update. */
  snapshot(jobUid: string): { progress: LedgerProgress; saved: SavedProgress } | undefined {
    const entry = this.#entries.get(jobUid);
    return entry && { progress: progress(entry.ledger, this.#now()), saved: save(entry.ledger) };
  }

  /** What runs the model of each worker that is heard of, over all jobs. */
  engines(): WorkerEngine[] {
    const workers = [...this.#entries.values()].flatMap(({ ledger }) => [...ledger.workers.values()]);
    return workers.flatMap(({ silent, load }) => (silent || load.engine === undefined ? [] : [load.engine]));
  }

  /** The job is over or deleted: workers that are still there are told to leave, later syncs get `unknown`. */
  forget(jobUid: string): void {
    const entry = this.#entries.get(jobUid);
    if (!entry) return;
    this.#entries.delete(jobUid);
    clearTimeout(entry.notice);
    const verdict = entry.ledger.phase === 'Finished' ? 'done' : 'retired';
    for (const { slot } of [...entry.open.values()]) this.#reply(entry, slot, { term: this.#term, leases: [], pause: false, verdict });
  }

  /** Takes the request in at once; resolves when there is news for this worker, or after `holdMs`. `signal`: the caller is gone. */
  sync(request: SyncRequest, signal?: AbortSignal): Promise<SyncResponse | NoAnswer> {
    if (this.#closed) return Promise.resolve('closed');
    if (request.term > this.#term) return Promise.resolve('deposed');
    const entry = this.#entries.get(request.worker.job);
    if (!entry) return Promise.resolve('unknown');
    const { slot } = request.worker;
    const standing = receive(entry.ledger, request, this.#now());
    if (standing === 'retired') {
      this.#settle(entry);
      return Promise.resolve({ term: this.#term, leases: [], pause: false, verdict: 'retired' });
    }
    if (standing === 'superseded') return Promise.resolve({ ...this.#answer(entry, slot), superseded: true });
    const former = entry.open.get(slot);
    if (former) this.#reply(entry, slot, { ...this.#answer(entry, slot), superseded: true });
    const response = new Promise<SyncResponse>((resolve) => {
      const timer = setTimeout(() => this.#reply(entry, slot, this.#answer(entry, slot)), this.#options.holdMs);
      const open = { slot, resolve, timer };
      entry.open.set(slot, open);
      signal?.addEventListener('abort', () => {
        if (entry.open.get(slot) !== open) return;
        clearTimeout(open.timer);
        entry.open.delete(slot);
        // Nobody hears it, but whoever awaits it must end.
        resolve({ ...this.#answer(entry, slot), superseded: true });
      }, { once: true });
    });
    entry.ledger.news.add(slot);
    this.#settle(entry);
    return response;
  }

  /** Answers everything that is held open and stops; later syncs get `closed`. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#ticker);
    for (const entry of this.#entries.values()) {
      clearTimeout(entry.notice);
      for (const { slot } of [...entry.open.values()]) this.#reply(entry, slot, this.#answer(entry, slot));
    }
  }

  #now(): number {
    return this.#options.clock.monotonic();
  }

  #tick(): void {
    for (const entry of this.#entries.values()) {
      // Of the thousands of jobs that wait, no lease can run out.
      if (entry.ledger.workers.size === 0) continue;
      tick(entry.ledger, this.#now());
      this.#settle(entry);
    }
  }

  #answer(entry: Entry, slot: number): SyncResponse {
    return { ...answer(entry.ledger, slot), term: this.#term };
  }

  #reply(entry: Entry, slot: number, response: SyncResponse): void {
    const open = entry.open.get(slot);
    if (!open) return;
    entry.open.delete(slot);
    clearTimeout(open.timer);
    if (!response.superseded) entry.told.set(slot, { pause: response.pause, text: JSON.stringify(response), at: this.#now() });
    open.resolve(response);
  }

  /** After every change of a ledger: answers the held syncs that it concerns, and reports the change. */
  #settle(entry: Entry): void {
    const { ledger } = entry;
    const slots = ledger.everyone ? [...entry.open.keys()] : [...ledger.news];
    ledger.everyone = false;
    ledger.news.clear();
    for (const slot of slots) {
      const open = entry.open.get(slot);
      if (!open) continue;
      const response = this.#answer(entry, slot);
      const told = entry.told.get(slot);
      if (!isNews(ledger, slot, response) && (told?.pause ?? false) === response.pause) continue;
      const wait = told && told.text === JSON.stringify(response) ? told.at + repeatMs - this.#now() : 0;
      if (wait <= 0) this.#reply(entry, slot, response);
      else this.#postpone(entry, open, wait);
    }
    this.#notify(entry);
  }

  #postpone(entry: Entry, open: OpenSync, wait: number): void {
    clearTimeout(open.timer);
    open.timer = setTimeout(() => this.#reply(entry, open.slot, this.#answer(entry, open.slot)), wait);
  }

  #notify(entry: Entry): void {
    const { ledger, notified } = entry;
    const urgent = ledger.phase !== notified.phase;
    if (!urgent && (entry.notice || ledger.version === notified.version)) return;
    const wait = urgent ? 0 : notified.at + notifyMs - this.#now();
    clearTimeout(entry.notice);
    const tell = (): void => {
      entry.notice = undefined;
      const phaseChanged = ledger.phase !== entry.notified.phase;
      entry.notified = { version: ledger.version, phase: ledger.phase, at: this.#now() };
      this.#options.onChange(ledger.job.uid, phaseChanged);
    };
    if (wait <= 0) tell();
    else entry.notice = setTimeout(tell, wait);
  }
}
