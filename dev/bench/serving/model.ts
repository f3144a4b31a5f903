import { onnxModel, tensor } from '../../../test/support/models/onnx.ts';
import { random } from '../../simulate/random.ts';

/** Floats of one request and of its answer. */
export const inputs = 1024;
export const outputs = 16;

/**
 * inputs → width → width → outputs with ReLU between, weights of a fixed seed. With a width of some thousands a run is
 * bound by the memory that the weights are read from, once for the whole batch: what dynamic batching is for.
 */
export function mlp(width: number): Buffer {
  const next = random(1);
  const sizes = [inputs, width, width, outputs];
  const constants: Buffer[] = [];
  const nodes = sizes.slice(1).flatMap((to, layer) => {
    const from = sizes[layer] as number;
    const scale = Math.sqrt(6 / from);
    constants.push(tensor(`w${layer}`, 'float32', [from, to], Float32Array.from({ length: from * to }, () => (next() * 2 - 1) * scale)));
    const last = layer + 2 === sizes.length;
    const sum = { op: 'MatMul', inputs: [layer === 0 ? 'x' : `h${layer}`, `w${layer}`], outputs: [last ? 'y' : `s${layer}`] };
    return last ? [sum] : [sum, { op: 'Relu', inputs: [`s${layer}`], outputs: [`h${layer + 1}`] }];
  });
  return onnxModel({
    inputs: [{ name: 'x', type: 'float32', shape: ['N', inputs] }],
    outputs: [{ name: 'y', type: 'float32', shape: ['N', outputs] }],
    nodes, constants,
  });
}

export const samples = 64;

/** What the requests of the benchmark ask, over and over. */
export function sample(index: number): Float32Array<ArrayBuffer> {
  const next = random(1_000 + index);
  return Float32Array.from({ length: inputs }, () => next() * 2 - 1);
}
