import { chmod, cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sh, step } from '../step.ts';
import { networkBase, nodeBase, runtimeBase } from './bases.ts';
import { digest, fileDigest, kindDir, withFolder } from './cache.ts';
import { baseKey, debianImage, debianTar } from './debian.ts';
import { docker } from './docker.ts';
import { type Blob, blobOf, configOf, type Image, layerOf, layoutStream, writeLayout } from './oci.ts';
import { ensureBuilt, kubernetesVersion, modulePart, type Tool, toolsKey } from './tools.ts';

const etcdVersion = '3.6.8-0';
const corednsVersion = 'v1.14.2';
const pauseVersions = ['3.10.2', '3.10']; // kubeadm's and the sandbox of kind's containerd config
const local = (name: string): string => `millrace.local/${name}:${toolsKey}`;

const inNode: readonly Tool[] = ['kubeadm', 'kubelet', 'kubectl', 'containerd', 'ctr', 'containerd-shim-runc-v2', 'host-local', 'loopback', 'portmap', 'ptp'];
const inImages: readonly Tool[] = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kube-proxy', 'etcd', 'coredns', 'pause',
  'cilium-agent', 'cilium-dbg', 'cilium-cni', 'local-path-provisioner'];

const recipe = ['node.Dockerfile', 'cilium-values.yaml', 'storage.yaml'].map((name) => join(kindDir, name));
/** Named after all that goes into it, this recipe included. */
export const builtImage = `millrace.local/node:${digest(toolsKey, fileDigest(...recipe, import.meta.filename, join(import.meta.dirname, 'oci.ts')), ...[nodeBase, networkBase, runtimeBase].map(baseKey))}`;

/** Builds the image under `builtImage` from Go modules and Debian packages; minutes, of which most are Go's the first time. */
export async function buildNodeImage(): Promise<void> {
  // Debian's packages come over the network while Go compiles.
  const [tools, [base, network, runtime]] = await Promise.all([ensureBuilt(['helm', ...inNode, ...inImages]), bases()]);
  await step('build the node image', () => withFolder('node', async (dir) => {
    const [rootfs] = await Promise.all([buildRootfs(dir, tools, base), stageImages(join(dir, 'images'), tools, await blobOf(network), await blobOf(runtime))]);
    await bake(rootfs, join(dir, 'images'));
    const tags = await docker(['images', '--format', '{{.Repository}}:{{.Tag}}', builtImage.replace(/:.*/, '')]);
    const old = tags.split('\n').filter((tag) => tag !== '' && tag !== builtImage);
    if (old.length > 0) await sh('docker', ['rmi', ...old], { okCodes: [0, 1] }); // those of running clusters stay
  }));
}

/** One after the other: mmdebstrap fills one core, the Go compiler the rest. */
const bases = async (): Promise<[node: string, network: string, runtime: string]> =>
  [await debianImage(nodeBase), await debianTar(networkBase), await debianTar(runtimeBase)];

/** The node without images; returns its docker image id. */
async function buildRootfs(dir: string, tools: string, base: string): Promise<string> {
  const rootfs = join(dir, 'rootfs');
  await cp(await modulePart('sigs.k8s.io/kind', 'images/base/files', 'kind-base'), rootfs, { recursive: true });
  // Module files are read-only and not executable.
  for (const entry of await readdir(rootfs, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    await chmod(path, entry.isDirectory() || /\/bin\//.test(path) ? 0o755 : 0o644);
  }
  await edit(join(rootfs, 'etc/containerd/config.toml'), (text) => text.replace('restrict_oom_score_adj = false', 'restrict_oom_score_adj = true'));
  await edit(join(rootfs, 'etc/systemd/system/containerd.service'), (text) => text.replace(/^OOMScoreAdjust=.*\n/m, ''));
  await rm(join(rootfs, 'etc/systemd/system/containerd-fuse-overlayfs.service'));
  // kind's own file sets strict reverse path filtering, which drops what Cilium routes.
  await rm(join(rootfs, 'etc/sysctl.d/10-network-security.conf'));
  await writeFile(join(rootfs, 'etc/sysctl.d/99-zzz-cilium.conf'), 'net.ipv4.conf.all.rp_filter=0\nnet.ipv4.conf.default.rp_filter=0\n');

  for (const tool of inNode) {
    const folder = tool.startsWith('kube') ? 'usr/bin' : /^(containerd|ctr)/.test(tool) ? 'usr/local/bin' : 'opt/cni/bin';
    await copyProgram(join(tools, tool), join(rootfs, folder, tool));
  }
  await mkdir(join(rootfs, 'kind/manifests'), { recursive: true });
  await writeFile(join(rootfs, 'kind/version'), kubernetesVersion);
  await writeFile(join(rootfs, 'kind/manifests/default-cni.yaml'), await ciliumManifest(tools));
  await writeFile(join(rootfs, 'kind/manifests/default-storage.yaml'), (await readFile(join(kindDir, 'storage.yaml'), 'utf8'))
    .replaceAll('PROVISIONER_IMAGE', local('local-path-provisioner')).replaceAll('HELPER_IMAGE', local('network-base')));

  await cp(join(kindDir, 'node.Dockerfile'), join(dir, 'Dockerfile'));
  await writeFile(join(dir, '.dockerignore'), 'images\n');
  const id = await docker(['build', '--quiet', '--build-arg', `BASE_IMAGE=${base}`, dir]);
  return id.split('\n').at(-1) ?? id;
}

/** kind applies this as the default network when it makes a cluster. */
async function ciliumManifest(tools: string): Promise<string> {
  const chart = await modulePart('github.com/cilium/cilium', 'install/kubernetes/cilium', 'cilium-chart');
  const crds = await modulePart('github.com/cilium/cilium', 'pkg/k8s/apis/cilium.io/client/crds', 'cilium-crds');
  const values = (await readFile(join(kindDir, 'cilium-values.yaml'), 'utf8')).replace('IMAGE', JSON.stringify(local('cilium')));
  const { stdout } = await sh(join(tools, 'helm'), ['template', 'cilium', chart, '--namespace', 'kube-system', '--kube-version', kubernetesVersion, '-f', '-'], { input: values });
  const files = (await readdir(crds, { recursive: true })).filter((name) => name.endsWith('.yaml')).sort();
  return [...(await Promise.all(files.map((name) => readFile(join(crds, name), 'utf8')))), stdout].join('\n---\n');
}

/** Everything that the cluster's own pods run from, as one OCI layout; layers that images share are in it once. */
async function stageImages(dir: string, tools: string, network: Blob, runtime: Blob): Promise<void> {
  const work = join(dir, '../layers');
  await mkdir(work, { recursive: true });
  let count = 0;
  const layer = async (fill: (root: string) => Promise<void>): Promise<Blob> => {
    const root = join(work, String(count++));
    await mkdir(root);
    await fill(root);
    return layerOf(root, `${root}.tar`);
  };
  const program = (tool: Tool, path = tool as string): Promise<Blob> => layer((root) => copyProgram(join(tools, tool), join(root, path)));
  const image = (ref: string, layers: readonly Blob[], entrypoint: string[] = []): Image =>
    ({ ref, layers, config: configOf(layers, { Entrypoint: entrypoint, Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'] }) });

  const images: Image[] = [];
  for (const name of ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler'] as const) {
    images.push(image(`registry.k8s.io/${name}:${kubernetesVersion}`, [await program(name, `usr/local/bin/${name}`)]));
  }
  images.push(image(`registry.k8s.io/kube-proxy:${kubernetesVersion}`, [network, await program('kube-proxy', 'usr/local/bin/kube-proxy')]));
  images.push(image(`registry.k8s.io/etcd:${etcdVersion}`, [await program('etcd', 'usr/local/bin/etcd')]));
  images.push(image(`registry.k8s.io/coredns/coredns:${corednsVersion}`, [await program('coredns')], ['/coredns']));
  const pause = await program('pause');
  for (const version of pauseVersions) images.push(image(`registry.k8s.io/pause:${version}`, [pause], ['/pause']));
  images.push(image(local('local-path-provisioner'), [await program('local-path-provisioner')], ['/local-path-provisioner']));
  images.push(image(local('network-base'), [network]));
  // Not run by any pod: with its layer in the node, our own images are small to load.
  images.push(image(local('runtime-base'), [runtime]));
  const [bpf, scripts, plugin] = await Promise.all([modulePart('github.com/cilium/cilium', 'bpf', 'cilium-bpf'),
    modulePart('github.com/cilium/cilium', 'images/cilium', 'cilium-image'), modulePart('github.com/cilium/cilium', 'plugins/cilium-cni', 'cilium-cni')]);
  images.push(image(local('cilium'), [network, await layer(async (root) => {
    await copyProgram(join(tools, 'cilium-agent'), join(root, 'usr/bin/cilium-agent'));
    await copyProgram(join(tools, 'cilium-dbg'), join(root, 'usr/bin/cilium-dbg'));
    await copyProgram(join(tools, 'cilium-cni'), join(root, 'opt/cni/bin/cilium-cni'));
    await copyProgram(join(tools, 'loopback'), join(root, 'cni/loopback'));
    await copyProgram(join(scripts, 'init-container.sh'), join(root, 'init-container.sh'));
    for (const name of ['install-plugin.sh', 'cni-uninstall.sh']) await copyProgram(join(plugin, name), join(root, name));
    await cp(bpf, join(root, 'var/lib/cilium/bpf'), { recursive: true, filter: (path) => !/\/bpf\/(tests|complexity-tests|test-progs)(\/|$)/.test(`/bpf/${path.slice(bpf.length + 1)}`) });
    await sh('chmod', ['-R', 'u=rwX,go=rX', join(root, 'var')]);
  })]));
  await writeLayout(dir, images);
}

/** Unpacks the images inside the node and commits it. Only the finished image gets the tag. */
async function bake(rootfs: string, images: string): Promise<void> {
  const container = 'millrace-node-build';
  await docker(['rm', '--force', '--volumes', container]).catch(() => ''); // of an interrupted run
  await docker(['run', '--detach', '--privileged', '--name', container, '--entrypoint', 'sleep', rootfs, 'infinity']);
  try {
    // Unpacked layers are all that running needs: without the packed ones each node is half as big. This is what kind's containerd does to pulled images too.
    await docker(['exec', '--interactive', container, 'bash', '-ec', `
      containerd > /tmp/containerd.log 2>&1 < /dev/null & pid=$!
      for i in $(seq 100); do ctr version > /dev/null 2>&1 && break; sleep 0.2; done
      ctr -n k8s.io images import --label io.cri-containerd.pinned=pinned --all-platforms --local -
      ctr -n k8s.io content ls | awk '$2 ~ /[MG]B$/ {print $1}' | xargs -r ctr -n k8s.io content rm
      kill $pid; wait $pid || true
      find /var/lib/containerd/io.containerd.content.v1.content/blobs -size +999k -delete # what was removed above and not collected yet
      rm -rf /tmp/* /run/containerd`], { input: layoutStream(images) });
    await docker(['commit', '--change', 'ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]', '--change', 'CMD []', container, builtImage], { timeout: 900_000 });
  } finally {
    await docker(['rm', '--force', '--volumes', container]);
  }
}

async function copyProgram(from: string, to: string): Promise<void> {
  await mkdir(join(to, '..'), { recursive: true });
  await cp(from, to);
  await chmod(to, 0o755);
}

async function edit(path: string, change: (text: string) => string): Promise<void> {
  await writeFile(path, change(await readFile(path, 'utf8')));
}
