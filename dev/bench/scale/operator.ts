import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cacheDir, repoDir } from '../../cluster/cache.ts';
import { type ControlPlane, freePorts, NAMESPACE, ownAddress } from './control-plane.ts';
import { Scrape } from './metrics.ts';

interface Replica {
  name: string;
  child: ChildProcess;
  metricsPort: number;
}

/** A kubelet's first back-off. */
const RESTART_MS = 1_000;

export interface Usage {
  replica: string;
  /** Most resident memory seen. */
  rssMiB: number;
  /** On average. */
  cores: number;
}

/** Memory as the chart limits it in a pod: Node.js sizes its heap by it. */
const CONTAINER_MIB = 512;

/** Two replicas of the operator, as in the chart: the same program, configuration and rights, as processes. */
export class Operator {
  readonly syncPort: number;
  readonly address = ownAddress();
  readonly #plane: ControlPlane;
  readonly #kubeconfig: string;
  readonly #profile: string | undefined;
  #replicas: Replica[] = [];
  #started = 0;
  /** How often a replica ended by itself, as one does that cannot renew its Lease. */
  restarts = 0;
  #usage = new Map<string, { rss: number; cpu: number; at: number; cpuNow: number; atNow: number }>();
  readonly #sampling: NodeJS.Timeout;

  private constructor(plane: ControlPlane, kubeconfig: string, syncPort: number, profile: string | undefined) {
    this.#plane = plane;
    this.#kubeconfig = kubeconfig;
    this.syncPort = syncPort;
    this.#profile = profile;
    process.once('exit', () => this.#kill());
    this.#sampling = setInterval(() => this.#sample(), 1_000);
  }

  /** @param profile a folder for CPU profiles of the replicas that end in order */
  static async start(plane: ControlPlane, profile?: string): Promise<Operator> {
    const token = (await plane.ask(['create', 'token', 'millrace', '--namespace', NAMESPACE, '--duration=24h'])).trim();
    const [syncPort = 0] = await freePorts(1);
    const operator = new Operator(plane, plane.writeKubeconfig('operator.kubeconfig', token), syncPort, profile);
    await operator.#startBoth();
    return operator;
  }

  /** Both at once, as in a power cut, and new ones in their place. */
  async restart(): Promise<void> {
    this.#kill();
    await this.#startBoth();
  }

  /** The replica that leads, and what it says; waits until there is one. */
  async leader(signal: AbortSignal): Promise<{ replica: string; scrape: Scrape }> {
    for (;;) {
      signal.throwIfAborted();
      for (const { name, metricsPort } of this.#replicas) {
        const scrape = await fetch(`http://127.0.0.1:${metricsPort}/metrics`, { signal: AbortSignal.timeout(20_000) }).then(async (answer) => Scrape.parse(await answer.text()), () => undefined);
        if (scrape?.sum('leader_election_master_status') === 1) return { replica: name, scrape };
      }
      await sleep(200, undefined, { signal });
    }
  }

  /** Begins to count memory and CPU anew. */
  resetUsage(): void {
    this.#usage = new Map();
    this.#sample();
  }

  usage(): Usage[] {
    this.#sample();
    return [...this.#usage].map(([replica, { rss, cpu, at, cpuNow, atNow }]) => ({ replica, rssMiB: rss / 2 ** 20, cores: (cpuNow - cpu) / ((atNow - at) / 1_000) }));
  }

  async close(): Promise<void> {
    clearInterval(this.#sampling);
    // In order, so that profiles are written.
    if (this.#profile !== undefined) {
      const ending = this.#replicas;
      this.#replicas = [];
      const gone = ending.map(({ child }) => new Promise((resolve) => child.once('exit', resolve)));
      for (const { child } of ending) child.kill('SIGTERM');
      await Promise.race([Promise.all(gone), sleep(40_000)]);
    }
    this.#kill();
  }

  #kill(): void {
    const ending = this.#replicas;
    this.#replicas = [];
    for (const { child } of ending) child.kill('SIGKILL');
  }

  async #startBoth(): Promise<void> {
    for (const which of ['a', 'b']) await this.#startOne(`operator-${which}`);
  }

  async #startOne(which: string): Promise<void> {
    const [healthPort = 0, metricsPort = 0] = await freePorts(2);
    this.#started += 1;
    const name = `${which}-${this.#started}`;
    const config = join(this.#plane.folder, `${name}.yaml`);
    writeFileSync(config, JSON.stringify({ workerImage: 'millrace.local/inference-pod:bench', healthPort, metricsPort, syncPort: this.syncPort }));
    const log = openSync(logOf(name), 'w');
    const profile = this.#profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${this.#profile}`];
    const child = spawn(process.execPath, [`--max-old-space-size=${CONTAINER_MIB / 2}`, ...profile, join(repoDir, 'operator/main.ts'), '--config', config], {
      env: { ...process.env, KUBECONFIG: this.#kubeconfig, POD_NAMESPACE: NAMESPACE, POD_NAME: name, POD_IP: this.address },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    const replica = { name, child, metricsPort };
    this.#replicas.push(replica);
    child.once('exit', () => {
      // Not killed by us.
      if (!this.#replicas.includes(replica)) return;
      this.restarts += 1;
      this.#replicas = this.#replicas.filter((other) => other !== replica);
      setTimeout(() => void this.#startOne(which), RESTART_MS);
    });
  }

  /** From /proc: pages of 4 KiB, ticks of a hundredth of a second. */
  #sample(): void {
    for (const { name, child } of this.#replicas) {
      try {
        const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ').map(Number);
        const [cpu, rss, at] = [((fields[11] ?? 0) + (fields[12] ?? 0)) / 100, (fields[21] ?? 0) * 4096, performance.now()];
        const before = this.#usage.get(name);
        this.#usage.set(name, { rss: Math.max(rss, before?.rss ?? 0), cpu: before?.cpu ?? cpu, at: before?.at ?? at, cpuNow: cpu, atNow: at });
      } catch {
        // It has ended.
      }
    }
  }
}

const logOf = (name: string): string => join(cacheDir(), 'log', `scale-${name}.log`);
