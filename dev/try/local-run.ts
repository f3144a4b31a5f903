import { mkdir } from 'node:fs/promises';
import type { Fatal } from '../../inference-pod/contract.ts';
import { systemClock } from '../../kit/clock.ts';
import { Dispatcher } from '../../operator/dispatch/dispatcher.ts';
import type { LedgerProgress } from '../../operator/dispatch/progress.ts';
import { SyncServer } from '../../operator/dispatch/sync-server.ts';
import type { LocalJob } from './local-job.ts';
import { WorkerProcess } from './worker-process.ts';

export interface LocalRunOptions {
  job: LocalJob;
  /** CPU limit that each worker is told. */
  cpuMillis: number;
  /** Folder for the workers' logs. */
  logs: string;
  /** Options for the workers' Node. */
  execArgv?: readonly string[];
  onProgress?: (progress: LedgerProgress) => void;
  onNote?: (text: string) => void;
  onStart?: (slot: number, pid: number, restarts: number) => void;
}

/** A job with dispatcher, sync server and worker processes on this machine, as the operator runs it on a cluster. */
export class LocalRun {
  readonly workers: readonly WorkerProcess[];
  readonly #uid: string;
  readonly #dispatcher: Dispatcher;
  readonly #server: SyncServer;
  readonly #end: PromiseWithResolvers<'over' | Fatal>;

  private constructor(uid: string, dispatcher: Dispatcher, server: SyncServer, end: PromiseWithResolvers<'over' | Fatal>, workers: readonly WorkerProcess[]) {
    this.#uid = uid;
    this.#dispatcher = dispatcher;
    this.#server = server;
    this.#end = end;
    this.workers = workers;
  }

  static async start({ job, cpuMillis, logs, execArgv, onProgress, onNote, onStart }: LocalRunOptions): Promise<LocalRun> {
    await mkdir(logs, { recursive: true });
    const { uid } = job.spec.job;
    const end = Promise.withResolvers<'over' | Fatal>();
    const dispatcher = new Dispatcher({
      clock: systemClock,
      onChange: (changed) => {
        const progress = dispatcher.progress(changed);
        if (progress) onProgress?.(progress);
        if (progress?.phase === 'Finished' || progress?.phase === 'Failed') end.resolve('over');
      },
    });
    dispatcher.term = 1;
    dispatcher.open(job.ledger, undefined);
    const server = new SyncServer({
      host: '127.0.0.1',
      port: 0,
      authenticate: undefined,
      sync: (request, signal) => dispatcher.sync(request, signal),
      isReady: () => true,
      onError: (error) => onNote?.(`sync server: ${error instanceof Error ? error.message : String(error)}`),
    });
    const syncUrl = `http://127.0.0.1:${await server.listen()}`;
    const workers = Array.from({ length: job.workers }, (_, slot) => new WorkerProcess({
      spec: job.spec, slot, syncUrl, cpuMillis, folder: logs, execArgv,
      onStart: (worker, pid, restarts) => onStart?.(worker, pid, restarts),
      onFatal: (_, fatal) => end.resolve(fatal),
    }));
    process.once('exit', () => { for (const worker of workers) worker.kill(); });
    return new LocalRun(uid, dispatcher, server, end, workers);
  }

  /** `over`: the ledger has finished or failed the job; else why a worker gave up. */
  get outcome(): Promise<'over' | Fatal> {
    return this.#end.promise;
  }

  /** Waits `leaveMs` for workers that have been told to leave, when `outcome` came, then ends them and the server. */
  async close(leaveMs: number, wait: boolean): Promise<LedgerProgress> {
    if (wait) {
      const late = Promise.withResolvers<void>();
      const timer = setTimeout(late.resolve, leaveMs);
      await Promise.race([Promise.all(this.workers.map(({ ended }) => ended)), late.promise]);
      clearTimeout(timer);
    }
    await Promise.all(this.workers.map((worker) => worker.stop(leaveMs)));
    const progress = this.#dispatcher.progress(this.#uid);
    this.#dispatcher.close();
    await this.#server.close();
    if (!progress) throw new Error('the ledger is gone');
    return progress;
  }
}
