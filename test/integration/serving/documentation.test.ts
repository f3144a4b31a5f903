import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../../..');

/** As much of curl as the documentation uses, for machines that have none. */
const curl = `#!${process.execPath}
const args = process.argv.slice(2);
const at = args.indexOf('-d');
const url = 'http://' + args.find((one) => one.startsWith('localhost:'));
for (let left = args.includes('--retry') ? 600 : 0; ; left--) {
  try {
    const response = await fetch(url, at < 0 ? {} : { method: 'POST', body: args[at + 1] });
    if (!response.ok && args.includes('-sf')) throw new Error(String(response.status));
    process.stdout.write(await response.text());
    break;
  } catch (error) {
    if (left <= 0) throw error;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
`;

test('the commands that docs/serving.md shows do what it says', () => {
  const script = /```sh\n([\s\S]*?)```/.exec(readFileSync(join(root, 'docs/serving.md'), 'utf8'))?.[1] ?? '';
  const port = 20_000 + (process.pid % 20_000);
  // Other ports, for whatever else runs here.
  const moved = script.replaceAll('8080', String(port)).replaceAll('8081', String(port + 1));
  const bin = mkdtempSync(join(tmpdir(), 'millrace-bin-'));
  writeFileSync(join(bin, 'package.json'), '{"type":"module"}');
  writeFileSync(join(bin, 'curl'), curl);
  chmodSync(join(bin, 'curl'), 0o755);
  const { status, stdout, stderr } = spawnSync('bash', ['-ec', moved], { cwd: root, encoding: 'utf8', timeout: 120_000, env: { ...process.env, PATH: `${bin}:${dirname(process.execPath)}:${process.env['PATH']}` } });
  expect([status, stderr]).toEqual([0, '']);
  expect(stdout).toContain('"inputs":[{"name":"image","datatype":"FP32","shape":[-1,1,8,8]}]');
  expect(stdout).toContain('{"model_name":"digits","model_version":"1","id":"seven","outputs":[{"name":"digit","datatype":"INT64","shape":[1],"data":[7]}]}');
}, 150_000);
