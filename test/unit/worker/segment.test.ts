import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { describeBody, type Footer, SegmentCorrupt } from '../../../inference-pod/segments/segment.ts';
import { followChain, openShardFolder, readFooter, readSegment, type ShardFolder, segmentName, shardFolder, storeSegment } from '../../../inference-pod/segments/store.ts';
import { Gone } from '../../../inference-pod/stores/store.ts';
import { VolumeOutput } from '../../../inference-pod/stores/volume/output.ts';

let place: ShardFolder;
let folder: string;
beforeEach(async () => {
  const root = mkdtempSync(join(tmpdir(), 'millrace-segment-'));
  place = shardFolder(await VolumeOutput.open({ root, path: 'out' }, 'me'), 'state', 3, 1);
  folder = join(root, 'out', place.folder);
  await openShardFolder(place);
});

const results = [Buffer.from('{"id":1}\n'), Buffer.from('{"id":2}\n')];
const errors = [Buffer.from('{"code":"x"}\n')];

function footer(start: number, end: number): Footer {
  return { v: 1, shard: 3, generation: 1, start, end, line: 7, items: { succeeded: 2, failed: 1 }, ...describeBody(results, errors), firstError: 'x' };
}

const store = (start: number, end: number): ReturnType<typeof storeSegment> => storeSegment(place, footer(start, end), [...results, ...errors]);
const pathOf = (start: number): string => place.store.address(segmentName(place, start));

describe('a segment', () => {
  test('gives back its footer, and leaves no other file', async () => {
    expect(await store(10, 50)).toEqual({ footer: footer(10, 50), adopted: false });
    expect(await readFooter(place, 10)).toEqual(footer(10, 50));
    expect(await readFooter(place, 11)).toBeUndefined();
    expect(readdirSync(folder)).toEqual(['10']);
    expect(readFileSync(pathOf(10), 'utf8')).toMatch(/^\{"id":1\}\n\{"id":2\}\n\{"code":"x"\}\n\{"v":1/);
  });

  test('that is stored already is adopted, whoever wrote it', async () => {
    await store(10, 50);
    expect(await store(10, 90)).toEqual({ footer: footer(10, 50), adopted: true });
    expect(readdirSync(folder)).toEqual(['10']);
  });

  test('is followed by the one that begins at its end', async () => {
    await store(10, 50);
    await store(50, 60);
    await store(70, 80);
    expect((await followChain(place, { start: 10, end: 80 })).map(({ end }) => end)).toEqual([50, 60]);
    await expect(followChain(place, { start: 10, end: 55 })).rejects.toThrow('behind its shard');
  });

  test.each([
    ['cut short', (path: string) => truncateSync(path, 40)],
    ['empty', (path: string) => truncateSync(path, 0)],
    ['longer than it was', (path: string) => appendFileSync(path, 'x')],
    ['another file', (path: string) => writeFileSync(path, 'x'.repeat(500))],
    ['changed in its footer', (path: string) => writeFileSync(path, readFileSync(path, 'latin1').replace('"end":50', '"end":51'), 'latin1')],
    ['changed in length', (path: string) => writeFileSync(path, `y${readFileSync(path, 'latin1')}`, 'latin1')],
  ])('is refused when it is %s', async (_name, damage) => {
    await store(10, 50);
    damage(pathOf(10));
    await expect(readFooter(place, 10)).rejects.toThrow(SegmentCorrupt);
  });

  test('gives back its lines too', async () => {
    await store(10, 50);
    expect(await readSegment(place, 10)).toEqual({ footer: footer(10, 50), results: Buffer.concat(results), errors: Buffer.concat(errors) });
  });

  test('whose lines are not those that were written is refused by the join', async () => {
    await store(10, 50);
    writeFileSync(pathOf(10), readFileSync(pathOf(10), 'latin1').replace('{"id":2}', '{"id":3}'), 'latin1');
    await expect(readSegment(place, 10)).rejects.toThrow('do not match their digest');
  });

  test('whose footer is longer than usual is read all the same', async () => {
    const long = { ...footer(10, 50), firstError: 'x'.repeat(5_000) };
    await storeSegment(place, long, [...results, ...errors]);
    expect(await readFooter(place, 10)).toEqual(long);
  });

  test('cannot be stored when the folder is gone, as after the commit', async () => {
    rmSync(folder, { recursive: true });
    await expect(store(10, 50)).rejects.toThrow(Gone);
  });
});
