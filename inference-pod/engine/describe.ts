import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { join } from 'node:path';
import type { WorkerEngine } from '../contract.ts';
import type { SessionPool } from './pool.ts';

/** What runs the model: for the sync report, metrics and the log. */
export function describeEngine({ provider, size, threads }: Pick<SessionPool, 'provider' | 'size' | 'threads'>): WorkerEngine {
  const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
  return {
    provider,
    device: ((provider === 'cuda' ? gpuName() : cpus()[0]?.model) ?? 'unknown').trim().slice(0, 100),
    runtime: `onnxruntime ${version}`,
    node: process.versions.node,
    sessions: size,
    threads,
  };
}

/** As the driver names it; a container sees only the GPUs that it was given. */
function gpuName(): string | undefined {
  const folder = '/proc/driver/nvidia/gpus';
  try {
    const [first] = readdirSync(folder);
    return first === undefined ? undefined : /^Model:\s*(.+)$/m.exec(readFileSync(join(folder, first, 'information'), 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}
