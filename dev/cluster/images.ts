import { chmodSync, cpSync, createReadStream, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { sh, StepError, step } from '../step.ts';
import { fetchBase, runtimeBase } from './bases.ts';
import { cacheDir, digest, ensurePath, repoDir, withFolder } from './cache.ts';
import { folderFiles, packageFolders, programFiles } from './closure.ts';
import { debianImage } from './debian.ts';
import { docker, ensureDocker, imageId, obtainable } from './docker.ts';
import type { Cluster } from './kind.ts';
import { loadImages } from './load.ts';
import { withLock } from './lock.ts';

export type Images = { operator: string; worker: string };

type Program = { name: 'operator' | 'inference-pod'; entry: string; folders: readonly string[] };
const operator: Program = { name: 'operator', entry: 'operator/main.ts', folders: ['crds'] };
const worker: Program = { name: 'inference-pod', entry: 'inference-pod/main.ts', folders: ['inference-pod/cuda'] };

const stockBase = 'node:24-bookworm-slim';
/** Used by onnxruntime-node's install script alone, which does not run here. */
const installOnly = new Set(['adm-zip', 'global-agent']);

/**
 * Builds the images of both programs from the sources as they are now, and loads them into the cluster.
 * Tags are digests of the content: an unchanged program keeps its image.
 * @throws StepError
 */
export async function ensureImages(cluster: Cluster): Promise<Images> {
  const images = await buildImages();
  await loadImages(cluster, [images.operator, images.worker]);
  return images;
}

/** The same without a cluster. `root` is the repository. */
export async function buildImages(root = repoDir): Promise<Images> {
  await ensureDocker();
  const base = await baseImage();
  const arch = (await docker(['version', '--format', '{{.Server.Arch}}'])) === 'arm64' ? 'arm64' : 'x64';
  const [one, two] = await Promise.all([buildProgram(root, operator, base, arch), buildProgram(root, worker, base, arch)]);
  return { operator: one, worker: two };
}

/** The worker's image with the CUDA libraries, 2.5 GB more; see docs/gpu.md. */
export async function buildCudaImage(root = repoDir): Promise<string> {
  await ensureDocker();
  const base = await baseImage();
  const fetch = base === stockBase ? base : await withLock('fetch-base', () => debianImage(fetchBase));
  return await buildProgram(root, worker, base, 'x64', { name: 'inference-pod-cuda', args: { ACCELERATOR: 'cuda', FETCH_IMAGE: fetch } });
}

/** The image that both programs stand on: Node's own where it can be pulled, else Debian with this repository's Node. */
async function baseImage(): Promise<string> {
  if (await obtainable(stockBase)) return stockBase;
  return withLock('runtime-base', () => debianImage(runtimeBase));
}

/** An image of another name, by arguments of the same Dockerfile. */
interface Variant {
  name: string;
  args: Record<string, string>;
}

async function buildProgram(root: string, program: Program, base: string, arch: 'x64' | 'arm64', { name, args }: Variant = { name: program.name, args: {} }): Promise<string> {
  if (!existsSync(join(root, program.entry))) throw new StepError(`build the ${program.name} image`, `${program.entry} is missing`, 'check out the whole repository');
  const found = programFiles(root, [program.entry]);
  const sources = [...new Set([...found.files, ...program.folders.flatMap((folder) => folderFiles(root, folder).filter((path) => !path.endsWith('.ts'))), 'package.json'])].sort();
  const folders = packageFolders(root, found.packages, installOnly);
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as { packages: Record<string, unknown> };
  const dockerfile = join(repoDir, program.name, 'Dockerfile');

  const key = digest(readFileSync(dockerfile), (await imageId(base)) ?? base, arch, ...Object.values(args), JSON.stringify(folders.map((folder) => [folder, lock.packages[folder]])),
    ...sources.flatMap((path) => [path, readFileSync(join(root, path))]));
  const ref = `millrace.local/${name}:${key}`;
  if ((await imageId(ref)) !== undefined) return ref;

  await step(`build the ${name} image`, async () => {
    const packages = await packagesTar(root, folders, arch);
    await withFolder(program.name, async (dir) => {
      const stage = join(dir, 'context');
      for (const path of sources) {
        mkdirSync(dirname(join(stage, path)), { recursive: true });
        cpSync(join(root, path), join(stage, path));
      }
      cpSync(dockerfile, join(stage, 'Dockerfile'));
      // Each program has only part of these folders, and the Dockerfile copies all.
      for (const folder of ['crds', 'config', 'kit', 'operator', 'inference-pod']) mkdirSync(join(stage, folder), { recursive: true });
      const context = join(dir, 'context.tar');
      cpSync(packages, context);
      await sh('chmod', ['-R', 'u=rwX,go=rX', stage]);
      await sh('tar', ['--append', '--file', context, ...tarFlags, '-C', stage, '.']);
      const given = Object.entries({ BASE_IMAGE: base, ...args }).flatMap(([arg, value]) => ['--build-arg', `${arg}=${value}`]);
      // The network of this machine, which may reach what a container's own does not.
      const network = Object.keys(args).length > 0 ? ['--network', 'host'] : [];
      await docker(['build', '--quiet', '--tag', ref, ...network, ...given, '-'], { input: createReadStream(context), timeout: 3_600_000 });
    });
    await removeOld(name);
  });
  return ref;
}

/** Every change of a source makes an image: only the newest few stay. */
async function removeOld(name: string): Promise<void> {
  const tags = await docker(['images', '--format', '{{.Repository}}:{{.Tag}}', `millrace.local/${name}`]); // newest first
  const old = tags.split('\n').filter(Boolean).slice(5);
  if (old.length > 0) await sh('docker', ['rmi', ...old], { okCodes: [0, 1] });
}

const tarFlags = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner'];

/** The program's packages as a tar file, kept as long as package-lock.json names the same ones: most builds change sources only. */
async function packagesTar(root: string, folders: readonly string[], arch: 'x64' | 'arm64'): Promise<string> {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as { packages: Record<string, unknown> };
  const key = digest(arch, readFileSync(import.meta.filename), JSON.stringify(folders.map((folder) => [folder, lock.packages[folder]])));
  const path = join(cacheDir(), 'packages', `${key}.tar`);
  return ensurePath(path, (partial) => withFolder('packages', async (stage) => {
    mkdirSync(join(stage, 'node_modules'));
    for (const folder of folders) copyPackage(root, folder, stage, arch);
    await sh('chmod', ['-R', 'u=rwX,go=rX', stage]);
    await sh('tar', ['-cf', partial, ...tarFlags, '-C', stage, './node_modules']);
  }));
}

/** Copies one package without what no program loads: types, source maps, documentation, other platforms' libraries. */
function copyPackage(root: string, folder: string, context: string, arch: 'x64' | 'arm64'): void {
  const source = join(root, folder);
  cpSync(source, join(context, folder), {
    recursive: true,
    filter: (path) => {
      const inner = path.slice(source.length + 1);
      if (inner === 'node_modules' || inner.startsWith('node_modules/')) return false;
      if (folder === 'node_modules/onnxruntime-node') {
        const [, , platform, cpu] = inner.split('/');
        if (inner.startsWith('bin/') && ((platform !== undefined && platform !== 'linux') || (cpu !== undefined && cpu !== arch))) return false;
        if (inner.startsWith('script')) return false;
      }
      return statSync(path).isDirectory() || !/(\.d\.[cm]?ts|\.map|\.md|\.markdown)$/i.test(path);
    },
  });
}

/**
 * Makes an image that holds only files: for an image volume, or a static program.
 * @param files path in the image → content, or `{from}` a file on this machine
 */
export async function buildModelImage(tag: string, files: Record<string, string | Buffer | { from: string }>): Promise<string> {
  await ensureDocker();
  return withFolder('model', async (context) => {
    for (const [path, content] of Object.entries(files)) {
      const target = join(context, 'files', path);
      mkdirSync(dirname(target), { recursive: true });
      if (typeof content === 'object' && 'from' in content) cpSync(content.from, target);
      else writeFileSync(target, content);
      // Readable for any user, and still a program if it was one.
      chmodSync(target, 0o644 | (statSync(target).mode & 0o111));
    }
    // The same files give the same image: Docker's build cache looks at times too.
    await sh('find', [context, '-exec', 'touch', '-h', '-d', '@0', '{}', '+']);
    writeFileSync(join(context, 'Dockerfile'), 'FROM scratch\nCOPY files/ /\n');
    await docker(['build', '--quiet', '--tag', tag, context]);
    return tag;
  });
}
