import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Agent, request } from 'undici';
import { expect, vi } from 'vitest';
import { env } from '../../../inference-pod/contract.ts';
import type { ServeSpec } from '../../../inference-pod/serving/serve-spec.ts';

const root = resolve(import.meta.dirname, '../../..');
export const models = join(root, 'test/support/models');

export interface HttpAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** `main.ts serve` in a process of its own, on free ports. */
export class ServingProcess {
  readonly child: ChildProcess;
  readonly exit: Promise<number | string>;
  readonly #terminationLog = join(mkdtempSync(join(tmpdir(), 'millrace-termination-')), 'log');
  readonly #agent = new Agent({ connections: 64 });
  log = '';

  readonly #healthPort: number;

  private constructor(spec: object, healthPort: number, cpuMillis: string) {
    this.#healthPort = healthPort;
    this.child = spawn(process.execPath, [join(root, 'inference-pod/main.ts'), 'serve'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'],
        [env.spec]: JSON.stringify(spec),
        [env.servePort]: '0',
        [env.healthPort]: String(healthPort),
        [env.cpuMillis]: cpuMillis,
        [env.terminationLog]: this.#terminationLog,
      },
    });
    this.child.stdout?.on('data', (part: Buffer) => (this.log += part.toString('utf8')));
    this.child.stderr?.on('data', (part: Buffer) => (this.log += part.toString('utf8')));
    this.exit = new Promise((end) => this.child.on('close', (code, signal) => end(code ?? signal ?? 'gone')));
  }

  static async start(spec: ServeSpec | object, cpuMillis = '1000'): Promise<ServingProcess> {
    return new ServingProcess(spec, await freePort(), cpuMillis);
  }

  /** A model of test/support/models by its name, or one that a test wrote. */
  static spec(model: string | Buffer, changes: Partial<ServeSpec> = {}): ServeSpec {
    const folder = typeof model === 'string' ? models : mkdtempSync(join(tmpdir(), 'millrace-model-'));
    if (typeof model !== 'string') writeFileSync(join(folder, 'm.onnx'), model);
    return { model: { root: folder, path: typeof model === 'string' ? model : 'm.onnx', name: 'm', task: 'tensors', accelerator: 'cpu' }, ...changes };
  }

  get port(): number {
    return Number(/"port":(\d+)/.exec(this.log)?.[1] ?? Number.NaN);
  }

  get fatal(): unknown {
    return JSON.parse(readFileSync(this.#terminationLog, 'utf8'));
  }

  async listening(): Promise<void> {
    await vi.waitFor(() => expect(this.port, this.log).toBeGreaterThan(0), { timeout: 60_000, interval: 10 });
  }

  async ready(): Promise<this> {
    await this.listening();
    await vi.waitFor(async () => expect((await this.call('/v2/health/ready')).status).toBe(200), { timeout: 60_000, interval: 20 });
    return this;
  }

  async call(path: string, body?: string | Buffer | object, more: { headers?: Record<string, string>; method?: string; signal?: AbortSignal } = {}): Promise<HttpAnswer> {
    const text = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
    const { headers = {}, signal, method = text === undefined ? 'GET' : 'POST' } = more;
    const response = await request(`http://127.0.0.1:${this.port}${path}`, {
      dispatcher: this.#agent, method, headers: { 'content-type': 'application/json', ...headers }, ...(text === undefined ? {} : { body: text }), ...(signal ? { signal } : {}),
    });
    return { status: response.statusCode, headers: response.headers, body: Buffer.from(await response.body.arrayBuffer()).toString('latin1') };
  }

  infer(body: string | Buffer | object, more: { headers?: Record<string, string>; signal?: AbortSignal } = {}): Promise<HttpAnswer> {
    return this.call('/v2/models/m/infer', body, more);
  }

  async metrics(): Promise<string> {
    const { body } = await request(`http://127.0.0.1:${this.#healthPort}/metrics`, { dispatcher: this.#agent });
    return await body.text();
  }

  /** Value of a metric without labels. */
  async metric(name: string): Promise<number> {
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(await this.metrics())?.[1] ?? Number.NaN);
  }

  async close(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL');
    await this.exit;
    await this.#agent.close();
  }
}
