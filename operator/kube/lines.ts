/** Splits a byte stream at newlines without decoding it first, which a watch of large objects would pay for twice. */
export class LineSplitter {
  readonly #maxBytes: number;
  #rest: Buffer[] = [];
  #restBytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes of a line that has not ended yet. */
  get pending(): number {
    return this.#restBytes;
  }

  /** The lines that this chunk completes, without their newline; empty lines are left out. */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      const piece = chunk.subarray(start, end);
      const line = this.#restBytes === 0 ? piece : Buffer.concat([...this.#rest, piece]);
      this.#rest = [];
      this.#restBytes = 0;
      if (line.length > 0) lines.push(line.toString('utf8'));
      start = end + 1;
    }
    if (start < chunk.length) {
      this.#rest.push(start === 0 ? chunk : chunk.subarray(start));
      this.#restBytes += chunk.length - start;
      if (this.#restBytes > this.#maxBytes) throw new RangeError(`a line is longer than ${this.#maxBytes} bytes`);
    }
    return lines;
  }
}
