import type { WorkerSpec } from '../contract.ts';
import { FatalError, messageOf, shorten } from '../fatal.ts';
import type { Format } from '../reading/record-end.ts';
import { hasCudaLibraries, hasGpu, whyNotLoaded } from './cuda-libraries.ts';
import { SessionPool, SessionRefused } from './pool.ts';
import type { PoolSize } from './pool-size.ts';
import type { Provider } from './session.ts';
import type { TextSettings } from '../text/settings.ts';

export interface OpenPoolOptions {
  model: WorkerSpec['model'];
  /** Real path of the model file. */
  file: string;
  format: Format;
  text?: TextSettings;
  size: PoolSize;
  runLimitMs: number;
  onCrash: (error: Error) => void;
}

export interface OpenedPool {
  pool: SessionPool;
  /** Why `auto` did not take the GPU or the CUDA libraries that are there. */
  warning?: string;
}

/**
 * Opens the model as `accelerator` says: `cuda` or nothing, `cpu`, or `auto`: CUDA where there is a GPU, else CPU.
 * Throws FatalError ModelInvalid or AcceleratorUnavailable.
 */
export async function openPool(options: OpenPoolOptions): Promise<OpenedPool> {
  const { accelerator, path } = options.model;
  const wanted = accelerator === 'cuda' || (accelerator === 'auto' && (hasCudaLibraries() || hasGpu()));
  if (!wanted) return { pool: await openOnCpu(options) };
  try {
    return { pool: await open(options, 'cuda') };
  } catch (error) {
    if (!(error instanceof SessionRefused)) throw error;
    // Whatever CUDA says, a model that is bad is bad everywhere.
    const pool = await openOnCpu(options);
    const reason = whyNotLoaded(messageOf(error)) ?? causeOf(error, options.file);
    if (accelerator === 'auto') return { pool, warning: shorten(`running on CPU although ${hasGpu() ? 'a GPU is there' : 'the image has the CUDA libraries'}: ${reason}`, 300) };
    await pool.close(5_000);
    throw new FatalError(
      'AcceleratorUnavailable',
      `spec.workers.accelerator is "cuda", but "${path}" cannot be opened with CUDA: ${reason}; use an image with the CUDA libraries on a GPU node, or accelerator auto`,
    );
  }
}

async function openOnCpu(options: OpenPoolOptions): Promise<SessionPool> {
  try {
    return await open(options, 'cpu');
  } catch (error) {
    if (!(error instanceof SessionRefused)) throw error;
    throw new FatalError('ModelInvalid', `spec.model.path "${options.model.path}" is not a usable ONNX model: ${causeOf(error, options.file)}`);
  }
}

async function open({ file, format, text, size, runLimitMs, onCrash }: OpenPoolOptions, provider: Provider): Promise<SessionPool> {
  // One GPU takes one session; more would only divide its memory. Its CPU threads run what CUDA cannot.
  const { sessions, threads } = provider === 'cuda' ? { sessions: 1, threads: size.sessions * size.threads } : size;
  return await SessionPool.open({ model: file, provider, format, ...(text === undefined ? {} : { text }), sessions, threads, runLimitMs }, onCrash);
}

/** ONNX Runtime's message without the path that it repeats. */
function causeOf(error: unknown, file: string): string {
  const text = messageOf(error).replaceAll(file, 'the model').replace(/^Load model from the model failed:/, '');
  return shorten(text, 400);
}
