import { existsSync, readFileSync, statSync } from 'node:fs';
import { chmod, copyFile, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { load, loadAll } from 'js-yaml';
import { repoDir } from '../cluster/cache.ts';

const samples = join(repoDir, 'config/samples');
const digits = join(samples, 'data/digits.jsonl');
export const modelFile = join(repoDir, 'test/support/models/digits/model.onnx');

export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; [key: string]: unknown };
  spec?: Record<string, unknown>;
}

export interface JobManifest extends Manifest {
  metadata: { name: string; namespace: string };
  spec: {
    model: { image: string; path: string };
    input: { volume: { claimName: string; path: string } };
    output: { volume: { claimName: string; path: string } };
  };
}

export const sampleFile = (name: string): string => join(samples, name);
export const loadSamples = (name: string): Manifest[] => loadAll(readFileSync(sampleFile(name), 'utf8')) as Manifest[];
export const loadJob = (name: string): JobManifest => load(readFileSync(sampleFile(name), 'utf8')) as JobManifest;

/** How often the long sample repeats the 1,797 images. */
export const longRepeats = 270;

/** Ids of the long sample: which repeat, then the id of the image. */
export const repeatedId = (repeat: number, id: string): string => `r${String(repeat).padStart(3, '0')}-${id}`;
export const imageId = (id: string): string => id.replace(/^r\d{3}-/, '');

/**
 * Makes the folder of the sample volume, which any worker may write.
 * @param folder the volume's folder on this machine
 */
export async function makeVolume(folder: string): Promise<void> {
  for (const path of [folder, join(folder, 'in')]) {
    await mkdir(path, { recursive: true });
    await chmod(path, 0o777);
  }
}

/** Puts the sample input onto the volume unless it is there. */
export async function putDigits(file: string): Promise<void> {
  if (existsSync(file) && statSync(file).size === statSync(digits).size) return;
  await replaceFile(file, (partial) => copyFile(digits, partial));
}

/** The images again and again, each time under other ids; about 100 MB. */
export async function putRepeatedDigits(file: string, repeats = longRepeats): Promise<void> {
  const text = readFileSync(digits, 'utf8');
  const once = (repeat: number): string => text.replaceAll('{"id":"', `{"id":"${repeatedId(repeat, '')}`);
  if (existsSync(file) && statSync(file).size === Buffer.byteLength(once(0)) * repeats) return;
  await replaceFile(file, async (partial) => {
    const out = await open(partial, 'w');
    try {
      for (let repeat = 0; repeat < repeats; repeat++) await out.write(once(repeat));
    } finally {
      await out.close();
    }
  });
}

async function replaceFile(file: string, write: (partial: string) => Promise<void>): Promise<void> {
  const partial = join(dirname(file), `.partial-${process.pid}`);
  try {
    await write(partial);
    await chmod(partial, 0o644);
    await rename(partial, file);
  } finally {
    await rm(partial, { force: true });
  }
}
