import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf, FatalError } from '../fatal.ts';
import type { ModelPart } from '../model/external-data.ts';
import { PathEscapes, realpathWithin } from '../paths.ts';
import type { TextFiles } from './settings.ts';

/** No tokenizer in use is larger; it is parsed in every session's thread. */
const maxFileBytes = 128 * 1024 * 1024;

export interface FoundTextFiles extends TextFiles {
  /** They belong to the model: other files make other results. */
  parts: ModelPart[];
}

/**
 * The files that go with a text model in the layout of sentence-transformers: tokenizer.json and what describes it,
 * beside the model file, or in the folder above when the model lies in a folder named onnx, as on model hubs.
 * Symbolic links are followed inside the root. Throws FatalError.
 */
export async function findTextFiles(root: string, path: string): Promise<FoundTextFiles> {
  const own = dirname(path);
  const folders = basename(own) === 'onnx' ? [own, dirname(own)] : [own];
  const parts: ModelPart[] = [];
  const find = async (folder: string, name: string): Promise<string | undefined> => {
    const part = await locate(root, join(folder, name), name);
    if (part === undefined) return undefined;
    parts.push(part);
    return part.real;
  };
  for (const folder of folders) {
    const tokenizer = await find(folder, 'tokenizer.json');
    if (tokenizer === undefined) continue;
    const read = async (name: string): Promise<Record<string, unknown> | unknown[] | undefined> => {
      const real = await find(folder, name);
      return real === undefined ? undefined : await readJson(real, name);
    };
    const files: TextFiles = { tokenizer };
    const tokenizerConfig = await find(folder, 'tokenizer_config.json');
    if (tokenizerConfig !== undefined) files.tokenizerConfig = tokenizerConfig;
    const modules = await read('modules.json');
    if (modules !== undefined) files.modules = modules;
    const pooling = await read(`${poolingFolder(modules)}/config.json`);
    if (pooling !== undefined) files.pooling = pooling;
    const transformer = await read('sentence_bert_config.json');
    if (transformer !== undefined) files.transformer = transformer;
    const prompts = await read('config_sentence_transformers.json');
    if (prompts !== undefined) files.prompts = prompts;
    return { ...files, parts };
  }
  throw new FatalError('ModelNotFound', `tokenizer.json was not found beside spec.model.path "${path}"; spec.model.task text-embedding needs the tokenizer that the model was trained with, in the format of Hugging Face tokenizers`);
}

/** Where modules.json says that the pooling is described. */
function poolingFolder(modules: unknown): string {
  const list = Array.isArray(modules) ? (modules as unknown[]) : [];
  const pooling = list.find((one) => typeof one === 'object' && one !== null && /\.Pooling$/.test(String((one as { type?: unknown }).type)));
  const path = (pooling as { path?: unknown } | undefined)?.path;
  return typeof path === 'string' && /^[\w.-]+$/.test(path) && !/^\.+$/.test(path) ? path : '1_Pooling';
}

async function locate(root: string, path: string, name: string): Promise<ModelPart | undefined> {
  try {
    const real = await realpathWithin(root, path);
    const stats = await stat(real);
    if (!stats.isFile()) throw new FatalError('ModelInvalid', `"${path}" beside the model is not a file`);
    if (stats.size > maxFileBytes) throw new FatalError('ModelInvalid', `"${path}" beside the model has ${stats.size} bytes, the limit is ${maxFileBytes}`);
    return { name, real, stats };
  } catch (error) {
    if (error instanceof PathEscapes) throw new FatalError('ModelInvalid', `beside the model: ${error.message}`);
    const errno = errnoOf(error);
    if (errno === 'EACCES') throw new FatalError('ModelInvalid', `"${path}" beside the model cannot be read: permission denied`);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return undefined;
    throw error;
  }
}

async function readJson(real: string, name: string): Promise<Record<string, unknown> | unknown[]> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(real, 'utf8'));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  if (typeof value !== 'object' || value === null) throw new FatalError('ModelInvalid', `"${name}" beside the model is no JSON object or array`);
  return value as Record<string, unknown> | unknown[];
}
