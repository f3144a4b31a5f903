import { type BigArray, type Dtype, type NumberArray, traits } from './dtypes.ts';

const zero = 0x30;
const nine = 0x39;
const comma = 0x2c;

/** Powers of ten that a double holds exactly. */
const tens = Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`));
const surelyExact = 15;
const mostDigits = 19;
/** More than what 19 digits and one division can be off by when each step rounds. */
const doubt = 2 ** -48;

/** The white space of JSON within a line. */
export function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09 || byte === 0x0d;
}

/** The digits in `bytes[from, to)` as one number, the point among them passed over; rounded where they are more than 15. */
function digitsOf(bytes: Buffer, from: number, to: number): number {
  let value = 0;
  for (let at = from; at < to; at++) {
    const digit = (bytes[at] as number) - zero;
    if (digit >= 0) value = value * 10 + digit;
  }
  return value;
}

/**
 * Numbers in JSON, read from bytes into elements of `dtype` without a string or a list between. It takes what it can
 * read with certainty and no fault, exactly as `JSON.parse` and a checked store would, and nothing else.
 */
export class NumberScanner {
  readonly #least: number;
  readonly #most: number;
  readonly #read: (bytes: Buffer, from: number, into: NumberArray | BigArray, index: number, single: boolean) => number;
  readonly #round: ((value: number) => number) | undefined;
  /** How many numbers the last `scan` stored. */
  count = 0;

  /** Undefined when `dtype` is not a number. */
  static for(dtype: Dtype): NumberScanner | undefined {
    const { kind } = traits[dtype];
    return kind === 'float' || kind === 'integer' || kind === 'big' ? new NumberScanner(dtype) : undefined;
  }

  private constructor(dtype: Dtype) {
    const { kind, least, most } = traits[dtype];
    this.#least = Number(least);
    this.#most = Number(most);
    this.#round = dtype === 'float32' ? Math.fround : dtype === 'float16' ? Math.f16round : undefined;
    this.#read = kind === 'float' ? this.#floats : this.#integers;
  }

  /**
   * Reads numbers that commas separate (`single`: one) from `from` on into `into[index…]`. Returns where it stopped: the
   * first byte behind them and white space; -1 when there is anything that it does not take.
   */
  scan(bytes: Buffer, from: number, into: NumberArray | BigArray, index: number, single: boolean): number {
    return this.#read(bytes, from, into, index, single);
  }

  #floats(bytes: Buffer, from: number, into: NumberArray | BigArray, index: number, single: boolean): number {
    const floats = into as NumberArray;
    const round = this.#round;
    const most = this.#most;
    let next = index;
    let at = from;
    for (;;) {
      let byte = bytes[at] as number;
      while (byte <= 0x20 && isSpace(byte)) byte = bytes[++at] as number;
      const start = at;
      const negative = byte === 0x2d;
      if (negative) byte = bytes[++at] as number;
      const first = at;
      // 32-bit arithmetic, which is right up to nine digits.
      let short = 0;
      while (byte >= zero && byte <= nine) {
        short = (Math.imul(short, 10) + byte - zero) | 0;
        byte = bytes[++at] as number;
      }
      let digits = at - first;
      if (digits === 0 || (digits > 1 && bytes[first] === zero)) return -1;
      let exponent = 0;
      if (byte === 0x2e) {
        const point = at;
        byte = bytes[++at] as number;
        while (byte >= zero && byte <= nine) {
          short = (Math.imul(short, 10) + byte - zero) | 0;
          byte = bytes[++at] as number;
        }
        exponent = point + 1 - at;
        if (exponent === 0) return -1;
        digits -= exponent;
      }
      const mantissa = digits <= 9 ? short : digitsOf(bytes, first, at);
      if (byte === 0x65 || byte === 0x45) {
        byte = bytes[++at] as number;
        const minus = byte === 0x2d;
        if (minus || byte === 0x2b) byte = bytes[++at] as number;
        const begin = at;
        let power = 0;
        while (byte >= zero && byte <= nine) {
          power = power * 10 + (byte - zero);
          byte = bytes[++at] as number;
        }
        if (at === begin) return -1;
        exponent += minus ? -power : power;
      }
      let value: number;
      if (digits <= mostDigits && exponent >= -22 && exponent <= 22) {
        // Both are exact up to 15 digits, so that the one rounding is the right one (Clinger 1990).
        value = exponent < 0 ? mantissa / (tens[-exponent] as number) : mantissa * (tens[exponent] as number);
        if (digits > surelyExact && (round === undefined || round(value * (1 - doubt)) !== round(value * (1 + doubt)))) value = Number(bytes.toString('latin1', first, at));
      } else value = Number(bytes.toString('latin1', first, at));
      if (value > most) return -1;
      floats[next++] = negative ? -value : value;
      while (byte <= 0x20 && isSpace(byte)) byte = bytes[++at] as number;
      if (single || byte !== comma) {
        this.count = next - index;
        return start < at ? at : -1;
      }
      at++;
    }
  }

  #integers(bytes: Buffer, from: number, into: NumberArray | BigArray, index: number, single: boolean): number {
    const big = into instanceof BigInt64Array || into instanceof BigUint64Array ? into : undefined;
    const [least, most] = [this.#least, this.#most];
    let next = index;
    let at = from;
    for (;;) {
      let byte = bytes[at] as number;
      while (byte <= 0x20 && isSpace(byte)) byte = bytes[++at] as number;
      const negative = byte === 0x2d;
      if (negative) byte = bytes[++at] as number;
      const first = at;
      let value = 0;
      while (byte >= zero && byte <= nine) {
        value = value * 10 + (byte - zero);
        byte = bytes[++at] as number;
      }
      const digits = at - first;
      // What follows more digits, a point or an exponent is read by other means.
      if (digits === 0 || digits > surelyExact || (digits > 1 && bytes[first] === zero)) return -1;
      if (negative) value = -value;
      if (value < least || value > most) return -1;
      if (big === undefined) (into as NumberArray)[next++] = value;
      else big[next++] = BigInt(value);
      while (byte <= 0x20 && isSpace(byte)) byte = bytes[++at] as number;
      if (single || byte !== comma) {
        this.count = next - index;
        return at;
      }
      at++;
    }
  }
}
