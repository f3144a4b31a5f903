import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cacheDir, repoDir } from '../../cluster/cache.ts';
import { ensureBuilt, ensureClients, modulePart } from '../../cluster/tools.ts';
import { sh, step } from '../../step.ts';

export const NAMESPACE = 'millrace-system';

const STAGES = ['node/fast/node-initialize.yaml', 'node/heartbeat-with-lease/node-heartbeat-with-lease.yaml', 'pod/fast/pod-ready.yaml', 'pod/fast/pod-delete.yaml'];

/** Ports that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(server));
  })));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** An address of this machine that an EndpointSlice may hold: not a loopback one. */
export function ownAddress(): string {
  const found = Object.values(networkInterfaces()).flat().find((one) => one?.family === 'IPv4' && !one.internal);
  if (!found) throw new Error('this machine has no IPv4 address but the loopback one; connect it to a network');
  return found.address;
}

/**
 * A Kubernetes control plane of our own, as plain processes: etcd, API server, controller manager, scheduler, and kwok for the
 * kubelets. Nobody else uses it, and it leaves nothing behind.
 */
export class ControlPlane {
  readonly folder: string;
  readonly kubeconfig: string;
  readonly kubectl: string;
  readonly #helm: string;
  readonly #server: string;
  readonly #children: ChildProcess[] = [];

  private constructor(folder: string, server: string, clients: { kubectl: string; helm: string }) {
    this.folder = folder;
    this.#server = server;
    this.kubectl = clients.kubectl;
    this.#helm = clients.helm;
    this.kubeconfig = join(folder, 'admin.kubeconfig');
  }

  static async start(signal: AbortSignal): Promise<ControlPlane> {
    const tools = await ensureBuilt(['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kwok']);
    const stages = await modulePart('sigs.k8s.io/kwok', 'kustomize/stage', 'kwok-stages');
    const clients = await ensureClients();
    return step('start a control plane', async () => {
      const [etcd = 0, peer = 0, api = 0, manager = 0, scheduler = 0] = await freePorts(5);
      const folder = mkdtempSync(join(tmpdir(), 'millrace-scale-'));
      const plane = new ControlPlane(folder, `https://127.0.0.1:${api}`, clients);
      process.once('exit', () => plane.#end());
      const path = (name: string): string => join(folder, name);
      const token = randomBytes(16).toString('hex');
      const keys = generateKeyPairSync('rsa', { modulusLength: 2048, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } });
      writeFileSync(path('sa.key'), keys.privateKey, { mode: 0o600 });
      writeFileSync(path('sa.pub'), keys.publicKey);
      writeFileSync(path('tokens.csv'), `${token},admin,admin,system:masters\n`, { mode: 0o600 });
      plane.writeKubeconfig('admin.kubeconfig', token);
      const as = `--kubeconfig=${plane.kubeconfig}`;

      plane.#run(join(tools, 'etcd'), [`--data-dir=${path('etcd')}`, `--listen-client-urls=http://127.0.0.1:${etcd}`, `--advertise-client-urls=http://127.0.0.1:${etcd}`,
        `--listen-peer-urls=http://127.0.0.1:${peer}`, '--quota-backend-bytes=4294967296']);
      plane.#run(join(tools, 'kube-apiserver'), [`--etcd-servers=http://127.0.0.1:${etcd}`, `--cert-dir=${path('apiserver')}`, `--secure-port=${api}`, '--bind-address=127.0.0.1', '--service-cluster-ip-range=10.96.0.0/16',
        '--service-account-issuer=https://kubernetes.default.svc', `--service-account-key-file=${path('sa.pub')}`, `--service-account-signing-key-file=${path('sa.key')}`,
        `--token-auth-file=${path('tokens.csv')}`, '--authorization-mode=Node,RBAC', '--allow-privileged=true']);
      await plane.#ready(signal);
      plane.#run(join(tools, 'kube-controller-manager'), [as, `--service-account-private-key-file=${path('sa.key')}`, '--leader-elect=false', `--secure-port=${manager}`, '--bind-address=127.0.0.1', `--cert-dir=${path('manager')}`]);
      plane.#run(join(tools, 'kube-scheduler'), [as, '--leader-elect=false', `--secure-port=${scheduler}`, '--bind-address=127.0.0.1', `--cert-dir=${path('scheduler')}`]);
      // Leases are renewed every 30 s: those of a thousand nodes are a load of their own.
      plane.#run(join(tools, 'kwok'), [as, '--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake', '--node-lease-duration-seconds=120', ...STAGES.flatMap((stage) => ['--config', join(stages, stage)])]);
      return plane;
    });
  }

  writeKubeconfig(name: string, token: string): string {
    const file = join(this.folder, name);
    const config = {
      apiVersion: 'v1', kind: 'Config', 'current-context': 'scale',
      clusters: [{ name: 'scale', cluster: { server: this.#server, 'insecure-skip-tls-verify': true } }],
      users: [{ name: 'scale', user: { token } }],
      contexts: [{ name: 'scale', context: { cluster: 'scale', user: 'scale' } }],
    };
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    return file;
  }

  async ask(args: readonly string[], input?: string | object): Promise<string> {
    const text = typeof input === 'object' ? JSON.stringify(input) : input;
    return (await sh(this.kubectl, ['--kubeconfig', this.kubeconfig, ...args], { quiet: true, timeout: 900_000, ...(text === undefined ? {} : { input: text }) })).stdout;
  }

  /** What the chart installs, but for the pods: the operator runs beside the control plane, with the rights that it has in a cluster. */
  async installChart(): Promise<void> {
    await step('install what the chart holds beside the Deployment', async () => {
      await this.ask(['create', 'namespace', NAMESPACE]);
      const { stdout } = await sh(this.#helm, ['template', 'millrace', join(repoDir, 'charts/millrace'), '--namespace', NAMESPACE], { quiet: true });
      const manifests = stdout.split(/^---$/m).filter((text) => !/^kind: (Deployment|PodDisruptionBudget|Service|NetworkPolicy)$/m.test(text));
      const isCrd = (text: string): boolean => /^kind: CustomResourceDefinition$/m.test(text);
      await this.ask(['apply', '--server-side', '--filename=-'], manifests.filter(isCrd).join('\n---\n'));
      await this.ask(['wait', '--for=condition=Established', 'crd', '--all', '--timeout=60s']);
      await this.ask(['apply', '--server-side', '--filename=-'], manifests.filter((text) => !isCrd(text)).join('\n---\n'));
    });
  }

  /** Kills all of it and removes what it wrote. */
  async close(): Promise<void> {
    const gone = this.#children.map((child) => (child.exitCode === null && child.signalCode === null ? new Promise((resolve) => child.once('exit', resolve)) : undefined));
    this.#end();
    await Promise.race([Promise.all(gone), sleep(10_000)]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  #end(): void {
    for (const child of this.#children) child.kill('SIGKILL');
  }

  #run(program: string, args: readonly string[]): void {
    const folder = join(cacheDir(), 'log');
    mkdirSync(folder, { recursive: true });
    const log = openSync(join(folder, `scale-${program.slice(program.lastIndexOf('/') + 1)}.log`), 'w');
    this.#children.push(spawn(program, args, { cwd: this.folder, stdio: ['ignore', log, log] }));
    closeSync(log);
  }

  async #ready(signal: AbortSignal): Promise<void> {
    for (let tries = 0; ; tries++) {
      const { code } = await sh(this.kubectl, ['--kubeconfig', this.kubeconfig, 'get', '--raw', '/readyz'], { okCodes: [0, 1], timeout: 20_000, signal });
      if (code === 0) return;
      if (tries > 120) throw new Error(`the API server does not get ready; read ${join(cacheDir(), 'log', 'scale-kube-apiserver.log')}`);
      await sleep(1_000, undefined, { signal });
    }
  }
}
