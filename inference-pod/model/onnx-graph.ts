import { closeSync, fstatSync, openSync } from 'node:fs';
import { ProtobufFault, ProtobufReader, type Span } from './protobuf.ts';

/** What is known of an ONNX model without loading it. */
export interface OnnxGraph {
  /** `external_data` locations of all tensors, wherever they stand. */
  locations: ReadonlySet<string>;
  /** Operator types of all nodes, of subgraphs and functions too. */
  operators: ReadonlySet<string>;
}

/** Messages of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): the fields that lead to nodes and tensors. */
const messages = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  training: { 1: 'graph', 2: 'graph' },
  function: { 7: 'node', 11: 'attribute' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  tensor: { 13: 'entry' },
  entry: {},
} as const satisfies Record<string, Record<number, string>>;
type Message = keyof typeof messages;

const operatorType = 4;
const [entryKey, entryValue] = [1, 2];
/** More graphs within graphs than any exporter makes. */
const maxDepth = 100;

/** Throws ProtobufFault when the file is no ONNX model. */
export function readOnnxGraph(file: string): OnnxGraph {
  const descriptor = openSync(file, 'r');
  try {
    const reader = new ProtobufReader(descriptor);
    const locations = new Set<string>();
    const operators = new Set<string>();
    let graphs = 0;
    const visit = (message: Message, span: Span, depth: number): void => {
      if (depth > maxDepth) throw new ProtobufFault(`messages lie more than ${maxDepth} deep in each other`);
      if (message === 'graph') graphs += 1;
      let key = '';
      const values: string[] = [];
      for (const { number, span: content } of reader.fields(span)) {
        if (content === undefined) continue;
        const inner = (messages[message] as Record<number, Message>)[number];
        if (inner !== undefined) visit(inner, content, depth + 1);
        else if (message === 'node' && number === operatorType) operators.add(reader.text(content));
        else if (message === 'entry' && number === entryKey) key = reader.text(content);
        else if (message === 'entry' && number === entryValue) values.push(reader.text(content));
      }
      if (key === 'location') for (const value of values) locations.add(value);
    };
    visit('model', { start: 0, end: fstatSync(descriptor).size }, 0);
    if (graphs === 0) throw new ProtobufFault('it holds no graph');
    return { locations, operators };
  } finally {
    closeSync(descriptor);
  }
}
