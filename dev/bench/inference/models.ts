/** The models of the benchmark, with random weights of a fixed seed: what counts is what they cost. */
import { attribute, type Node, onnxModel, type Port, tensor } from '../../../test/support/models/onnx.ts';
import { random } from '../../simulate/random.ts';

export interface BenchModel {
  bytes: Buffer;
  /** Its only input and output. */
  input: string;
  output: string;
}

class Graph {
  readonly nodes: Node[] = [];
  readonly constants: Buffer[] = [];
  readonly #next = random(1);
  #names = 0;

  /** Normal weights with a deviation of `1 / sqrt(fanIn)`, so that values keep their size from layer to layer. */
  weights(dims: readonly number[], fanIn: number): string {
    const size = dims.reduce((product, dim) => product * dim, 1);
    const values = Float32Array.from({ length: size }, () => Math.sqrt(-2 * Math.log(1 - this.#next())) * Math.cos(2 * Math.PI * this.#next()) / Math.sqrt(fanIn));
    return this.constant('float32', dims, values);
  }

  floats(dims: readonly number[], value: number): string {
    return this.constant('float32', dims, new Float32Array(dims.reduce((product, dim) => product * dim, 1)).fill(value));
  }

  integers(...values: readonly number[]): string {
    return this.constant('int64', [values.length], BigInt64Array.from(values, BigInt));
  }

  constant(type: 'float32' | 'int64', dims: readonly number[], data: NodeJS.TypedArray): string {
    const name = `c${this.#names++}`;
    this.constants.push(tensor(name, type, dims, data));
    return name;
  }

  op(op: string, inputs: readonly string[], attributes: readonly Buffer[] = [], output = `v${this.#names++}`): string {
    this.nodes.push({ op, inputs, outputs: [output], attributes });
    return output;
  }

  model(input: Port, output: Port): BenchModel {
    return { bytes: onnxModel({ inputs: [input], outputs: [output], nodes: this.nodes, constants: this.constants, opset: 17, irVersion: 9 }), input: input.name, output: output.name };
  }
}

/** 512 → 1024 → 1024 → 1024 → 16: 5.3 MFLOP and 10.6 MB of weights, which a batch reads once. */
export function mlp(): BenchModel {
  const graph = new Graph();
  const sizes = [512, 1024, 1024, 1024, 16];
  let x = 'x';
  for (let layer = 0; layer + 1 < sizes.length; layer++) {
    const [from, to] = [sizes[layer] as number, sizes[layer + 1] as number];
    const last = layer + 2 === sizes.length;
    x = graph.op('Gemm', [x, graph.weights([from, to], from), graph.floats([to], 0)], [], last ? 'y' : undefined);
    if (!last) x = graph.op('Relu', [x]);
  }
  return graph.model({ name: 'x', type: 'float32', shape: ['N', 512] }, { name: 'y', type: 'float32', shape: ['N', 16] });
}

/** 3x32x32, four convolutions, ten classes: 39.5 MFLOP. */
export function cnn(): BenchModel {
  const graph = new Graph();
  let [x, channels] = ['x', 3];
  for (const [filters, stride] of [[32, 1], [64, 2], [128, 2], [128, 1]] as const) {
    const weights = graph.weights([filters, channels, 3, 3], 9 * channels);
    x = graph.op('Relu', [graph.op('Conv', [x, weights, graph.floats([filters], 0)], [attribute.ints('kernel_shape', [3, 3]), attribute.ints('pads', [1, 1, 1, 1]), attribute.ints('strides', [stride, stride])])]);
    channels = filters;
  }
  graph.op('Gemm', [graph.op('Flatten', [graph.op('GlobalAveragePool', [x])]), graph.weights([channels, 10], channels), graph.floats([10], 0)], [], 'y');
  return graph.model({ name: 'x', type: 'float32', shape: ['N', 3, 32, 32] }, { name: 'y', type: 'float32', shape: ['N', 10] });
}

export const vocabulary = 1000;

/** Four layers of a transformer encoder over token ids of any length: 1.6 MFLOP a token. Zeros are padding, and masked. */
export function encoder(): BenchModel {
  const graph = new Graph();
  const [width, heads, layers, inner] = [128, 4, 4, 512];
  const mask = graph.op('Cast', [graph.op('Sign', ['ids'])], [attribute.int('to', 1)]);
  const hidden = graph.op('Mul', [graph.op('Sub', [graph.floats([], 1), mask]), graph.floats([], -1e4)]);
  const attention = graph.op('Unsqueeze', [hidden, graph.integers(1, 2)]);
  const perHead = graph.integers(0, 0, heads, width / heads);
  const joined = graph.integers(0, 0, width);
  const scale = graph.floats([], 1 / Math.sqrt(width / heads));
  const norm = (x: string): string => graph.op('LayerNormalization', [x, graph.floats([width], 1), graph.floats([width], 0)]);
  const linear = (x: string, from: number, to: number): string => graph.op('MatMul', [x, graph.weights([from, to], from)]);
  const split = (x: string, order: readonly number[]): string => graph.op('Transpose', [graph.op('Reshape', [linear(x, width, width), perHead])], [attribute.ints('perm', order)]);
  let x = graph.op('Gather', [graph.weights([vocabulary, width], 1), 'ids']);
  for (let layer = 0; layer < layers; layer++) {
    const normed = norm(x);
    const [query, key, value] = [split(normed, [0, 2, 1, 3]), split(normed, [0, 2, 3, 1]), split(normed, [0, 2, 1, 3])];
    const scores = graph.op('Softmax', [graph.op('Add', [graph.op('Mul', [graph.op('MatMul', [query, key]), scale]), attention])]);
    const mixed = graph.op('Reshape', [graph.op('Transpose', [graph.op('MatMul', [scores, value])], [attribute.ints('perm', [0, 2, 1, 3])]), joined]);
    x = graph.op('Add', [x, linear(mixed, width, width)]);
    x = graph.op('Add', [x, linear(graph.op('Relu', [linear(norm(x), width, inner)]), inner, width)]);
  }
  const masked = graph.op('Mul', [x, graph.op('Unsqueeze', [mask, graph.integers(2)])]);
  const sum = graph.op('ReduceSum', [masked, graph.integers(1)], [attribute.int('keepdims', 0)]);
  const count = graph.op('ReduceSum', [mask, graph.integers(1)], [attribute.int('keepdims', 1)]);
  graph.op('MatMul', [graph.op('Div', [sum, count]), graph.weights([width, 16], width)], [], 'y');
  return graph.model({ name: 'ids', type: 'int64', shape: ['N', 'S'] }, { name: 'y', type: 'float32', shape: ['N', 16] });
}
