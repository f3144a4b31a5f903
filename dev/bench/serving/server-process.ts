import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { env } from '../../../inference-pod/contract.ts';
import type { ServeSpec } from '../../../inference-pod/serving/serve-spec.ts';
import { pause } from '../../../kit/backoff.ts';
import { repoDir } from '../../cluster/cache.ts';
import { StepError } from '../../step.ts';

/** USER_HZ, the same for all programs of Linux. */
const ticksPerSecond = 100;
const startMs = 120_000;

/** `main.ts serve` with one session of one thread. */
export class ServerProcess {
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  #log = '';

  constructor(spec: ServeSpec) {
    this.#child = spawn(process.execPath, [join(repoDir, 'inference-pod/main.ts'), 'serve'], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { PATH: process.env['PATH'], [env.spec]: JSON.stringify(spec), [env.servePort]: '0', [env.cpuMillis]: '1000' },
    });
    this.#child.stdout?.on('data', (part: Buffer) => {
      this.#log += part.toString('utf8');
    });
    this.#exited = new Promise((resolve) => this.#child.once('close', resolve));
    process.once('exit', () => this.#child.kill('SIGKILL'));
  }

  async url(): Promise<string> {
    for (const end = performance.now() + startMs; performance.now() < end; await pause(50, AbortSignal.timeout(startMs))) {
      const port = /"port":(\d+)/.exec(this.#log)?.[1];
      const url = `http://127.0.0.1:${port}`;
      if (port !== undefined && (await fetch(`${url}/v2/health/ready`, { signal: AbortSignal.timeout(startMs) })).ok) return url;
    }
    throw new StepError('start the server', this.#log, 'see its log above');
  }

  /** User and system time of all its threads so far. */
  get cpuSeconds(): number {
    const text = readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8');
    // The name in brackets may hold anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ').map(Number);
    return ((fields[11] ?? 0) + (fields[12] ?? 0)) / ticksPerSecond;
  }

  async close(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.#exited;
  }
}
