import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, stat, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { sh } from '../step.ts';

/** A file under its content's name. `digest` begins with `sha256:`. */
export type Blob = { digest: string; size: number; path: string };
export type Image = {
  ref: string;
  layers: readonly Blob[];
  /** The image's config file as JSON text. */
  config: string;
};

export const sha256 = (data: string | Buffer): string => `sha256:${createHash('sha256').update(data).digest('hex')}`;

export async function blobOf(path: string): Promise<Blob> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return { digest: `sha256:${hash.digest('hex')}`, size: (await stat(path)).size, path };
}

/** Packs a folder as an image layer; the same files give the same layer. */
export async function layerOf(dir: string, tarFile: string): Promise<Blob> {
  await sh('tar', ['-cf', tarFile, '--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '-C', dir, '.']);
  return blobOf(tarFile);
}

const ociArch: Record<string, string> = { x64: 'amd64', arm64: 'arm64' };

/** The config of an image whose layers are not compressed. */
export const configOf = (layers: readonly Blob[], config: { Entrypoint?: string[]; Env?: string[]; User?: string }): string =>
  JSON.stringify({
    architecture: ociArch[process.arch] ?? process.arch, os: 'linux', config,
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.digest) },
  });

/**
 * Writes an OCI image layout that `ctr images import` reads. Layers in `omit` are named but left out: whoever reads it has them.
 * Layers are symbolic links: read the layout with `layoutStream`.
 */
export async function writeLayout(dir: string, images: readonly Image[], omit: ReadonlySet<string> = new Set()): Promise<void> {
  const blobs = join(dir, 'blobs/sha256');
  await mkdir(blobs, { recursive: true });
  const at = (digest: string): string => join(blobs, digest.slice('sha256:'.length));
  const put = async (text: string): Promise<{ digest: string; size: number }> => {
    const digest = sha256(text);
    await writeFile(at(digest), text);
    return { digest, size: Buffer.byteLength(text) };
  };
  const manifests = [];
  for (const image of images) {
    const layers = [];
    for (const layer of image.layers) {
      if (!omit.has(layer.digest)) {
        await symlink(resolve(layer.path), at(layer.digest)).catch((cause: NodeJS.ErrnoException) => {
          if (cause.code !== 'EEXIST') throw cause; // shared with another image
        });
      }
      layers.push({ mediaType: `application/vnd.oci.image.layer.v1.tar${(await isGzip(layer.path)) ? '+gzip' : ''}`, digest: layer.digest, size: layer.size });
    }
    const config = { mediaType: 'application/vnd.oci.image.config.v1+json', ...(await put(image.config)) };
    const manifest = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', config, layers };
    manifests.push({ mediaType: manifest.mediaType, ...(await put(JSON.stringify(manifest))), annotations: { 'io.containerd.image.name': image.ref } });
  }
  await writeFile(join(dir, 'index.json'), JSON.stringify({ schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests }));
  await writeFile(join(dir, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
}

/** The layout as a tar stream. When tar fails the stream ends early, which the reader finds. */
export const layoutStream = (dir: string): Readable =>
  spawn('tar', ['--create', '--dereference', '--directory', dir, '.'], { stdio: ['ignore', 'pipe', 'inherit'] }).stdout;

async function isGzip(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(2), 0, 2, 0);
    return bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b;
  } finally {
    await file.close();
  }
}
