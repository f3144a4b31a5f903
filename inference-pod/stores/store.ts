/**
 * Where input is read from and results are written to. There is one folder per kind of store; the rest of the worker
 * knows these interfaces alone.
 */
import type { FatalCode } from '../contract.ts';
import type { PlannedFile } from '../planning/plan-file.ts';
import type { InputFile } from '../reading/concatenation.ts';

/** One open file of the input, read by position. */
export interface FileReader {
  /**
   * Fills all of `into` from `position`; the caller stays within the file's size. Throws FatalError when the file is
   * not the one that was found.
   */
  read(into: Uint8Array, position: number): Promise<void>;
  close(): Promise<void>;
}

export interface InputStore {
  /** What the spec names first, for the manifest. */
  readonly named: string;
  /**
   * The files that the spec names, in a stated order, each once; `written` are the addresses that this job writes to,
   * which are passed over. Throws FatalError.
   */
  find(written: ReadonlySet<string>): Promise<InputFile[]>;
  /** Reads the bytes as they are stored, and none at or behind `end`. Throws FatalError when the file is gone. */
  open(file: InputFile, end?: number): Promise<FileReader>;
  /** Throws FatalError when one of `files` is not what the plan saw. A store may leave that to `FileReader.read`. */
  check(files: readonly PlannedFile[]): Promise<void>;
}

/** The store gave no answer, for longer than a short disturbance takes. `code` is that of the FatalError which it is to a job that never had one. */
export class Unreachable extends Error {
  readonly code: FatalCode;

  constructor(code: FatalCode, message: string, options: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The folder of what this would have written to is gone: the job was committed by another worker. */
export class Gone extends Error {}

/** The folder that a job writes to. Names are relative to it, with "/" between folders. Methods throw FatalError for what a restart cannot mend. */
export interface OutputStore {
  /** The field of the spec and what it says, for messages. */
  readonly field: string;
  /** How users find `name`. */
  shown(name: string): string;
  /** Names the file among all of its store's, comparable with addresses of other stores of that kind. */
  address(name: string): string;
  /** To be called before anything is created in `folder`. */
  openFolder(folder: string): Promise<void>;
  /**
   * `parts` as a new file, whole, durable, and only if nothing is there: of any number of writers one wins. False:
   * something was there. Throws Gone.
   */
  create(name: string, parts: readonly Uint8Array[]): Promise<boolean>;
  /** The last `most` bytes (all, when absent) and the size of the whole; undefined when there is no such file. */
  read(name: string, most?: number): Promise<{ bytes: Buffer; size: number } | undefined>;
  size(name: string): Promise<number | undefined>;
  /** The whole file in order; blocks are valid until the next one. Throws Gone. */
  blocks(name: string): AsyncIterable<Uint8Array>;
  /** Names in `folder`. Throws Gone where the store has folders. */
  list(folder: string): Promise<string[]>;
  remove(name: string): Promise<void>;
  removeFolder(folder: string): Promise<void>;
  /**
   * Begins a file that is put together from pieces of these lengths, none of them 0. Nothing is visible before `publish`;
   * what a killed process leaves of it goes with `scratch`, a folder that is open.
   */
  write(name: string, lengths: readonly number[], scratch: string): Promise<OutputWriter>;
}

/** Where the bytes of a piece stand already: from byte `start` on of the file `name`. */
export interface Origin {
  name: string;
  start: number;
}

export interface OutputWriter {
  /** The next piece. A store may copy it from its origin; `bytes` must stay as they are. */
  write(bytes: Uint8Array, origin: Origin): Promise<void>;
  /** To be called when all pieces are written, before `publish`. */
  finish(): Promise<void>;
  /** Makes the file visible, whole and durable. Without `replace` only if nothing is there; false: something is, and was left as it is. */
  publish(replace: boolean): Promise<boolean>;
  /** Leaves nothing of a file that was not published. */
  close(): Promise<void>;
}
