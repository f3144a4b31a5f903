import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { shardBytes } from '../../../inference-pod/planning/cut.ts';
import { findInputFiles } from '../../../inference-pod/stores/volume/input-files.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'millrace-input-'));
});

function put(...paths: string[]): void {
  for (const path of paths) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), path);
  }
}

const find = async (path: string, ignored: string[] = []): Promise<string[]> =>
  (await findInputFiles(root, path, new Set(ignored.map((name) => join(root, name))))).map((file) => file.path);

describe('the input', () => {
  test('is one file', async () => {
    put('in/a.jsonl');
    expect(await find('in/a.jsonl')).toEqual(['in/a.jsonl']);
    expect(await find('./in//a.jsonl')).toEqual(['in/a.jsonl']);
  });

  test('is all files below a folder in byte order, without dotfiles and our own output', async () => {
    put('in/b', 'in/a/z', 'in/B', 'in/a.jsonl', 'in/é', 'in/.hidden', 'in/.millrace/1/2', 'in/results.jsonl');
    expect(await find('in', ['in/results.jsonl'])).toEqual(['in/B', 'in/a.jsonl', 'in/a/z', 'in/b', 'in/é']);
    expect(await find('')).toContain('in/results.jsonl');
  });

  test('is what a glob matches', async () => {
    put('in/a.jsonl', 'in/b.csv', 'in/x/c.jsonl', 'other/d.jsonl');
    expect(await find('in/*.jsonl')).toEqual(['in/a.jsonl']);
    expect(await find('in/**/*.jsonl')).toEqual(['in/a.jsonl', 'in/x/c.jsonl']);
    expect(await find('{in,other}/?.jsonl')).toEqual(['in/a.jsonl', 'other/d.jsonl']);
  });

  test('is a file with the characters of a glob in its name', async () => {
    put('in/[a]*.jsonl', 'in/a1.jsonl');
    expect(await find('in/[a]*.jsonl')).toEqual(['in/[a]*.jsonl']);
  });

  test('may be links inside the volume, as in a ConfigMap', async () => {
    put('..2026/in.jsonl', '..2026/sub/b.jsonl');
    symlinkSync('..2026', join(root, '..data'));
    symlinkSync('..data/in.jsonl', join(root, 'in.jsonl'));
    symlinkSync('..data/sub', join(root, 'sub'));
    expect(await find('')).toEqual(['in.jsonl', 'sub/b.jsonl']);
    expect(await find('in.jsonl')).toEqual(['in.jsonl']);
  });

  test('ends where a link leads back up', async () => {
    put('in/a');
    symlinkSync('..', join(root, 'in/up'));
    expect(await find('in')).toEqual(['in/a']);
  });

  test.each([
    ['none', 'InputNotFound', 'spec.input.volume.path "none" was not found in the input volume'],
    ['in/none/x', 'InputNotFound', 'spec.input.volume.path "in/none/x" was not found in the input volume'],
    // A path is no URL.
    ['%2e%2e/outside', 'InputNotFound', 'spec.input.volume.path "%2e%2e/outside" was not found in the input volume'],
    ['in/*.csv', 'InputNotFound', 'spec.input.volume.path "in/*.csv" matches no file in the input volume; files whose name begins with a dot do not count'],
    ['empty', 'InputNotFound', 'spec.input.volume.path "empty" is a folder without files; files whose name begins with a dot do not count'],
    ['link', 'InputInvalid', 'spec.input.volume.path: "link" leads out of its volume through a symbolic link'],
    ['folder', 'InputInvalid', 'input "folder/link" leads out of its volume through a symbolic link'],
    ['broken', 'InputInvalid', 'input "broken/link" is a symbolic link to nothing; remove it or restore what it points to'],
  ])('%s is refused with one sentence', async (path, code, message) => {
    put('in/a', 'empty/.keep', 'folder/a', 'broken/a');
    symlinkSync('/etc/hostname', join(root, 'link'));
    symlinkSync('/etc', join(root, 'folder/link'));
    symlinkSync('nothing', join(root, 'broken/link'));
    await expect(find(path)).rejects.toMatchObject({ code, message });
  });

  test('is not a file that the job writes itself', async () => {
    put('results.jsonl');
    await expect(find('results.jsonl', ['results.jsonl'])).rejects.toMatchObject({ code: 'InputInvalid' });
  });
});

describe('a shard has', () => {
  test.each([
    [1e6, { targetBytes: 8e6, maxWorkers: 5 }, 5e4],
    [1e9, { targetBytes: 8e6, maxWorkers: 5 }, 8e6],
    [1e12, { targetBytes: 8e6, maxWorkers: 5 }, 1e8],
    [3, { targetBytes: 8e6, maxWorkers: 5 }, 1],
    [0, { targetBytes: 8e6, maxWorkers: 5 }, 1],
  ])('of %d bytes in all with %o: %d bytes', (total, sharding, expected) => {
    expect(shardBytes(total, sharding)).toBe(expected);
  });
});
