import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { Run } from './batch.ts';
import type { Dtype, Elements } from './dtypes.ts';
import { type Signature, signatureOf } from './signature.ts';

export type Provider = 'cpu' | 'cuda';

export interface Session {
  signature: Signature;
  run: Run;
}

/**
 * `choose` may leave out outputs that nobody needs. Throws ONNX Runtime's error, or UnusableModel. No spinning: under a CPU limit it takes the time that others need.
 * Unknown options are ignored without a word, and values in `extra` must be text.
 */
export async function openSession(model: string, provider: Provider, threads = 1, choose = (whole: Signature): Signature => whole): Promise<Session> {
  const session = await InferenceSession.create(model, {
    executionProviders: provider === 'cuda' ? [{ name: 'cuda', deviceId: 0 }, 'cpu'] : ['cpu'],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: '0' }, inter_op: { allow_spinning: '0' } } },
  });
  const signature = choose(signatureOf(session.inputMetadata, session.outputMetadata));
  const wanted = signature.outputs.map(({ name }) => name);
  const run: Run = async (inputs) => {
    const feeds: Record<string, Tensor> = {};
    inputs.forEach(({ dims, data }, index) => {
      const port = signature.inputs[index] as Signature['inputs'][number];
      feeds[port.name] = tensorOf(port.dtype, data, dims);
    });
    const answers = await session.run(feeds, wanted);
    return signature.outputs.map(({ name, dtype }) => {
      const answer = answers[name] as Tensor;
      return { dims: answer.dims, data: elementsOf(dtype, answer.data) };
    });
  };
  return { signature, run };
}

/**
 * The binding (1.30) does not know Node's Float16Array and refuses it for want of bytes; it takes the raw 16-bit words,
 * but not in a Tensor, which turns them into one.
 */
function tensorOf(dtype: Dtype, data: Elements, dims: readonly number[]): Tensor {
  if (!(data instanceof Float16Array)) return new Tensor(dtype, data as Float32Array, dims) as Tensor;
  return { type: dtype, data: new Uint16Array(data.buffer, data.byteOffset, data.length), dims, location: 'cpu' } as unknown as Tensor;
}

/** ONNX Runtime gives float16 as raw 16-bit words on some versions. */
function elementsOf(dtype: string, data: Tensor.DataType): Elements {
  if (dtype === 'float16' && data instanceof Uint16Array) return new Float16Array(data.buffer, data.byteOffset, data.length);
  return data as Elements;
}
