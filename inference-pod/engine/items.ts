import { shorten } from '../fatal.ts';
import { ItemError } from './item-error.ts';
import type { Signature } from './signature.ts';
import { exactIntegers, kindOf, NeedsExactIntegers, type Row, readTensor } from './tensors.ts';

export interface Item {
  /** The id as JSON text; absent when the item has none. */
  id?: string;
  /** One per input of the model, in its order. */
  rows: Row[];
}

/**
 * One line of input: `{"id": string | number, "inputs": {name: tensor}}`; `id` may be absent, other keys are ignored.
 * Throws ItemError, which carries the id where it was readable.
 */
export function parseItem(text: string, { inputs }: Signature): Item {
  try {
    return readItem(parseJson(text, false), inputs, false);
  } catch (error) {
    if (!(error instanceof NeedsExactIntegers)) throw error;
  }
  try {
    return readItem(parseJson(text, true), inputs, true);
  } catch (error) {
    if (!(error instanceof NeedsExactIntegers)) throw error;
    throw new ItemError('InvalidItem', 'inputs: integers beyond 2^53 are written in plain digits, without fraction or exponent');
  }
}

export function parseJson(text: string, exact: boolean): unknown {
  try {
    return exact ? JSON.parse(text, exactIntegers) : JSON.parse(text);
  } catch (error) {
    // V8 quotes the text after a comma; that is data, and can be long.
    const cause = (error as SyntaxError).message.replace(/, (\.\.\.)?"[\s\S]*$/, '').replace(/ in JSON/, '');
    throw new ItemError('InvalidJson', `not valid JSON: ${cause}`);
  }
}

function readItem(value: unknown, ports: Signature['inputs'], exact: boolean): Item {
  if (!isRecord(value)) throw new ItemError('InvalidItem', `expected an object {"id", "inputs"}, got ${kindOf(value)}`);
  const id = readId(own(value, 'id'), exact);
  try {
    const inputs = own(value, 'inputs');
    if (!isRecord(inputs)) throw new ItemError('InvalidItem', `inputs: expected an object of tensors by name, got ${kindOf(inputs)}`);
    const rows = ports.map((port) => {
      if (!Object.hasOwn(inputs, port.name)) throw new ItemError('InvalidItem', namesDiffer(ports, inputs));
      return readTensor(`inputs.${port.name}`, inputs[port.name], port);
    });
    if (Object.keys(inputs).length !== ports.length) throw new ItemError('InvalidItem', namesDiffer(ports, inputs));
    return id === undefined ? { rows } : { id, rows };
  } catch (error) {
    if (error instanceof ItemError && id !== undefined) error.id = id;
    throw error;
  }
}

export function readId(id: unknown, exact: boolean): string | undefined {
  if (id === undefined) return undefined;
  if (typeof id === 'string') return JSON.stringify(id);
  if (typeof id === 'bigint') return String(id);
  if (typeof id !== 'number' || !Number.isFinite(id)) throw new ItemError('InvalidItem', `id: expected a string or a number, got ${kindOf(id)}`);
  // Read exactly, what is still a number here was written with a fraction or an exponent.
  if (!exact && Number.isInteger(id) && !Number.isSafeInteger(id)) throw new NeedsExactIntegers();
  return String(id);
}

function namesDiffer(ports: Signature['inputs'], inputs: object): string {
  const list = (names: string[]): string => shorten(names.map((name) => JSON.stringify(name)).join(', '), 200);
  return `inputs: model needs ${list(ports.map(({ name }) => name))}, item has ${list(Object.keys(inputs)) || 'none'}`;
}

export function own(value: Record<string, unknown>, key: string): unknown {
  return Object.hasOwn(value, key) ? value[key] : undefined;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
