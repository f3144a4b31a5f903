/**
 * Numbers as JSON text: the fewest digits that give the same value back in the dtype they came from (0.1 for the
 * float32 nearest to 0.1, not 0.10000000149011612). -0 keeps its sign.
 */

const tens = Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`));

export function formatFloat64(value: number): string {
  return Object.is(value, -0) ? '-0' : String(value);
}

export function formatFloat32(value: number): string {
  return shortest(value, Math.abs(value) < 1.2e-38 ? 1 : 6, 9, Math.fround);
}

export function formatFloat16(value: number): string {
  return shortest(value, Math.abs(value) < 6.2e-5 ? 1 : 3, 5, Math.f16round);
}

/**
 * Tries `least` significant digits first, then one more at a time; `most` digits always suffice. Fewer than `least`
 * need no trial, because the decimal that was rounded to `least` digits loses its trailing zeros when printed; only
 * subnormal numbers hold fewer than that, and are tried from one digit on.
 */
function shortest(value: number, least: number, most: number, round: (value: number) => number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return formatFloat64(value);
  const exponent = Math.floor(Math.log10(Math.abs(value)));
  for (let digits = least; digits <= most; digits++) {
    const places = digits - 1 - exponent;
    // Beyond 10^22 a power of ten is not exact, and the quotient need not be the double nearest to the decimal.
    if (places < 0 || places > 22) break;
    const scale = tens[places] as number;
    const decimal = Math.round(value * scale) / scale;
    if (round(decimal) === value) return String(decimal);
  }
  for (let digits = least; digits <= most; digits++) {
    const decimal = Number(value.toPrecision(digits));
    if (round(decimal) === value) return String(decimal);
  }
  return String(value);
}

/** No number takes more characters. */
export const mostCharacters = 25;

/**
 * Writes what `formatFloat32` gives as ASCII from `into[at]` on, several times as fast; where it ends. There must be room
 * for `mostCharacters`. `value` is finite.
 */
export function writeFloat32(value: number, into: Uint8Array, at: number): number {
  const size = Math.abs(value);
  // Outside of this JavaScript writes exponents, and integers have no decimals to look for.
  if (size >= 1e-6 && size < 1e6 && !Number.isInteger(value)) {
    let exponent = 5;
    while (size < (thresholds[exponent + 6] as number)) exponent--;
    for (let digits = 6; digits <= 9; digits++) {
      const places = digits - 1 - exponent;
      const scale = tens[places] as number;
      const scaled = Math.round(value * scale);
      if (Math.fround(scaled / scale) === value) return writeDecimal(value < 0, Math.abs(scaled), places, into, at);
    }
  }
  const text = formatFloat32(value);
  for (let i = 0; i < text.length; i++) into[at + i] = text.charCodeAt(i);
  return at + text.length;
}

/** 1e-6 to 1e5: [exponent + 6] is the least number with that exponent. */
const thresholds = Array.from({ length: 12 }, (_, index) => Number(`1e${index - 6}`));

/** `digits` / 10^`places`, which is no integer, without trailing zeros. */
function writeDecimal(negative: boolean, digits: number, places: number, into: Uint8Array, at: number): number {
  let start = at;
  if (negative) into[start++] = 0x2d;
  let rest = digits | 0;
  let decimals = places;
  while (rest % 10 === 0) {
    rest = (rest / 10) | 0;
    decimals--;
  }
  let whole = 0;
  for (let left = rest; left > 0; left = (left / 10) | 0) whole++;
  const end = start + Math.max(whole, decimals + 1) + 1;
  let to = end;
  for (let i = 0; i < decimals; i++) {
    into[--to] = 0x30 + (rest % 10);
    rest = (rest / 10) | 0;
  }
  into[--to] = 0x2e;
  while (to > start) {
    into[--to] = 0x30 + (rest % 10);
    rest = (rest / 10) | 0;
  }
  return end;
}
