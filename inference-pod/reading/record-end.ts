import type { WorkerSpec } from '../contract.ts';

export type Format = WorkerSpec['input']['format'];

const newline = 0x0a;
const quote = 0x22;
const comma = 0x2c;

const fieldStart = 0;
const plain = 1;
const quoted = 2;
/** Behind a quote in a quoted field: its end, or the first half of a doubled quote. */
const quoteSeen = 3;

/**
 * Finds where records end: JSON Lines at every \n; CSV (RFC 4180) at every \n outside of quotes. A quote opens a field
 * only at its start, so that one in the middle of a field is a character as any other; `csv.ts` reads by the same rule.
 * A record may come in parts.
 */
export class RecordEnd {
  readonly #csv: boolean;
  #state = fieldStart;
  #newlines = 0;

  constructor(format: Format) {
    this.#csv = format === 'csv';
  }

  /** Newlines within the record so far. */
  get newlines(): number {
    return this.#newlines;
  }

  get inQuotes(): boolean {
    return this.#state === quoted;
  }

  /** The next byte is the first of a record. */
  reset(): void {
    this.#state = fieldStart;
    this.#newlines = 0;
  }

  /** Index of the newline that ends the record, or -1 when it goes on behind `bytes`. */
  find(bytes: Buffer, from = 0): number {
    const end = bytes.indexOf(newline, from);
    if (!this.#csv) return end;
    // Most records hold no quote at all.
    if (this.#state === fieldStart && end >= 0 && !bytes.subarray(from, end).includes(quote)) return end;
    return this.#walk(bytes, from);
  }

  #walk(bytes: Buffer, from: number): number {
    let state = this.#state;
    for (let at = from; at < bytes.length; at++) {
      const byte = bytes[at];
      if (state === quoted) {
        if (byte === quote) state = quoteSeen;
        else if (byte === newline) this.#newlines += 1;
      } else if (byte === newline) {
        this.#state = state;
        return at;
      } else if (byte === comma) state = fieldStart;
      else if (byte === quote && state !== plain) state = quoted;
      else state = plain;
    }
    this.#state = state;
    return -1;
  }
}
