import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { CommandError, sh, StepError, step } from '../step.ts';
import { cacheDir, digest, ensurePath, kindDir } from './cache.ts';
import { docker, ensureDocker, obtainable } from './docker.ts';
import { withLock } from './lock.ts';

const source = join(kindDir, 'tools');

/** What is built from Go modules: file name → package, in `config/kind/tools/go.mod`; with `@version` a module by itself. */
const packages = {
  kind: 'sigs.k8s.io/kind',
  helm: 'helm.sh/helm/v4/cmd/helm',
  kubectl: 'k8s.io/kubernetes/cmd/kubectl',
  kubeadm: 'k8s.io/kubernetes/cmd/kubeadm',
  kubelet: 'k8s.io/kubernetes/cmd/kubelet',
  'kube-apiserver': 'k8s.io/kubernetes/cmd/kube-apiserver',
  'kube-controller-manager': 'k8s.io/kubernetes/cmd/kube-controller-manager',
  'kube-scheduler': 'k8s.io/kubernetes/cmd/kube-scheduler',
  'kube-proxy': 'k8s.io/kubernetes/cmd/kube-proxy',
  etcd: 'go.etcd.io/etcd/server/v3',
  coredns: './coredns',
  pause: './pause',
  // Needs newer CRI types than Kubernetes 1.36 has.
  containerd: 'github.com/containerd/containerd/v2/cmd/containerd@v2.4.2',
  'containerd-shim-runc-v2': 'github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2',
  ctr: 'github.com/containerd/containerd/v2/cmd/ctr',
  'host-local': 'github.com/containernetworking/plugins/plugins/ipam/host-local',
  loopback: 'github.com/containernetworking/plugins/plugins/main/loopback',
  portmap: 'github.com/containernetworking/plugins/plugins/meta/portmap',
  ptp: 'github.com/containernetworking/plugins/plugins/main/ptp',
  'cilium-agent': 'github.com/cilium/cilium/daemon',
  'cilium-dbg': 'github.com/cilium/cilium/cilium-dbg',
  'cilium-cni': 'github.com/cilium/cilium/plugins/cilium-cni',
  'local-path-provisioner': 'github.com/rancher/local-path-provisioner',
  kwok: 'sigs.k8s.io/kwok/cmd/kwok',
  versitygw: 'github.com/versity/versitygw/cmd/versitygw@v1.8.0',
} as const;
export type Tool = keyof typeof packages;

const goMod = readFileSync(join(source, 'go.mod'), 'utf8');
/** The version of Kubernetes that is built here, as `v1.36.3`. */
export const kubernetesVersion = `v1.${/k8s\.io\/api => k8s\.io\/api v0\.(\d+\.\d+)/.exec(goMod)?.[1] ?? ''}`;

const buildEnv = { CGO_ENABLED: '0', GOFLAGS: '-buildvcs=false -trimpath' };
const version = 'k8s.io/component-base/version';
const buildFlags = ['-tags', 'osusergo', '-ldflags',
  `-s -w -X ${version}.gitVersion=${kubernetesVersion} -X ${version}.gitMajor=1 -X ${version}.gitMinor=${kubernetesVersion.split('.')[1]}`];

/** Names everything that is built from these inputs. */
export const toolsKey = digest(goMod, readFileSync(join(source, 'go.sum')), readFileSync(join(source, 'coredns/main.go')),
  readFileSync(join(source, 'pause/main.go')), JSON.stringify([packages, buildFlags, process.platform, process.arch]));
const toolsDir = join(cacheDir(), 'tools', toolsKey);

/** Builds what is missing of these programs and returns the folder that holds them. */
export async function ensureBuilt(tools: readonly Tool[]): Promise<string> {
  const missing = (): Tool[] => tools.filter((tool) => !existsSync(join(toolsDir, tool)));
  if (missing().length === 0) return toolsDir;
  await withLock(`tools-${toolsKey}`, async () => {
    const wanted = missing();
    if (wanted.length === 0) return;
    await requireGo();
    await step(`build ${wanted.length > 4 ? `${wanted.length} programs` : wanted.join(', ')} from Go modules (the first time takes minutes)`, () => build(wanted));
  });
  return toolsDir;
}

async function build(wanted: readonly Tool[]): Promise<void> {
  const partial = join(toolsDir, 'partial'); // under the lock; what an interrupted build left here is built again from Go's cache
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  const go = (args: readonly string[], env: Record<string, string> = {}) =>
    sh('go', args, { cwd: source, env: { ...buildEnv, ...env }, timeout: 3_600_000, nice: true });
  const local = wanted.filter((tool) => !packages[tool].includes('@'));
  // Imports logrus by its former, capitalised path, which Go takes together with the present one in no build.
  const alone: readonly Tool[] = local.filter((tool) => tool === 'local-path-provisioner');
  const together = local.filter((tool) => !alone.includes(tool));
  for (const some of [together, alone]) if (some.length > 0) await go(['build', '-o', `${partial}/`, ...buildFlags, ...some.map((tool) => packages[tool])]);
  for (const tool of wanted.filter((name) => packages[name].includes('@'))) await go(['install', packages[tool]], { GOBIN: partial });
  // A program is named after the last part of its package path, versions aside.
  for (const tool of wanted) {
    const path = packages[tool].replace(/@.*/, '').replace(/\/v\d+$/, '');
    renameSync(join(partial, path.slice(path.lastIndexOf('/') + 1)), join(toolsDir, tool));
  }
  rmSync(partial, { recursive: true });
}

let goChecked = false;
async function requireGo(): Promise<void> {
  if (goChecked) return;
  const needed = /^go (\d+\.\d+(\.\d+)?)$/m.exec(goMod)?.[1] ?? '1.26';
  try {
    const { stdout } = await sh('go', ['env', 'GOVERSION'], { cwd: source, timeout: 120_000 });
    if (!atLeast(stdout.replace(/^go/, ''), needed)) throw new CommandError('go', `is ${stdout.trim()}`, undefined, '');
  } catch (cause) {
    if (!(cause instanceof CommandError)) throw cause;
    throw new StepError('build tools', `Go ${needed} is needed to build what can't be downloaded here (${cause.message.split('\n')[0]})`,
      `install kind 0.33, helm 3.17 and kubectl 1.34 or newer, or Go ${needed} or newer (https://go.dev/dl)`);
  }
  goChecked = true;
}

/** The folder of a Go module's source, from the module cache. */
export async function moduleDir(module: string): Promise<string> {
  await requireGo();
  const { stdout } = await sh('go', ['mod', 'download', '-json', module], { cwd: source, env: buildEnv, timeout: 600_000 })
    .catch(() => sh('go', ['list', '-m', '-json', module], { cwd: source, env: buildEnv, timeout: 600_000 }));
  return (JSON.parse(stdout) as { Dir: string }).Dir;
}

/** Copies a part of a module once into the tools folder, so that later runs need no Go. */
export async function modulePart(module: string, part: string, name: string): Promise<string> {
  const path = join(toolsDir, 'share', name);
  return ensurePath(path, async (partial) => cp(join(await moduleDir(module), part), partial, { recursive: true }));
}

const atLeast = (have: string, want: string): boolean => {
  const [a, b] = [have, want].map((text) => text.trim().split(/[.\-+]/).map((part) => Number.parseInt(part, 10) || 0));
  for (let i = 0; i < 3; i++) {
    const [x, y] = [a?.[i] ?? 0, b?.[i] ?? 0];
    if (x !== y) return x > y;
  }
  return true;
};

const clients = {
  kind: { args: ['version', '-q'], minimum: '0.33.0' },
  helm: { args: ['version', '--short'], minimum: '3.17.0' },
  kubectl: { args: ['version', '--client', '-o', 'json'], minimum: '1.34.0' },
} as const;
export type Clients = { [name in keyof typeof clients]: string };

async function onPath(name: keyof typeof clients): Promise<string | undefined> {
  const { args, minimum } = clients[name];
  for (const dir of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(dir, name);
    if (dir === '' || !existsSync(path)) continue;
    try {
      const { stdout } = await sh(path, args, { timeout: 10_000 });
      const text = name === 'kubectl' ? (JSON.parse(stdout) as { clientVersion: { gitVersion: string } }).clientVersion.gitVersion : stdout;
      const found = /v?(\d+\.\d+\.\d+)/.exec(text)?.[1];
      if (found !== undefined && atLeast(found, minimum)) return path;
    } catch {
      // Not usable: look further, else build.
    }
  }
  return undefined;
}

/** kind, helm and kubectl: those on PATH when recent enough, else built ones. */
export function ensureClients(): Promise<Clients> {
  found ??= (async () => {
    const names = Object.keys(clients) as (keyof typeof clients)[];
    const paths = await Promise.all(names.map((name) => (existsSync(join(toolsDir, name)) ? join(toolsDir, name) : onPath(name))));
    const missing = names.filter((_, i) => paths[i] === undefined);
    if (missing.length > 0) await ensureBuilt(missing);
    return Object.fromEntries(names.map((name, i) => [name, paths[i] ?? join(toolsDir, name)])) as Clients;
  })();
  return found;
}
let found: Promise<Clients> | undefined;

/** An S3 server (a static program) for tests and samples: built, or taken out of its image where there is no Go. */
export async function ensureVersitygw(): Promise<string> {
  const path = join(toolsDir, 'versitygw');
  const image = `versity/versitygw:${packages.versitygw.replace(/.*@/, '')}`;
  if (existsSync(path)) return path;
  const go = await sh('go', ['version'], { timeout: 120_000 }).then(() => true, () => false);
  if (go || process.platform !== 'linux') return join(await ensureBuilt(['versitygw']), 'versitygw');
  await ensureDocker();
  if (!(await obtainable(image))) return join(await ensureBuilt(['versitygw']), 'versitygw');
  return ensurePath(path, async (partial) => {
    const container = await docker(['create', image]);
    await docker(['cp', `${container}:/app/versitygw`, partial]);
    await docker(['rm', container]);
  });
}

/** Simulates nodes and pods by the thousand. */
export const ensureKwok = async (): Promise<string> => join(await ensureBuilt(['kwok']), 'kwok');
