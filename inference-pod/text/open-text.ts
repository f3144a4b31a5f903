import type { WorkerSpec } from '../contract.ts';
import { UnusableModel } from '../engine/signature.ts';
import { FatalError } from '../fatal.ts';
import type { ModelPart } from '../model/external-data.ts';
import { type TextSettings, textSettings } from './settings.ts';
import { findTextFiles } from './text-files.ts';

/** What texts need beside the model, or undefined where the task has none. Throws FatalError. */
export async function openText({ root, path, embedding }: WorkerSpec['model']): Promise<{ settings: TextSettings; parts: ModelPart[] } | undefined> {
  if (embedding === undefined) return undefined;
  const { parts, ...files } = await findTextFiles(root, path);
  try {
    return { settings: textSettings(files, embedding), parts };
  } catch (error) {
    if (!(error instanceof UnusableModel)) throw error;
    throw new FatalError('ModelInvalid', `spec.model.path "${path}" cannot be used for text-embedding: ${error.message}`);
  }
}
