import { shorten } from '../fatal.ts';
import { readRecord } from './csv.ts';
import { allocate, type BigArray, type NumberArray, traits } from './dtypes.ts';
import { ItemError } from './item-error.ts';
import type { Item } from './items.ts';
import type { Port, Signature } from './signature.ts';
import { exactIntegers, NeedsExactIntegers, type Row, readTensor, sizeOf } from './tensors.ts';

/** The header does not go with the model; `message` says what was expected. */
export class UnusableHeader extends Error {}

/** Where the elements of one input come from: one cell as a whole, or a cell for each element. */
type Source = { column: number } | { columns: readonly number[]; dims: readonly number[] };

/** How a record of a file becomes an item. */
export interface Layout {
  names: readonly string[];
  /** Index of the column "id", or -1. */
  id: number;
  sources: readonly Source[];
}

/**
 * Finds each input of the model in the header of a file:
 * - a column of its name: the value of a scalar, or a whole tensor as JSON;
 * - columns `name[0]`, `name[1]` … (`name[0][0]` …): one element each;
 * - where the model has one input, a vector, and neither is there: all columns but "id", in their order.
 * Further columns are passed over. Throws UnusableHeader.
 */
export function layoutOf(header: string, { inputs }: Signature): Layout {
  let names: string[];
  try {
    names = readRecord(header).map((name) => name.trim());
  } catch (error) {
    if (!(error instanceof ItemError)) throw error;
    throw new UnusableHeader(`its header cannot be read: ${error.message}`);
  }
  const twice = names.find((name, index) => name !== '' && names.indexOf(name) !== index);
  if (twice !== undefined) throw new UnusableHeader(`its header has the column ${JSON.stringify(twice)} twice`);
  const id = names.indexOf('id');
  const sources = inputs.map((port) => {
    const whole = names.indexOf(port.name);
    if (whole >= 0) return { column: whole };
    const found = elementColumns(names, port) ?? (inputs.length === 1 ? allColumns(names, id, port) : undefined);
    if (found !== undefined) return found;
    const has = shorten(names.map((name) => JSON.stringify(name)).join(', '), 200);
    throw new UnusableHeader(`its header has no column for the input "${port.name}" (${port.text}): expected "${port.name}"${port.shape.length > 0 ? ` or "${port.name}${'[0]'.repeat(port.shape.length)}" and so on` : ''}, got ${has}`);
  });
  return { names, id, sources };
}

function elementColumns(names: readonly string[], port: Port): Source | undefined {
  const rank = port.shape.length;
  const at = new Map<string, number>();
  const dims = new Array<number>(rank).fill(0);
  names.forEach((name, column) => {
    const indices = name.startsWith(`${port.name}[`) ? /^(\[\d{1,7}\])+$/.exec(name.slice(port.name.length)) : null;
    if (indices === null) return;
    const place = indices[0].slice(1, -1).split('][').map(Number);
    if (place.length !== rank) throw new UnusableHeader(`its column "${name}" has ${place.length} indices, the input is ${port.text}`);
    place.forEach((index, axis) => {
      dims[axis] = Math.max(dims[axis] as number, index + 1);
    });
    at.set(place.join(), column);
  });
  if (at.size === 0) return undefined;
  checkDims(dims, port, `its columns "${port.name}[…]"`);
  if (sizeOf(dims) !== at.size) throw new UnusableHeader(`its columns "${port.name}[…]" are ${at.size} for a shape of [${dims.join(',')}], expected ${sizeOf(dims)}`);
  const columns = Array.from({ length: at.size }, (_, flat) => {
    let rest = flat;
    const place = dims.map(() => 0);
    for (let axis = rank - 1; axis >= 0; axis--) {
      place[axis] = rest % (dims[axis] as number);
      rest = Math.floor(rest / (dims[axis] as number));
    }
    return at.get(place.join()) as number;
  });
  return { columns, dims };
}

function allColumns(names: readonly string[], id: number, port: Port): Source | undefined {
  if (port.shape.length !== 1) return undefined;
  const columns = names.map((_, column) => column).filter((column) => column !== id);
  checkDims([columns.length], port, `its columns${id < 0 ? '' : ' without "id"'}`);
  return { columns, dims: [columns.length] };
}

function checkDims(dims: readonly number[], port: Port, what: string): void {
  const fits = port.shape.every((size, axis) => size === null || size === dims[axis]);
  if (!fits) throw new UnusableHeader(`${what} make a shape of [${dims.join(',')}], the input "${port.name}" is ${port.text}`);
}

/** One record as an item. Throws ItemError. */
export function readCsvItem(text: string, { names, id, sources }: Layout, { inputs }: Signature): Item {
  const cells = readRecord(text);
  const name = cells[id] ?? '';
  const known = name === '' ? {} : { id: JSON.stringify(name) };
  try {
    if (cells.length !== names.length) throw new ItemError('InvalidItem', `expected ${names.length} cells as the header has, got ${cells.length}`);
    const rows = sources.map((source, index): Row => {
      const port = inputs[index] as Port;
      if ('column' in source) {
        const where = `column "${names[source.column]}"`;
        const cell = cells[source.column] as string;
        return port.shape.length === 0 ? readElements([source.column], [], cells, names, port) : readJsonCell(cell, where, port);
      }
      return readElements(source.columns, source.dims, cells, names, port);
    });
    return { ...known, rows };
  } catch (error) {
    if (error instanceof ItemError && known.id !== undefined) error.id = known.id;
    throw error;
  }
}

function readJsonCell(cell: string, where: string, port: Port): Row {
  const read = (reviver?: typeof exactIntegers): Row => {
    let value: unknown;
    try {
      value = JSON.parse(cell, reviver);
    } catch {
      throw new ItemError('InvalidItem', `${where}: expected ${port.text} as JSON, got text that is none`);
    }
    return readTensor(where, value, port);
  };
  try {
    return read();
  } catch (error) {
    if (!(error instanceof NeedsExactIntegers)) throw error;
  }
  try {
    return read(exactIntegers);
  } catch (error) {
    if (!(error instanceof NeedsExactIntegers)) throw error;
    throw new ItemError('InvalidItem', `${where}: integers beyond 2^53 are written in plain digits, without fraction or exponent`);
  }
}

const decimal = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
const integer = /^[+-]?\d{1,30}$/;

function readElements(columns: readonly number[], dims: readonly number[], cells: readonly string[], names: readonly string[], port: Port): Row {
  const { kind, least, most } = traits[port.dtype];
  const data = allocate(port.dtype, columns.length);
  columns.forEach((column, at) => {
    const cell = cells[column] as string;
    if (kind === 'string') {
      (data as string[])[at] = cell;
      return;
    }
    const refuse = (got: string): never => {
      throw new ItemError('InvalidItem', `column "${names[column]}": expected ${port.dtype}, got ${got}`);
    };
    const text = cell.trim();
    if (text === '') refuse('an empty cell');
    if (kind === 'bool') {
      const value = text.toLowerCase();
      if (!['true', 'false', '1', '0'].includes(value)) refuse('text other than true, false, 1 and 0');
      (data as Uint8Array)[at] = value === 'true' || value === '1' ? 1 : 0;
      return;
    }
    if (!(kind === 'float' ? decimal : integer).test(text)) refuse(decimal.test(text) ? text.slice(0, 40) : 'text that is no number');
    // BigInt takes no sign of plus.
    const value = kind === 'big' ? BigInt(text.replace('+', '')) : Number(text);
    if (value < least || value > most) refuse(String(value));
    if (kind === 'big') (data as BigArray)[at] = value as bigint;
    else (data as NumberArray)[at] = value as number;
  });
  return { dims, data };
}
