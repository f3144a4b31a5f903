import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { openTokenizer } from '../../../../inference-pod/text/tokenizer.ts';

const encoder = resolve(import.meta.dirname, '../../../support/models/encoder');
const json = (name: string): unknown => JSON.parse(readFileSync(join(encoder, name), 'utf8'));
const files = { tokenizer: join(encoder, 'tokenizer.json'), tokenizerConfig: join(encoder, 'tokenizer_config.json') };

test('texts of many scripts become the tokens that the reference in Rust gives', () => {
  const { content } = openTokenizer(files);
  const wanted = json('tokens.json') as [text: string, ids: number[]][];
  expect(wanted.map(([text]) => [text, content(text)])).toEqual(wanted);
});

test('special tokens, padding and length come from the files', () => {
  expect(openTokenizer(files)).toMatchObject({ prefix: [2], suffix: [3], padId: 0, vocabulary: 305, maxTokens: 64, truncatedSide: 'right' });
  const { tokenizer } = files;
  expect(openTokenizer({ tokenizer })).not.toHaveProperty('maxTokens');
});
