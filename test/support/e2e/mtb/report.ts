/** The result of one benchmark. */
export interface Result {
  id: string;
  title: string;
  passed: boolean;
  /** Why it fails on purpose, and what holds instead. */
  deviation?: string;
}

const column = 100;

/** A table for people: one line for each benchmark, the reason under each that fails on purpose. */
export function toTable(results: readonly Result[]): string {
  const width = Math.max(...results.map(({ id }) => id.length));
  const lines = results.flatMap(({ id, title, passed, deviation }) => [
    `${id.padEnd(width)}  ${passed ? 'PASS' : 'FAIL'}  ${title}${deviation === undefined ? '' : ' (on purpose)'}`,
    ...wrap(deviation ?? '').map((line) => `${' '.repeat(width + 8)}${line}`),
  ]);
  const failed = results.filter(({ passed }) => !passed);
  return [...lines, `${results.length - failed.length} PASS, ${failed.length} FAIL, of which ${failed.filter(({ deviation }) => deviation !== undefined).length} on purpose`].join('\n');
}

function wrap(text: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ').filter(Boolean)) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length >= column) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
