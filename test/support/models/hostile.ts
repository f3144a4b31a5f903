/** Models that do what a worker must survive. */
import { attribute, externalTensor, graph, type Model, onnxModel, sparseTensor, tensor } from './onnx.ts';

const x = { name: 'x', type: 'float32', shape: ['N', 4] } as const;
const y = { name: 'y', type: 'float32', shape: ['N', 4] } as const;
const addW = [{ op: 'Add', inputs: ['x', 'w'], outputs: ['y'] }];
const int64 = (...values: number[]): BigInt64Array => BigInt64Array.from(values, BigInt);

/** y = x + the four float32 that `entries` points to. */
export function withExternalData(entries: Record<string, string>): Buffer {
  return onnxModel({ inputs: [x], outputs: [y], nodes: addW, constants: [externalTensor('w', 'float32', [4], entries)] });
}

/** The same, with the reference in a place that is easily overlooked. */
export function withHiddenExternalData(entries: Record<string, string>, place: 'subgraph' | 'attribute' | 'sparse'): Buffer {
  const hidden = externalTensor('w', 'float32', [4], entries);
  const model: Model = { inputs: [x], outputs: [y], nodes: addW };
  if (place === 'attribute') return onnxModel({ ...model, nodes: [{ op: 'Constant', inputs: [], outputs: ['w'], attributes: [attribute.tensor('value', hidden)] }, ...addW] });
  if (place === 'sparse') return onnxModel({ ...model, sparse: [sparseTensor(hidden, tensor('', 'int64', [4], int64(0, 1, 2, 3)), [4])] });
  const branch = graph({ inputs: [], outputs: [{ name: 'b', type: 'float32', shape: [4] }], nodes: [{ op: 'Identity', inputs: ['w'], outputs: ['b'] }], constants: [hidden] });
  return onnxModel({
    ...model,
    nodes: [
      { op: 'If', inputs: ['yes'], outputs: ['w2'], attributes: [attribute.graph('then_branch', branch), attribute.graph('else_branch', branch)] },
      { op: 'Add', inputs: ['x', 'w2'], outputs: ['y'] },
    ],
    constants: [tensor('yes', 'bool', [], Uint8Array.of(1))],
  });
}

/** y = x, after as many turns of a loop as the largest x of the batch says. */
export function spinning(): Buffer {
  return onnxModel({
    inputs: [{ ...x, shape: ['N'] }],
    outputs: [{ ...y, shape: ['N'] }],
    nodes: [
      { op: 'ReduceMax', inputs: ['x'], outputs: ['most'], attributes: [attribute.int('keepdims', 0)] },
      { op: 'Cast', inputs: ['most'], outputs: ['turns'], attributes: [attribute.int('to', 7)] },
      { op: 'Loop', inputs: ['turns', 'yes', 'zero'], outputs: ['sum'], attributes: [attribute.graph('body', counting())] },
      { op: 'Mul', inputs: ['sum', 'zero'], outputs: ['nothing'] },
      { op: 'Cast', inputs: ['nothing'], outputs: ['nothing_float'], attributes: [attribute.int('to', 1)] },
      { op: 'Add', inputs: ['x', 'nothing_float'], outputs: ['y'] },
    ],
    constants: [tensor('yes', 'bool', [], Uint8Array.of(1)), tensor('zero', 'int64', [], int64(0))],
  });
}

function counting(): Buffer {
  return graph({
    inputs: [{ name: 'i', type: 'int64', shape: [] }, { name: 'on', type: 'bool', shape: [] }, { name: 'sum', type: 'int64', shape: [] }],
    outputs: [{ name: 'still_on', type: 'bool', shape: [] }, { name: 'next', type: 'int64', shape: [] }],
    nodes: [{ op: 'Identity', inputs: ['on'], outputs: ['still_on'] }, { op: 'Add', inputs: ['sum', 'i'], outputs: ['next'] }],
  });
}

/** y[n] = x[n] as often as the largest `size` of the batch says. */
export function widening(): Buffer {
  return onnxModel({
    inputs: [{ name: 'x', type: 'float32', shape: ['N'] }, { name: 'size', type: 'int64', shape: ['N'] }],
    outputs: [{ name: 'y', type: 'float32', shape: ['N', 'size'] }],
    nodes: [
      { op: 'ReduceMax', inputs: ['size'], outputs: ['most'], attributes: [attribute.int('keepdims', 1)] },
      { op: 'Concat', inputs: ['one', 'most'], outputs: ['shape'], attributes: [attribute.int('axis', 0)] },
      { op: 'Unsqueeze', inputs: ['x', 'one'], outputs: ['column'] },
      { op: 'Expand', inputs: ['column', 'shape'], outputs: ['y'] },
    ],
    constants: [tensor('one', 'int64', [1], int64(1))],
  });
}

/** y = x through so many nodes that loading takes seconds. */
export function slowToLoad(nodes: number): Buffer {
  const chain = Array.from({ length: nodes }, (_, i) => ({ op: i % 2 ? 'Mul' : 'Add', inputs: [i === 0 ? 'x' : `t${i - 1}`, 'c'], outputs: [i === nodes - 1 ? 'y' : `t${i}`] }));
  return onnxModel({ inputs: [x], outputs: [y], nodes: chain, constants: [tensor('c', 'float32', [1], new Float32Array([1]))] });
}
