import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Cluster, kubectl } from '../../cluster/index.ts';
import { releaseNamespace } from '../../install.ts';
import { Scrape } from './metrics.ts';

export interface Usage {
  rssMiB: number;
  cpuSeconds: number;
}

interface Summary {
  pods: { podRef: { name: string; namespace: string }; containers?: { memory?: { rssBytes?: number }; cpu?: { usageCoreNanoSeconds?: number } }[] }[];
}

const OPERATOR = 'app.kubernetes.io/component=operator';

/** The operator's pods, looked at from outside: metrics through a forwarded port of each, memory and CPU as the kubelets count them. */
export class Operator {
  readonly #cluster: Cluster;
  readonly #forwards = new Map<string, { child: ChildProcess; port: Promise<number> }>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  async pods(): Promise<string[]> {
    const text = await kubectl(this.#cluster, ['get', 'pods', '--namespace', releaseNamespace, '--selector', OPERATOR, '--output=jsonpath={range .items[*]}{.metadata.name} {.metadata.deletionTimestamp}{"\\n"}{end}']);
    return text.split('\n').map((line) => line.split(' ')).filter(([name, deleted]) => name !== '' && !deleted).map(([name]) => name ?? '');
  }

  /** Undefined while the pod does not answer. */
  async scrape(pod: string): Promise<Scrape | undefined> {
    try {
      const answer = await fetch(`http://127.0.0.1:${await this.#port(pod)}/metrics`, { signal: AbortSignal.timeout(10_000) });
      return Scrape.parse(await answer.text());
    } catch {
      this.#drop(pod);
      return undefined;
    }
  }

  /** The pod that leads, and what it says; waits until there is one. */
  async leader(signal: AbortSignal): Promise<{ pod: string; scrape: Scrape }> {
    for (;;) {
      signal.throwIfAborted();
      for (const pod of await this.pods()) {
        const scrape = await this.scrape(pod);
        if (scrape && scrape.sum('leader_election_master_status') === 1) return { pod, scrape };
      }
      await sleep(250, undefined, { signal });
    }
  }

  async usage(): Promise<Map<string, Usage>> {
    const summaries = await Promise.all(this.#cluster.nodes.map(async (node) => JSON.parse(await kubectl(this.#cluster, ['get', '--raw', `/api/v1/nodes/${node}/proxy/stats/summary`])) as Summary));
    return new Map(summaries.flatMap(({ pods }) => pods)
      .filter(({ podRef }) => podRef.namespace === releaseNamespace)
      .map(({ podRef, containers = [] }) => [podRef.name, { rssMiB: (containers[0]?.memory?.rssBytes ?? 0) / 2 ** 20, cpuSeconds: (containers[0]?.cpu?.usageCoreNanoSeconds ?? 0) / 1e9 }]));
  }

  /** All pods at once, as after a power cut of the whole cluster but for its API server. */
  async kill(): Promise<void> {
    await kubectl(this.#cluster, ['delete', 'pods', '--namespace', releaseNamespace, '--selector', OPERATOR, '--grace-period=0', '--force', '--wait=false']);
  }

  close(): void {
    for (const pod of this.#forwards.keys()) this.#drop(pod);
  }

  #port(pod: string): Promise<number> {
    const known = this.#forwards.get(pod);
    if (known) return known.port;
    const child = spawn(this.#cluster.kubectl, ['--kubeconfig', this.#cluster.kubeconfig, 'port-forward', '--namespace', releaseNamespace, `pod/${pod}`, ':8080'], { stdio: ['ignore', 'pipe', 'ignore'] });
    const port = new Promise<number>((resolve, reject) => {
      let text = '';
      child.stdout.setEncoding('utf8').on('data', (part: string) => {
        text += part;
        const found = /127\.0\.0\.1:(\d+)/.exec(text)?.[1];
        if (found !== undefined) resolve(Number(found));
      });
      child.once('error', reject);
      child.once('exit', () => reject(new Error(`the port of ${pod} could not be forwarded`)));
    });
    port.catch(() => undefined);
    this.#forwards.set(pod, { child, port });
    return port;
  }

  #drop(pod: string): void {
    this.#forwards.get(pod)?.child.kill('SIGTERM');
    this.#forwards.delete(pod);
  }
}

/** Looks at memory and CPU every few seconds until stopped. */
export class UsageLog {
  readonly #operator: Operator;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #peaks = new Map<string, number>();
  #first = new Map<string, { cpuSeconds: number; at: number }>();
  #last = new Map<string, { cpuSeconds: number; at: number }>();
  #busiest = new Map<string, number>();

  constructor(operator: Operator) {
    this.#operator = operator;
    this.#running = this.#run();
  }

  /** Begins to count anew. */
  reset(): void {
    this.#peaks = new Map();
    this.#first = new Map();
    this.#last = new Map();
    this.#busiest = new Map();
  }

  /** By pod: the most resident memory seen, cores on average and over the busiest interval. */
  read(): { pod: string; rssMiB: number; cores: number; busiest: number }[] {
    return [...this.#peaks].map(([pod, rssMiB]) => {
      const [first, last] = [this.#first.get(pod), this.#last.get(pod)];
      const seconds = ((last?.at ?? 0) - (first?.at ?? 0)) / 1_000;
      return { pod, rssMiB, cores: seconds > 0 ? ((last?.cpuSeconds ?? 0) - (first?.cpuSeconds ?? 0)) / seconds : Number.NaN, busiest: this.#busiest.get(pod) ?? Number.NaN };
    });
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const usage = await this.#operator.usage().catch(() => new Map<string, Usage>());
      const at = performance.now();
      for (const [pod, { rssMiB, cpuSeconds }] of usage) {
        this.#peaks.set(pod, Math.max(rssMiB, this.#peaks.get(pod) ?? 0));
        const before = this.#last.get(pod);
        // Kubelets count anew every ten seconds or so.
        if (before && cpuSeconds > before.cpuSeconds) this.#busiest.set(pod, Math.max(this.#busiest.get(pod) ?? 0, (cpuSeconds - before.cpuSeconds) / ((at - before.at) / 1_000)));
        if (!before || cpuSeconds > before.cpuSeconds) this.#last.set(pod, { cpuSeconds, at });
        if (!this.#first.has(pod)) this.#first.set(pod, { cpuSeconds, at });
      }
      await sleep(5_000, undefined, { signal: this.#stop.signal }).catch(() => undefined);
    }
  }
}
