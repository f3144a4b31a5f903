import type { Port, Signature } from '../engine/signature.ts';
import { datatypes } from './datatypes.ts';

/** What GET /v2 and GET /v2/models/{name} tell (Open Inference Protocol). */
export const serverMetadata = (version: string): object => ({ name: 'millrace', version, extensions: ['binary_tensor_data'] });

export function modelMetadata({ name, version }: { name: string; version: string }, { inputs, outputs, batched }: Signature): object {
  const tensor = (port: Port): object => ({ name: port.name, datatype: datatypes[port.dtype], shape: [batched ? -1 : 1, ...port.shape.map((size) => size ?? -1)] });
  return { name, versions: [version], platform: 'onnxruntime_onnx', inputs: inputs.map(tensor), outputs: outputs.map(tensor) };
}
