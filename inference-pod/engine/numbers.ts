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
