const NANO = 10n ** 9n;
const MILLI = 10n ** 6n;
const DECIMAL = ['n', 'u', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'];
const BINARY = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];

/** In billionths, rounded up; undefined for text that is no quantity of at least zero. */
function nanos(text: string): bigint | undefined {
  const match = /^(\d*)(?:\.(\d*))?(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?\d{1,2}))?$/.exec(text);
  const [, whole = '', fraction = '', binary, decimal = '', exponent] = match ?? [];
  if (match === null || whole + fraction === '') return undefined;
  let value = BigInt(whole + fraction);
  let unit = 10n ** BigInt(fraction.length);
  if (binary !== undefined) value *= 1024n ** BigInt(BINARY.indexOf(binary)) * NANO;
  else if (exponent === undefined) value *= 1000n ** BigInt(DECIMAL.indexOf(decimal));
  else if (Number(exponent) < 0) [value, unit] = [value * NANO, unit * 10n ** BigInt(-Number(exponent))];
  else value *= NANO * 10n ** BigInt(Number(exponent));
  return value / unit + (value % unit === 0n ? 0n : 1n);
}

/**
 * A quantity as the API server writes it back in a resource list ("1000m" is stored as "1", "8192Mi" as "8Gi", 4 as "4",
 * less than a thousandth is rounded up to it), so that what is wanted and what is stored compare equal. Text in exponent
 * form comes back as it is.
 */
export function canonicalQuantity(quantity: string | number): string {
  const text = String(quantity);
  const exact = /[eE][+-]?\d/.test(text) ? undefined : nanos(text);
  if (exact === undefined) return text;
  const value = ((exact + MILLI - 1n) / MILLI) * MILLI;
  if (value === 0n) return '0';
  return text.endsWith('i') && value % NANO === 0n ? divided(value / NANO, 1024n, BINARY) : divided(value, 1000n, DECIMAL);
}

function divided(value: bigint, base: bigint, suffixes: readonly string[]): string {
  let power = 0;
  while (power < suffixes.length - 1 && value % base === 0n) {
    value /= base;
    power += 1;
  }
  return `${value}${suffixes[power]}`;
}

export const canonicalQuantities = (quantities: Readonly<Record<string, string | number>>): Record<string, string> =>
  Object.fromEntries(Object.entries(quantities).map(([resource, quantity]) => [resource, canonicalQuantity(quantity)]));

/** As a number: cpu in thousandths, everything else in its own unit, rounded up; 0 for what is no quantity. */
export function amountOf(resource: string, quantity: string | number): number {
  const exact = nanos(String(quantity)) ?? 0n;
  const unit = resource === 'cpu' || resource.endsWith('.cpu') ? MILLI : NANO;
  return Number((exact + unit - 1n) / unit);
}

/** Whether `a` is more than `b`; false when either is no quantity. */
export function exceeds(a: string | number, b: string | number): boolean {
  const [left, right] = [nanos(String(a)), nanos(String(b))];
  return left !== undefined && right !== undefined && left > right;
}

/** Whether both are quantities, of one amount. */
export function sameQuantity(a: string | number, b: string | number): boolean {
  const [left, right] = [nanos(String(a)), nanos(String(b))];
  return left !== undefined && left === right;
}
