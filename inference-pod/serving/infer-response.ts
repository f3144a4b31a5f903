import type { Feed } from '../engine/batch.ts';
import { traits } from '../engine/dtypes.ts';
import { formatFloat16, formatFloat32, formatFloat64 } from '../engine/numbers.ts';
import type { Port, Signature } from '../engine/signature.ts';
import { writeBinary } from './binary-tensor.ts';
import { datatypes } from './datatypes.ts';
import type { InferRequest } from './infer-request.ts';
import { Refusal } from './refusal.ts';

/** An HTTP answer that is ready to be sent; `bytes` is its size. */
export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: Buffer;
  bytes: number;
}

/** Header with the length of the JSON in a body that has binary data behind it. */
export const jsonLengthHeader = 'inference-header-content-length';

/** Throws Refusal when an output cannot be written as it was asked for. */
export function inferResponse(model: { name: string; version: string }, { id, outputs }: InferRequest, answers: readonly Feed[], signature: Signature): Answer {
  const blobs: Buffer[] = [];
  const tensors = outputs.map(({ index, binary }) => {
    const port = signature.outputs[index] as Port;
    const { dims, data } = answers[index] as Feed;
    const head = `"name":${JSON.stringify(port.name)},"datatype":"${datatypes[port.dtype]}","shape":[${dims.join(',')}]`;
    if (!binary) return `{${head},"data":${formatFlat(port, data)}}`;
    const blob = writeBinary(data);
    blobs.push(blob);
    return `{${head},"parameters":{"binary_data_size":${blob.length}}}`;
  });
  const ofModel = `"model_name":${JSON.stringify(model.name)},"model_version":${JSON.stringify(model.version)}`;
  const json = Buffer.from(`{${ofModel}${id === undefined ? '' : `,"id":${JSON.stringify(id)}`},"outputs":[${tensors.join(',')}]}`);
  if (blobs.length === 0) return { status: 200, headers: { 'content-type': 'application/json' }, body: json, bytes: json.length };
  const body = Buffer.concat([json, ...blobs]);
  return { status: 200, headers: { 'content-type': 'application/octet-stream', [jsonLengthHeader]: String(json.length) }, body, bytes: body.length };
}

/** Flat, in row-major order. */
function formatFlat({ name, dtype }: Port, data: Feed['data']): string {
  const { kind } = traits[dtype];
  if (kind === 'string') return JSON.stringify(data);
  if (kind === 'bool') return `[${Array.from(data as Uint8Array, (value) => value !== 0).join(',')}]`;
  if (kind !== 'float') return `[${(data as Uint8Array).join(',')}]`;
  const format = dtype === 'float32' ? formatFloat32 : dtype === 'float16' ? formatFloat16 : formatFloat64;
  const values = data as Float64Array;
  const texts = new Array<string>(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (!Number.isFinite(value)) throw new Refusal(400, `outputs "${name}": the model gave ${value}, which JSON cannot carry; ask for it as binary data (outputs[].parameters.binary_data)`);
    texts[i] = format(value);
  }
  return `[${texts.join(',')}]`;
}
