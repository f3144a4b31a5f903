import { type FileHandle, open } from 'node:fs/promises';
import { errnoOf, FatalError } from '../fatal.ts';

/** One file of the input. `path` is relative to the input's root, `real` is where it is. */
export interface InputFile {
  path: string;
  real: string;
  size: number;
  mtimeMs: number;
}

/** All files one after the other, addressed by global byte offsets. The end of a file ends a line. */
export interface Concatenation {
  files: readonly InputFile[];
  /** Global offset of the start of each file, and one more entry: the total. */
  starts: readonly number[];
  total: number;
}

export function concatenate(files: readonly InputFile[]): Concatenation {
  const starts = [0];
  for (const { size } of files) starts.push((starts.at(-1) as number) + size);
  return { files, starts, total: starts.at(-1) as number };
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

/** One open file of the input, read by position. */
export class InputReader {
  readonly #handle: FileHandle;
  readonly #file: InputFile;

  private constructor(handle: FileHandle, file: InputFile) {
    this.#handle = handle;
    this.#file = file;
  }

  /** Throws FatalError when the file is gone. */
  static async open(file: InputFile): Promise<InputReader> {
    try {
      return new InputReader(await open(file.real, 'r'), file);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      throw new FatalError('InputInvalid', `input changed: "${file.path}" is gone since the job began; inputs must stay as they are until the job is finished`);
    }
  }

  /** Fills all of `into` from `position`; the caller stays within the planned size. Throws FatalError when the file is shorter. */
  async read(into: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < into.length; ) {
      const { bytesRead } = await this.#handle.read(into, done, into.length - done, position + done);
      if (bytesRead === 0) {
        throw new FatalError(
          'InputInvalid',
          `input changed: "${this.#file.path}" had ${this.#file.size} bytes when the job began and is shorter now; inputs must stay as they are until the job is finished`,
        );
      }
      done += bytesRead;
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}
