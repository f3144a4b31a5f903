import { spawn, type ChildProcess } from 'node:child_process';
import { createWriteStream, readFileSync, rmSync, type WriteStream } from 'node:fs';
import { join } from 'node:path';
import { env, exitCodes, type Fatal, fatalExitCodes, type WorkerSpec } from '../../inference-pod/contract.ts';
import { cacheDir, repoDir } from '../cluster/cache.ts';

/** A process that lived this long is not crash-looping. */
const settledMs = 60_000;
const longestBackoffMs = 10_000;

export interface WorkerProcessOptions {
  spec: WorkerSpec;
  slot: number;
  syncUrl: string;
  cpuMillis: number;
  /** Folder for the log and the termination log. */
  folder: string;
  /** Options for Node itself. */
  execArgv?: readonly string[] | undefined;
  onStart: (slot: number, pid: number, restarts: number) => void;
  /** A permanent exit code: no restart. */
  onFatal: (slot: number, fatal: Fatal) => void;
}

/** One worker slot, kept running as a kubelet keeps a container with `restartPolicy: OnFailure`. */
export class WorkerProcess {
  readonly #options: WorkerProcessOptions;
  readonly #log: WriteStream;
  readonly #ended = Promise.withResolvers<void>();
  #child: ChildProcess | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopping = false;
  #restarts = 0;
  #quick = 0;

  constructor(options: WorkerProcessOptions) {
    this.#options = options;
    this.#log = createWriteStream(join(options.folder, `worker-${options.slot}.log`), { flags: 'a' });
    this.#start();
  }

  /** Resolves when the process has ended for good. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** SIGTERM, and SIGKILL when it has not ended after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    if (!this.#child) this.#end();
    this.#child?.kill('SIGTERM');
    const cut = setTimeout(() => this.#child?.kill('SIGKILL'), graceMs);
    await this.ended;
    clearTimeout(cut);
  }

  /** For the end of this process: leaves nothing behind. */
  kill(): void {
    this.#child?.kill('SIGKILL');
  }

  #start(): void {
    const { spec, slot, syncUrl, cpuMillis, execArgv = [], onStart } = this.#options;
    rmSync(this.#terminationLog, { force: true });
    const begun = performance.now();
    const child = spawn(process.execPath, ['--single-threaded-gc', ...execArgv, join(repoDir, 'inference-pod/main.ts')], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'],
        // More than half of a start is compiling sources that have not changed.
        NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? join(cacheDir(), 'compile-cache'),
        [env.spec]: JSON.stringify(spec),
        [env.slot]: String(slot),
        [env.attempt]: '0',
        [env.syncUrl]: syncUrl,
        [env.cpuMillis]: String(cpuMillis),
        [env.terminationLog]: this.#terminationLog,
      },
    });
    this.#child = child;
    child.stdout.pipe(this.#log, { end: false });
    child.stderr.pipe(this.#log, { end: false });
    child.once('spawn', () => onStart(slot, child.pid ?? 0, this.#restarts));
    child.once('error', () => undefined);
    child.once('close', (code) => this.#closed(code ?? exitCodes.crashed, performance.now() - begun));
  }

  #closed(code: number, livedMs: number): void {
    this.#child = undefined;
    const permanent = Object.entries(fatalExitCodes).find(([, value]) => value === code);
    if (permanent) this.#options.onFatal(this.#options.slot, this.#readFatal(permanent[0] as Fatal['code']));
    if (this.#stopping || permanent || code === exitCodes.done || code === exitCodes.retired) return this.#end();
    this.#quick = livedMs > settledMs ? 0 : this.#quick + 1;
    this.#restarts++;
    // The kubelet restarts the first time at once, then ever more slowly.
    const wait = this.#quick <= 1 ? 0 : Math.min(longestBackoffMs, 500 * 2 ** (this.#quick - 2));
    this.#timer = setTimeout(() => this.#start(), wait);
  }

  #end(): void {
    this.#log.end();
    this.#ended.resolve();
  }

  get #terminationLog(): string {
    return join(this.#options.folder, `termination-${this.#options.slot}.json`);
  }

  #readFatal(code: Fatal['code']): Fatal {
    try {
      return JSON.parse(readFileSync(this.#terminationLog, 'utf8')) as Fatal;
    } catch {
      return { code, message: `worker ${this.#options.slot} ended with exit code ${fatalExitCodes[code]}; see its log` };
    }
  }
}
