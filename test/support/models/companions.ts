/** Models in which the items of a batch know of each other. */
import { attribute, onnxModel, tensor } from './onnx.ts';

const x = { name: 'x', type: 'float32', shape: ['N', 4] } as const;
const y = { name: 'y', type: 'float32', shape: ['N', 4] } as const;

/** y = 2x through eight bits, scaled by the largest x of the batch: what dynamic quantisation makes of a MatMul. */
export function dynamicallyQuantised(): Buffer {
  return onnxModel({
    inputs: [x],
    outputs: [y],
    nodes: [
      { op: 'DynamicQuantizeLinear', inputs: ['x'], outputs: ['q', 'scale', 'zero'] },
      { op: 'MatMulInteger', inputs: ['q', 'w', 'zero'], outputs: ['sums'] },
      { op: 'Cast', inputs: ['sums'], outputs: ['floats'], attributes: [attribute.int('to', 1)] },
      { op: 'Mul', inputs: ['floats', 'scale'], outputs: ['y'] },
    ],
    constants: [tensor('w', 'uint8', [4, 4], Uint8Array.from({ length: 16 }, (_, at) => (at % 5 === 0 ? 2 : 0)))],
  });
}

/** y = x less the largest of its column in the batch. */
export function centred(): Buffer {
  return onnxModel({
    inputs: [x],
    outputs: [y],
    nodes: [
      { op: 'ReduceMax', inputs: ['x', 'first'], outputs: ['most'] },
      { op: 'Sub', inputs: ['x', 'most'], outputs: ['y'] },
    ],
    constants: [tensor('first', 'int64', [1], BigInt64Array.of(0n))],
  });
}

/** y = the sum of x, which has any length, by way of `megabytes` for each item. */
export function hungry(megabytes: number): Buffer {
  const wide = { name: 'x', type: 'float32', shape: ['N'] } as const;
  return onnxModel({
    inputs: [wide],
    outputs: [{ ...y, shape: ['N'] }],
    nodes: [
      { op: 'Unsqueeze', inputs: ['x', 'one'], outputs: ['column'] },
      { op: 'Shape', inputs: ['x'], outputs: ['n'] },
      { op: 'Concat', inputs: ['n', 'width'], outputs: ['shape'], attributes: [attribute.int('axis', 0)] },
      { op: 'Expand', inputs: ['column', 'shape'], outputs: ['wide'] },
      { op: 'ReduceMax', inputs: ['wide', 'one'], outputs: ['y'], attributes: [attribute.int('keepdims', 0)] },
    ],
    constants: [tensor('one', 'int64', [1], BigInt64Array.of(1n)), tensor('width', 'int64', [1], BigInt64Array.of(BigInt(megabytes * 262_144)))],
  });
}

/** y = the element of [10, 20, 30] that the index x names; another index is refused by the run. */
export function picking(): Buffer {
  return onnxModel({
    inputs: [{ name: 'x', type: 'int64', shape: ['N'] }],
    outputs: [{ name: 'y', type: 'float32', shape: ['N'] }],
    nodes: [{ op: 'Gather', inputs: ['table', 'x'], outputs: ['y'] }],
    constants: [tensor('table', 'float32', [3], Float32Array.of(10, 20, 30))],
  });
}
