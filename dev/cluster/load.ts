import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CommandError, sh, StepError, step } from '../step.ts';
import { withFolder } from './cache.ts';
import { docker, imageId } from './docker.ts';
import type { Cluster } from './kind.ts';
import { type Blob, type Image, layoutStream, sha256, writeLayout } from './oci.ts';

/** On each loaded image, the Docker image it came from: a tag alone does not tell whether the content is the same. */
const idLabel = 'millrace.dev/docker-image';

const ctr = (node: string, args: readonly string[]): string[] => ['exec', '--interactive', '--privileged', node, 'ctr', '--namespace', 'k8s.io', ...args];

/** The name under which a node knows an image: Docker Hub's short names are written out. */
export function fullName(ref: string): string {
  const tagged = /(:[^/]+|@[^/]+)$/.test(ref) ? ref : `${ref}:latest`;
  const first = tagged.split('/')[0] ?? '';
  if (tagged.includes('/') && (/[.:]/.test(first) || first === 'localhost')) return tagged;
  return tagged.includes('/') ? `docker.io/${tagged}` : `docker.io/library/${tagged}`;
}

/** What a node holds: image name → id label, and the chain ids of the unpacked layers, which need not be sent again. */
async function inventory(node: string): Promise<{ images: Map<string, string>; chains: Set<string> }> {
  const [images, snapshots] = await Promise.all([docker(ctr(node, ['images', 'ls']), { timeout: 30_000 }), docker(ctr(node, ['snapshots', 'ls']), { timeout: 30_000 })]);
  const ids = images.split('\n').slice(1).map((line): [string, string] =>
    [line.split(/\s+/, 1)[0] ?? '', new RegExp(`${idLabel}=(sha256:[0-9a-f]+)`).exec(line)?.[1] ?? '']);
  return { images: new Map(ids), chains: new Set(snapshots.split('\n').map((line) => line.split(/\s+/, 1)[0] ?? '')) };
}

const diffIds = (config: string): string[] => (JSON.parse(config) as { rootfs: { diff_ids: string[] } }).rootfs.diff_ids;

/** The chain id of each layer: what containerd calls the layer on top of all those below it. */
export function chainIds(config: string): string[] {
  const chains: string[] = [];
  for (const id of diffIds(config)) chains.push(chains.length === 0 ? id : sha256(`${chains.at(-1)} ${id}`));
  return chains;
}

/**
 * Brings local Docker images into all nodes of the cluster, side by side. A node that has an image is left alone,
 * and only the layers that a node lacks are sent to it.
 * @throws StepError when an image is not in Docker
 */
export async function loadImages(cluster: Cluster, refs: readonly string[]): Promise<void> {
  const ids = new Map<string, string>();
  await Promise.all(refs.map(async (ref) => {
    const id = await imageId(ref);
    if (id === undefined) throw new StepError(`load ${ref}`, 'there is no such image in Docker', `build or pull ${ref} first`);
    ids.set(ref, id);
  }));
  const nodes = await Promise.all(cluster.nodes.map(async (node) => {
    const has = await inventory(node);
    return { node, chains: has.chains, missing: refs.filter((ref) => has.images.get(fullName(ref)) !== ids.get(ref)) };
  }));
  const missing = refs.filter((ref) => nodes.some((node) => node.missing.includes(ref)));
  if (missing.length === 0) return;
  await step(`load ${missing.length === 1 ? missing[0] : `${missing.length} images`} into the nodes`, async () => {
    await withFolder('load', async (dir) => {
      const images = await savedImages(dir, missing);
      await Promise.all(nodes.map(async ({ node, chains, missing: wanted }) => {
        for (const ref of wanted) {
          const image = images.get(ref);
          const id = ids.get(ref);
          if (image === undefined || id === undefined) throw new StepError(`load ${ref}`, 'docker save did not give this image', 'build it again');
          await send(dir, node, image, id, chains);
          for (const chain of chainIds(image.config)) chains.add(chain);
        }
      }));
    });
  });
}

/** What `docker save` gives, of any Docker version: layers and config found through manifest.json. */
async function savedImages(dir: string, refs: readonly string[]): Promise<Map<string, Image>> {
  const files = join(dir, 'save');
  await mkdir(files);
  const save = spawn('docker', ['save', ...refs], { stdio: ['ignore', 'pipe', 'inherit'] });
  await sh('tar', ['-xf', '-', '-C', files], { input: save.stdout });
  const manifest = JSON.parse(await readFile(join(files, 'manifest.json'), 'utf8')) as { Config: string; Layers: string[]; RepoTags: string[] | null }[];
  const result = new Map<string, Image>();
  for (const entry of manifest) {
    const config = await readFile(join(files, entry.Config), 'utf8');
    const ids = diffIds(config);
    const layers = await Promise.all(entry.Layers.map(async (name, i): Promise<Blob> => {
      const path = join(files, name);
      // A layer lies either under its digest, or not compressed, which makes its digest the one in the config.
      const digest = /blobs\/sha256\/([0-9a-f]{64})$/.exec(name)?.[1];
      return { digest: digest === undefined ? (ids[i] ?? '') : `sha256:${digest}`, size: (await stat(path)).size, path };
    }));
    for (const ref of refs) if (entry.RepoTags?.some((tag) => fullName(tag) === fullName(ref))) result.set(ref, { ref: fullName(ref), layers, config });
  }
  return result;
}

async function send(dir: string, node: string, image: Image, id: string, chains: ReadonlySet<string>): Promise<void> {
  const has = new Set(chainIds(image.config).flatMap((chain, i) => (chains.has(chain) ? [image.layers[i]?.digest ?? ''] : [])));
  const transfer = async (omit: ReadonlySet<string>): Promise<void> => {
    const layout = await mkdtemp(join(dir, 'layout-'));
    await writeLayout(layout, [image], omit);
    await sh('docker', ctr(node, ['images', 'import', '--label', `${idLabel}=${id}`, '--all-platforms', '--local', '-']), { input: layoutStream(layout), timeout: 300_000 });
  };
  try {
    await transfer(has);
  } catch (cause) {
    // The node may have dropped a layer since it was asked.
    if (!(cause instanceof CommandError) || has.size === 0) throw cause;
    await transfer(new Set());
  }
}
