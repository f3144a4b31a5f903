import type { InputStore } from '../stores/store.ts';

/** One file of the input. `path` names it in its store. */
export interface InputFile {
  path: string;
  /** Bytes of text: unpacked, where the file is packed. */
  size: number;
  /** Bytes of the file itself, where it is gzip. */
  packed?: number;
  /** Another one when the file was written to: the time of change in milliseconds, or what the store has for it. */
  stamp: number | string;
}

/** All files one after the other, addressed by global byte offsets. The end of a file ends a line. */
export interface Concatenation {
  store: InputStore;
  files: readonly InputFile[];
  /** Global offset of the start of each file, and one more entry: the total. */
  starts: readonly number[];
  total: number;
}

export function concatenate(store: InputStore, files: readonly InputFile[]): Concatenation {
  const starts = [0];
  for (const { size } of files) starts.push((starts.at(-1) as number) + size);
  return { store, files, starts, total: starts.at(-1) as number };
}

/** Index of the file that holds the byte at `offset`: never an empty file. `offset` is below the total. */
export function fileAt({ starts }: Concatenation, offset: number): number {
  let low = 0;
  let high = starts.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((starts[middle] as number) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}
