import type { EmbeddingSpec } from '../contract.ts';
import { UnusableModel } from '../engine/signature.ts';

export type Pooling = 'mean' | 'cls';

/** Paths of what the session threads read, and the content of what is read once. */
export interface TextFiles {
  tokenizer: string;
  tokenizerConfig?: string;
  modules?: unknown;
  /** 1_Pooling/config.json */
  pooling?: unknown;
  /** sentence_bert_config.json */
  transformer?: unknown;
  /** config_sentence_transformers.json */
  prompts?: unknown;
}

/** How texts become embeddings; the same for every session of a job. */
export interface TextSettings {
  tokenizer: string;
  tokenizerConfig?: string;
  /** Absent: the model must give one vector for each text. */
  pooling?: Pooling;
  /** The spec asks for it, not a file beside the model. */
  poolingAsked: boolean;
  normalize: boolean;
  truncate: boolean;
  /** Most tokens of a text, special ones included, as far as the configuration says. */
  maxTokens?: number;
  lowercase: boolean;
  /** Put before each text. */
  prompt: string;
}

/** The spec first, then what sentence-transformers keeps beside the model. Throws UnusableModel for what is not done here. */
export function textSettings({ tokenizer, tokenizerConfig, modules, pooling, transformer, prompts }: TextFiles, spec: EmbeddingSpec): TextSettings {
  const types = (Array.isArray(modules) ? (modules as unknown[]) : []).map((one) => String(get(one, 'type') ?? '').split('.').at(-1) ?? '');
  const unknown = types.find((type) => !['Transformer', 'Pooling', 'Normalize'].includes(type));
  if (unknown !== undefined) throw new UnusableModel(`modules.json has the module ${unknown}, which is not run here; export it with the model, and take it out of modules.json`);
  const maxTokens = spec.maxSequenceLength ?? positive(get(transformer, 'max_seq_length'));
  const poolingUsed = spec.pooling ?? (pooling === undefined ? undefined : poolingOf(pooling));
  return {
    tokenizer,
    ...(tokenizerConfig === undefined ? {} : { tokenizerConfig }),
    ...(poolingUsed === undefined ? {} : { pooling: poolingUsed }),
    poolingAsked: spec.pooling !== undefined,
    normalize: spec.normalize ?? (modules === undefined || types.includes('Normalize')),
    truncate: spec.truncate,
    ...(maxTokens === undefined ? {} : { maxTokens }),
    lowercase: get(transformer, 'do_lower_case') === true,
    prompt: spec.prompt ?? defaultPrompt(prompts),
  };
}

function poolingOf(config: unknown): Pooling {
  const modes = typeof config === 'object' && config !== null ? Object.entries(config).filter(([key, value]) => key.startsWith('pooling_mode') && value !== false) : [];
  const names = modes.map(([key, value]) => (typeof value === 'string' ? value : key.replace('pooling_mode_', '').replace('_tokens', '').replace('_token', '')));
  const [only] = names;
  if (names.length === 1 && (only === 'mean' || only === 'cls')) return only;
  throw new UnusableModel(`1_Pooling/config.json asks for pooling by ${names.join(' and ') || 'nothing'}, expected mean or cls`);
}

function defaultPrompt(prompts: unknown): string {
  const name = get(prompts, 'default_prompt_name');
  if (typeof name !== 'string') return '';
  const prompt = get(get(prompts, 'prompts'), name);
  return typeof prompt === 'string' ? prompt : '';
}

function positive(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : undefined;
}

function get(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined;
}
