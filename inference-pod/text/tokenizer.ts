import { readFileSync } from 'node:fs';
import { Tokenizer } from '@huggingface/tokenizers';
import { UnusableModel } from '../engine/signature.ts';
import { messageOf, shorten } from '../fatal.ts';
import type { TextSettings } from './settings.ts';

/** Texts as token ids, as the tokenizer of the model counts them. */
export interface TextTokenizer {
  /** Ids without special tokens. */
  content(text: string): number[];
  /** The special tokens before and behind every text. */
  prefix: readonly number[];
  suffix: readonly number[];
  /** What fills up the shorter rows of a batch; the attention mask hides it. */
  padId: number;
  /** Token ids are below it. */
  vocabulary: number;
  /** Which end of a text goes when it is truncated. */
  truncatedSide: 'left' | 'right';
  /** Most tokens that the tokenizer's configuration allows, as far as it says. */
  maxTokens?: number;
}

/** tokenizer_config.json says 10^30 where there is no limit. */
const noLimit = 1e9;

/** Throws UnusableModel. */
export function openTokenizer({ tokenizer: path, tokenizerConfig }: Pick<TextSettings, 'tokenizer' | 'tokenizerConfig'>): TextTokenizer {
  const json = readObject(path, 'tokenizer.json');
  const config = tokenizerConfig === undefined ? {} : readObject(tokenizerConfig, 'tokenizer_config.json');
  const kind = (json['model'] as { type?: unknown } | undefined)?.type;
  if (kind !== 'WordPiece') throw new UnusableModel(`tokenizer.json is of type ${JSON.stringify(kind ?? null)}, expected "WordPiece" as BERT and its kin have`);
  let library: Tokenizer;
  try {
    library = new Tokenizer(json, config);
  } catch (error) {
    throw new UnusableModel(shorten(`tokenizer.json cannot be used: ${messageOf(error)}`, 300));
  }
  const { normalizer } = library;
  const { type, lowercase } = (json['normalizer'] ?? {}) as { type?: unknown; lowercase?: unknown };
  if (type === 'BertNormalizer' && normalizer !== null) {
    const normalize = normalizer.normalize.bind(normalizer);
    normalizer.normalize = (text: string): string => normalize(asBert(text, lowercase === true));
  }
  const content = (text: string): number[] => library.encode(text, { add_special_tokens: false }).ids;
  const maxTokens = config['model_max_length'];
  return {
    content,
    ...specialTokens(library, content),
    padId: padIdOf(library, json, config),
    vocabulary: library.get_vocab().size,
    truncatedSide: config['truncation_side'] === 'left' ? 'left' : 'right',
    ...(typeof maxTokens === 'number' && maxTokens > 0 && maxTokens < noLimit ? { maxTokens } : {}),
  };
}

/** CJK ideographs beyond 16 bits, as BERT lists them. */
const farIdeograph = /[\u{20000}-\u{2A6DF}\u{2A700}-\u{2B81F}\u{2B920}-\u{2CEAF}\u{2F800}-\u{2FA1F}]/gu;

/**
 * Where the library (0.2.0) differs from the reference, Hugging Face's tokenizers in Rust: it takes characters beyond
 * 16 bits for two, so that it sees no ideographs there, and lowers a sigma at the end of a word to its final form.
 */
function asBert(text: string, lowercase: boolean): string {
  const spaced = text.replace(farIdeograph, ' $& ');
  return lowercase ? spaced.replaceAll('Σ', 'σ') : spaced;
}

/** Found with a probe, since each kind of post-processor writes them elsewhere. */
function specialTokens(library: Tokenizer, content: (text: string) => number[]): Pick<TextTokenizer, 'prefix' | 'suffix'> {
  const plain = content('a');
  const all = library.encode('a').ids;
  for (let start = 0; plain.length > 0 && start + plain.length <= all.length; start++) {
    if (plain.every((id, at) => all[start + at] === id)) return { prefix: all.slice(0, start), suffix: all.slice(start + plain.length) };
  }
  throw new UnusableModel('tokenizer.json puts special tokens between those of a text, which is not known here');
}

function padIdOf(library: Tokenizer, json: Record<string, unknown>, config: Record<string, unknown>): number {
  const named = config['pad_token'];
  const token = typeof named === 'string' ? named : (named as { content?: unknown } | null | undefined)?.content;
  const id = (json['padding'] as { pad_id?: unknown } | null | undefined)?.pad_id;
  return (typeof token === 'string' ? library.token_to_id(token) : undefined) ?? (typeof id === 'number' ? id : 0);
}

function readObject(path: string, name: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new UnusableModel(`${name} is no JSON object`);
  return value as Record<string, unknown>;
}
