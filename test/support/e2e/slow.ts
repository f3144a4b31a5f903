/** Items for slow.onnx, which turns [a,b,c,d] into [d,a,b,c] in about 5 ms of one CPU; each is unlike all others. */
export const slowItems = (count: number): { id: string; inputs: { x: number[] } }[] =>
  Array.from({ length: count }, (_, i) => ({ id: `s${i}`, inputs: { x: [i, i + 0.5, 0 - i, i % 7] } }));

/** What results.jsonl must be for them, byte for byte. */
export const slowResults = (count: number): string =>
  slowItems(count).map(({ id, inputs: { x: [a = 0, b = 0, c = 0, d = 0] } }) => `{"id":"${id}","outputs":{"y":[${[d, a, b, c].map(String).join(',')}]}}\n`).join('');
