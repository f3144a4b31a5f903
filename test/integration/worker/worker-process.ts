import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { env, type WorkerSpec } from '../../../inference-pod/contract.ts';

export const root = resolve(import.meta.dirname, '../../..');
export const models = join(root, 'test/support/models');

export interface Folder {
  path: string;
  input(name: string, lines: string | Buffer): void;
  output(name: string): string;
}

/** A folder that stands for the job's volume. */
export function aVolume(): Folder {
  const path = mkdtempSync(join(tmpdir(), 'millrace-worker-'));
  return {
    path,
    input: (name, content) => writeFileSync(join(path, name), content),
    output: (name) => readFileSync(join(path, 'out', name), 'utf8'),
  };
}

export function aSpec(volume: Folder, model: string, changes: Partial<WorkerSpec> = {}): WorkerSpec {
  return {
    job: { uid: '11111111-2222-3333-4444-555555555555', namespace: 'tenant-acme', name: 'nightly' },
    model: { root: models, path: model, task: 'tensors', accelerator: 'cpu' },
    input: { format: 'jsonl', root: volume.path, path: 'in.jsonl', additionalPaths: [] },
    output: { root: volume.path, path: 'out', overwrite: false },
    sharding: { targetBytes: 16 * 1024, maxWorkers: 2 },
    batching: { maxSize: 32, timeoutSeconds: 300 },
    ...changes,
  };
}

export interface WorkerProcess {
  child: ChildProcess;
  /** Everything that it logged so far. */
  log(): string;
  terminationLog(): unknown;
  exit: Promise<number | string>;
}

/** `addressSpaceKiB` limits what the process may map, so that allocations fail as on a full machine. */
export function startWorker(spec: WorkerSpec | string, syncUrl: string, extra: Record<string, string> = {}, addressSpaceKiB?: number): WorkerProcess {
  const terminationLog = join(mkdtempSync(join(tmpdir(), 'millrace-termination-')), 'log');
  const program = join(root, 'inference-pod/main.ts');
  const limited = `ulimit -v ${addressSpaceKiB ?? 'unlimited'} && exec "$0" "$1"`;
  const child = spawn('/bin/sh', ['-c', limited, process.execPath, program], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env['PATH'],
      [env.spec]: typeof spec === 'string' ? spec : JSON.stringify(spec),
      [env.slot]: '0',
      [env.attempt]: '1',
      [env.syncUrl]: syncUrl,
      [env.cpuMillis]: '1000',
      [env.terminationLog]: terminationLog,
      ...extra,
    },
  });
  let log = '';
  child.stdout?.on('data', (part: Buffer) => (log += part.toString('utf8')));
  child.stderr?.on('data', (part: Buffer) => (log += part.toString('utf8')));
  return {
    child,
    log: () => log,
    terminationLog: () => JSON.parse(readFileSync(terminationLog, 'utf8')),
    exit: new Promise((resolve) => child.on('close', (code, signal) => resolve(code ?? signal ?? 'gone'))),
  };
}
