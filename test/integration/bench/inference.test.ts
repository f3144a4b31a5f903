import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkOutput } from '../../../dev/bench/inference/check.ts';
import type { Workload } from '../../../dev/bench/inference/workloads.ts';

const root = resolve(import.meta.dirname, '../../..');
let cache: string;

beforeAll(() => {
  cache = mkdtempSync(join(tmpdir(), 'millrace-bench-'));
});

afterAll(() => rmSync(cache, { recursive: true }));

async function bench(...args: string[]): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, [join(root, 'dev/bench.ts'), ...args], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, MILLRACE_CACHE: cache } });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const code = await new Promise<number | null>((done) => child.on('close', done));
  return { code, output };
}

test('the benchmark of offline inference runs, checks what comes out, and prints its table', async () => {
  const { code, output } = await bench('inference', 'mlp', '--items', '70', '--repeats', '1', '--only', 'millrace');
  expect(code, output).toBe(0);
  expect(output).toMatch(/\| Millrace \| \*\*\d+\*\* \(\d+–\d+\) \| 1\.00× \| \d+\.\d s \| \d+ \| \d+ MiB \|/);
  expect(output).toMatch(/engine alone [\d,]+, the parser alone [\d,]+, the writer alone [\d,]+/);
}, 120_000);

test('an option that it does not take is refused with what it takes', async () => {
  const { code, output } = await bench('inference', 'mlp', '--repeats', 'many');
  expect(code).toBe(1);
  expect(output).toContain('--repeats: got "many", expected a whole number of at least 1');
});

describe('the check that every contestant goes through', () => {
  const line = (id: string, ...y: number[]): string => `${JSON.stringify({ id, outputs: { y } })}\n`;
  const good = [line('mlp-0000000', 1, 2), line('mlp-0000001', 3, 4.00001)];
  const check = (lines: string[]): void => {
    const path = join(cache, 'results.jsonl');
    writeFileSync(path, lines.join(''));
    checkOutput(path, { kind: 'mlp', items: 2, width: 2, expected: Float32Array.of(1, 2, 3, 4), model: { bytes: Buffer.alloc(0), input: 'x', output: 'y' }, folder: cache, peerBatch: 1 } satisfies Workload);
    expect(readFileSync(path, 'utf8')).toBe(lines.join(''));
  };

  test('takes what is right', () => check(good));

  test.each<[what: string, lines: string[], fault: string]>([
    ['a result is missing', good.slice(0, 1), '1 results, expected 2'],
    ['one is there twice', [...good, good[1] as string], 'expected'],
    ['the order is another', good.toReversed(), 'expected 1'],
    ['the ids are others', [line('a', 1, 2), line('b', 3, 4)], 'the ids are not those of the input in its order'],
    ['a value is off', [good[0] as string, line('mlp-0000001', 3, 4.001)], '"mlp-0000001" has 4.001 at 1, expected 4'],
    ['a row is short', [good[0] as string, line('mlp-0000001', 3)], '"mlp-0000001" has 1 outputs, expected 2'],
  ])('notices when %s', (_, lines, fault) => expect(() => check(lines)).toThrow(fault));
});
