import { accessSync, existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { messageOf } from '../fatal.ts';

/** The part of ONNX Runtime that speaks CUDA, and needs its libraries. */
function provider(): string {
  const binding = dirname(createRequire(import.meta.url).resolve('onnxruntime-node'));
  return join(binding, '..', 'bin', 'napi-v6', process.platform, process.arch, 'libonnxruntime_providers_cuda.so');
}

export function hasCudaLibraries(): boolean {
  return existsSync(provider());
}

export function hasGpu(): boolean {
  try {
    accessSync('/dev/nvidiactl');
    return true;
  } catch {
    return false;
  }
}

/**
 * ONNX Runtime logs why it could not load the provider, and only says that it could not: the dynamic linker tells again.
 * Undefined when `message` is about something else.
 */
export function whyNotLoaded(message: string): string | undefined {
  if (!message.includes('Failed to load shared library')) return undefined;
  if (!hasCudaLibraries()) return 'the image has no CUDA libraries';
  try {
    process.dlopen({ exports: {} }, provider());
  } catch (error) {
    const cause = messageOf(error).replace(provider(), 'libonnxruntime_providers_cuda.so');
    return cause.includes('libcuda.so.1') ? `${cause} (the NVIDIA driver, which the node gives to containers that ask for nvidia.com/gpu)` : cause;
  }
  return undefined;
}
