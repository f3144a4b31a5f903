import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDir, ensurePath, fileDigest } from '../../cluster/cache.ts';
import { CommandError, sh, StepError, step } from '../../step.ts';
import type { Workload } from './workloads.ts';

const scripts = join(import.meta.dirname, 'peers');
const runLimitMs = 30 * 60_000;

/** Programs in peers/, each with a list of packages beside it. */
export type Peer = 'loop' | 'ray_data' | 'triton';

/** The Python of a virtual environment with the peer's packages, made once in the cache folder. Throws StepError. */
export async function installPeer(peer: Peer): Promise<string> {
  const packages = join(scripts, `${peer}.txt`);
  const folder = await ensurePath(join(cacheDir(), 'bench', `venv-${peer}-${fileDigest(packages)}`), async (partial) => {
    await step(`install ${peer} (${(await readFile(packages, 'utf8')).trim().replaceAll('\n', ', ')})`, async () => {
      // The system's own first: PyTriton's server does not load every other build of Python.
      const python = await firstOf(['/usr/bin/python3', 'python3']);
      await mkdir(partial, { recursive: true });
      await sh(python, ['-m', 'venv', partial], { timeout: 120_000 });
      await sh(join(partial, 'bin/python'), ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--requirement', packages], { timeout: 900_000 });
    });
  });
  return join(folder, 'bin/python');
}

async function firstOf(pythons: readonly string[]): Promise<string> {
  for (const python of pythons) {
    try {
      await sh(python, ['-c', 'import ensurepip, sys; assert sys.version_info >= (3, 10)'], { timeout: 30_000 });
      return python;
    } catch (cause) {
      if (!(cause instanceof CommandError)) throw cause;
    }
  }
  throw new StepError('find Python', `none of ${pythons.join(', ')} is Python 3.10 or newer with the module ensurepip`, 'on Debian or Ubuntu: apt-get install python3-venv');
}

/** Runs the peer over the whole input; returns the file of results. */
export async function runPeer(peer: Peer, python: string, { folder: work }: Workload, folder: string, options: readonly string[]): Promise<string> {
  await mkdir(folder, { recursive: true });
  const output = join(folder, 'results.jsonl');
  await sh(python, [join(scripts, `${peer}.py`), '--model', join(work, 'model.onnx'), '--input', join(work, 'in.jsonl'), '--output', output, ...options], { timeout: runLimitMs });
  return output;
}
