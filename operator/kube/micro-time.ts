/** `V1MicroTime`: the API server wants exactly six digits and refuses the three of `toISOString`. */
export function microTime(nowMs: number): string {
  return new Date(nowMs).toISOString().replace('Z', '000Z');
}
