import { describe, expect, test } from 'vitest';
import { type Cell, complaints, render, type Target, verdict } from '../../support/e2e/network/matrix.ts';

const heard = (text: string): { open: true; heard: string } => ({ open: true, heard: Buffer.from(text).toString('base64') });
const cell = (source: string, wanted: Cell['wanted'], found: Cell['found'], target = 'S3'): Cell => ({ source, target, wanted, found });

describe('a connection is', () => {
  test.each([
    ['open when its target answers', heard('s3'), 's3', 'open'],
    ['open when nothing need be said', { open: true as const }, undefined, 'open'],
    ['shut when nothing comes back', { open: false as const, how: 'timeout' as const }, 's3', 'shut'],
    ['shut when it is refused', { open: false as const, how: 'refused' as const }, 's3', 'shut'],
    ['neither when somebody else answers', heard('model'), 's3', 'other: model answers'],
    ['neither when the probe goes wrong', { failed: 'EADDRNOTAVAIL' }, 's3', 'other: EADDRNOTAVAIL'],
    ['neither when nobody tried', undefined, 's3', 'other: not asked'],
  ])('%s', (_what, found, says, wanted) => expect(verdict(found, says)).toBe(wanted));
});

describe('a matrix', () => {
  test('holds when all is as wanted and somebody reaches each target', () => {
    expect(complaints([cell('acme', 'open', 'open'), cell('globex', 'shut', 'shut'), cell('node', 'either', 'shut')])).toEqual([]);
  });

  test('tells each hole and each wall in the way', () => {
    expect(complaints([cell('acme', 'open', 'shut'), cell('globex', 'shut', 'open')])).toEqual(['acme -> S3: must be open, is shut', 'globex -> S3: must be shut, is open']);
  });

  test('does not take a dead target for a shut one', () => {
    expect(complaints([cell('globex', 'shut', 'shut')])).toEqual(['S3: nobody reaches it, so that it is shut to others proves nothing']);
  });

  test('does not take a probe that went wrong for a wall, even where anything may be', () => {
    expect(complaints([cell('acme', 'open', 'open'), cell('node', 'either', 'other: EBADF')])).toEqual(['node -> S3: must be either, is other: EBADF']);
  });

  test('is drawn with a line for each target', () => {
    const target: Target = { name: 'S3', probe: { protocol: 'TCP', host: '', port: 1 }, openTo: [], asked: [] };
    const deviation = { sources: ['node'], targets: 'S3', found: 'open' as const, because: 'nodes may' };
    const drawn = render([cell('acme', 'open', 'open'), cell('globex', 'shut', 'open'), cell('node', 'open', 'open')], [target], [deviation]);
    expect(drawn.split('\n').slice(0, 4)).toEqual(['    acme', '    |  globex', '    |  |  node', 'S3  +  +! +*']);
    expect(drawn).toContain('* node -> S3…: open, because nodes may');
  });
});
