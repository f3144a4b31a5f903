import type { Place } from '../reading/chunk.ts';
import { maxResultBytes } from '../reading/limits.ts';
import { type Elements, traits } from './dtypes.ts';
import { ItemError } from './item-error.ts';
import { formatFloat16, formatFloat64, mostCharacters, writeFloat32 } from './numbers.ts';
import type { Port } from './signature.ts';
import { sizeOf } from './tensors.ts';

/** One output of a batch: `data` holds the rows of all items, `dims` is the shape of one. */
export interface Output {
  port: Port;
  dims: readonly number[];
  data: Elements;
}

/**
 * `{"id": …, "outputs": {name: nested values}}` and a line end. An item without an id is named by `file` and `line`
 * (`offset` where the line is not known). Throws ItemError for NaN and infinities, which JSON cannot carry, and for
 * what is larger than `maxResultBytes`.
 */
export function formatResult(id: string | undefined, origin: Place, outputs: readonly Output[], row: number): string {
  const head = id === undefined ? formatOrigin(origin, origin.line === 0) : `"id":${id}`;
  for (const { port, dims } of outputs) {
    // The least that an element takes is a digit and a comma.
    if (sizeOf(dims) * 2 > maxResultBytes) throw tooLarge(`outputs.${port.name}: the model gave ${port.dtype} [${dims.join(',')}]`);
  }
  const values = outputs.map(({ port, dims, data }) => {
    const size = sizeOf(dims);
    const text = port.dtype === 'float32' ? formatFloats(port, dims, data as Float32Array, row * size) : formatNested(formatterOf(port, data), dims, 0, row * size);
    return `${JSON.stringify(port.name)}:${text}`;
  });
  const line = `{${head},"outputs":{${values.join(',')}}}\n`;
  // Characters, so that text beyond ASCII may take up to three times as much.
  if (line.length > maxResultBytes) throw tooLarge(`the outputs take ${line.length} characters`);
  return line;
}

function tooLarge(what: string): ItemError {
  return new ItemError('OutputTooLarge', `${what}, the limit of a result is ${maxResultBytes} bytes; have the model give less, such as the best k`);
}

/** `{"id": …, "file": …, "line": …, "offset": …, "code": …, "message": …}` and a line end. */
export function formatError(error: ItemError, origin: Place): string {
  const id = error.id === undefined ? '' : `"id":${error.id},`;
  return `{${id}${formatOrigin(origin, true)},"code":"${error.code}","message":${JSON.stringify(error.message)}}\n`;
}

export function formatOrigin({ file, line, offset }: Place, withOffset: boolean): string {
  const parts = [`"file":${JSON.stringify(file)}`];
  if (line > 0) parts.push(`"line":${line}`);
  if (withOffset) parts.push(`"offset":${offset}`);
  return parts.join(',');
}

/** Kept, since most results are small; grown for the time of one that is not. */
const usualText = Buffer.allocUnsafeSlow(64 * 1024);

/** As `formatNested`, over bytes. */
function formatFloats({ name }: Port, dims: readonly number[], data: Float32Array, from: number): string {
  let text = usualText;
  let length = 0;
  const write = (axis: number, at: number): void => {
    const last = axis >= dims.length - 1;
    const size = dims[axis] ?? 1;
    const room = last ? size * (mostCharacters + 1) + 2 : 2;
    if (length + room > text.length) text = Buffer.concat([text.subarray(0, length)], Math.max(text.length * 2, length + room));
    if (axis < dims.length) text[length++] = 0x5b;
    const stride = last ? 1 : sizeOf(dims.slice(axis + 1));
    for (let i = 0; i < size; i++) {
      if (i > 0) text[length++] = 0x2c;
      if (last) {
        const value = data[at + i] as number;
        if (!Number.isFinite(value)) throw new ItemError('NonFiniteOutput', `outputs.${name}: the model gave ${value}`);
        length = writeFloat32(value, text, length);
      } else write(axis + 1, at + i * stride);
    }
    if (axis < dims.length) text[length++] = 0x5d;
  };
  write(0, from);
  return text.toString('latin1', 0, length);
}

type Formatter = (at: number) => string;

function formatNested(format: Formatter, dims: readonly number[], axis: number, at: number): string {
  if (axis === dims.length) return format(at);
  const size = dims[axis] as number;
  const stride = sizeOf(dims.slice(axis + 1));
  let text = '[';
  for (let i = 0; i < size; i++) {
    if (i > 0) text += ',';
    text += axis === dims.length - 1 ? format(at + i) : formatNested(format, dims, axis + 1, at + i * stride);
  }
  return `${text}]`;
}

function formatterOf({ name, dtype }: Port, data: Elements): Formatter {
  const { kind } = traits[dtype];
  if (kind === 'string') return (at) => JSON.stringify((data as string[])[at]);
  if (kind === 'bool') return (at) => ((data as Uint8Array)[at] ? 'true' : 'false');
  if (kind !== 'float') return (at) => String(data[at]);
  const format = dtype === 'float16' ? formatFloat16 : formatFloat64;
  return (at) => {
    const value = data[at] as number;
    if (!Number.isFinite(value)) throw new ItemError('NonFiniteOutput', `outputs.${name}: the model gave ${value}`);
    return format(value);
  };
}
