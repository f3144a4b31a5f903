import { createHash } from 'node:crypto';
import { createReadStream, type Stats } from 'node:fs';
import { lstat, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { errnoOf, FatalError, messageOf } from '../fatal.ts';
import { PathEscapes, realpathWithin } from '../paths.ts';
import { findExternalData, type ModelPart } from './external-data.ts';
import { type OnnxGraph, readOnnxGraph } from './onnx-graph.ts';
import { ProtobufFault } from './protobuf.ts';

/** Which model a job runs: compared by content, since a tag or a volume can change under a job. External data counts. */
export interface ModelFile {
  size: number;
  sha256: string;
}

export interface FoundModel extends ModelFile {
  /** Where the file is. */
  real: string;
  operators: OnnxGraph['operators'];
  /** The model file first, then its external data, then what else belongs to it. */
  parts: readonly ModelPart[];
}

/** `others` belong to the model too. Throws FatalError ModelNotFound or ModelInvalid. */
export async function findModel(root: string, path: string, others: readonly ModelPart[] = []): Promise<FoundModel> {
  let real: string;
  try {
    real = await realpathWithin(root, path);
  } catch (error) {
    if (error instanceof PathEscapes) throw new FatalError('ModelInvalid', `spec.model.path: ${error.message}`);
    const errno = errnoOf(error);
    if (errno === 'EACCES') throw new FatalError('ModelInvalid', `spec.model.path "${path}" cannot be read: permission denied`);
    if (errno !== 'ENOENT' && errno !== 'ENOTDIR') throw error;
    throw new FatalError('ModelNotFound', `spec.model.path "${path}" was not found in the model volume`);
  }
  const stats = await stat(real);
  if (!stats.isFile()) throw new FatalError('ModelInvalid', `spec.model.path "${path}" is not a file; name the .onnx file itself`);
  // ONNX Runtime goes by the name; what it would then read is not what is checked here.
  if (real.endsWith('.ort')) throw new FatalError('ModelInvalid', `spec.model.path "${path}" is a model in ORT format, expected an .onnx file`);
  const { operators, locations } = readGraph(real, path);
  const parts = [{ name: basename(real), real, stats }, ...(await findExternalData(real, path, locations)), ...others];
  return { real, operators, parts, ...(await fingerprint(parts, path)) };
}

/** To be called when the model is loaded: throws FatalError when a file of it is not the one that was looked at. */
export async function checkModelUnchanged({ parts }: FoundModel, path: string): Promise<void> {
  for (const { name, real, stats } of parts) {
    const now = await lstat(real).catch(() => undefined);
    if (now === undefined || !isSame(now, stats)) throw changed(path, name);
  }
}

function readGraph(real: string, path: string): OnnxGraph {
  try {
    return readOnnxGraph(real);
  } catch (error) {
    if (errnoOf(error) === 'EACCES') throw new FatalError('ModelInvalid', `spec.model.path "${path}" cannot be read: permission denied`);
    if (!(error instanceof ProtobufFault)) throw error;
    throw new FatalError('ModelInvalid', `spec.model.path "${path}" is not a usable ONNX model: Protobuf parsing failed: ${messageOf(error)}; is it whole, and an .onnx file?`);
  }
}

/** Of a model in one file the digest of that file, so that it can be compared with `sha256sum`. */
async function fingerprint(parts: readonly ModelPart[], path: string): Promise<ModelFile> {
  const digests: [name: string, size: number, sha256: string][] = [];
  for (const { name, real, stats } of parts) {
    const hash = createHash('sha256');
    await pipeline(createReadStream(real, { highWaterMark: 1024 * 1024 }), hash);
    const now = await lstat(real);
    if (!isSame(now, stats)) throw changed(path, name);
    digests.push([name, stats.size, hash.digest('hex')]);
  }
  const size = digests.reduce((sum, [, bytes]) => sum + bytes, 0);
  const [only] = digests;
  if (digests.length === 1 && only !== undefined) return { size, sha256: only[2] };
  return { size, sha256: createHash('sha256').update(JSON.stringify(digests)).digest('hex') };
}

function isSame(now: Stats, before: Stats): boolean {
  return now.isFile() && now.dev === before.dev && now.ino === before.ino && now.size === before.size && now.mtimeMs === before.mtimeMs;
}

function changed(path: string, name: string): FatalError {
  return new FatalError('ModelInvalid', `model changed: "${name}" of spec.model.path "${path}" was written to while it was loaded; write models beside the old one and rename them`);
}
