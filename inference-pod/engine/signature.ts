import { type Dtype, isDtype } from './dtypes.ts';

/** One input or output of a model as an item sees it: without the batch axis. `null` is a symbolic dimension. */
export interface Port {
  name: string;
  dtype: Dtype;
  shape: readonly (number | null)[];
  /** For messages: `float32 [1,8,8]`, symbolic dimensions by their names. */
  text: string;
}

export interface Signature {
  inputs: readonly Port[];
  outputs: readonly Port[];
  /** False when the leading axis is fixed to 1: items are run one at a time. */
  batched: boolean;
  /** Every item has the same shape, so that any run of items makes a batch. */
  uniform: boolean;
}

/** What ONNX Runtime tells of a value. */
export interface ValueMetadata {
  name: string;
  isTensor: boolean;
  type?: string;
  shape?: readonly (number | string)[];
}

/** The model cannot be used for items; `message` says which input or output and why. */
export class UnusableModel extends Error {}

/** Throws UnusableModel. Inputs and outputs need a leading batch axis, symbolic or 1. */
export function signatureOf(inputs: readonly ValueMetadata[], outputs: readonly ValueMetadata[]): Signature {
  if (inputs.length === 0) throw new UnusableModel('the model has no inputs');
  let batched = true;
  const port = (kind: string, value: ValueMetadata): Port => {
    const label = `${kind} "${value.name}"`;
    if (!value.isTensor) throw new UnusableModel(`${label} is not a tensor`);
    const dtype = value.type ?? '';
    if (!isDtype(dtype)) throw new UnusableModel(`${label} has the type ${dtype}, which items cannot carry`);
    const [leading, ...shape] = value.shape ?? [];
    const whole = `[${(value.shape ?? []).join(',')}]`;
    if (leading === undefined) throw new UnusableModel(`${label} has the shape ${whole}, expected a leading batch axis`);
    if (leading === 1) batched = false;
    else if (typeof leading === 'number') {
      throw new UnusableModel(`${label} has the shape ${whole}, expected its leading axis to be symbolic (the batch) or 1`);
    }
    return {
      name: value.name,
      dtype,
      shape: shape.map((size) => (typeof size === 'number' ? size : null)),
      text: `${dtype} [${shape.map((size) => size === '' ? '?' : size).join(',')}]`,
    };
  };
  const ports = { inputs: inputs.map((value) => port('input', value)), outputs: outputs.map((value) => port('output', value)) };
  return { ...ports, batched, uniform: ports.inputs.every(({ shape }) => !shape.includes(null)) };
}
