import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Cluster } from '../../../../dev/cluster/index.ts';
import type { Found, Probe } from './endpoint.ts';

const source = readFileSync(join(import.meta.dirname, 'endpoint.ts'), 'utf8');

/** Arguments of `node` that run the endpoint program. */
export const endpointArgs = (...args: string[]): string[] => ['--input-type=module-typescript', '--eval', source, '--', ...args];

/** How much longer than a probe's own time the answer may take: a hundred connections on a busy machine. */
const GRACE_MS = 20_000;

/**
 * A place from which connections are tried: a program in a pod or container, told what to try through its standard input,
 * so that neither the question nor the answer goes over the network that is tried.
 */
export class Prober {
  readonly name: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting = new Map<number, { resolve: (found: Found[]) => void; reject: (error: Error) => void }>();
  #asked = 0;
  #complaint = '';
  #ended = false;

  /** @param command starts the endpoint program in its `probe` mode */
  constructor(name: string, command: string, args: readonly string[]) {
    this.name = name;
    this.#child = spawn(command, args);
    this.#child.stderr.on('data', (chunk: Buffer) => {
      this.#complaint = `${this.#complaint}${chunk.toString()}`.slice(-500);
    });
    this.#child.stdin.on('error', () => {}); // told by 'close'
    this.#child.on('error', (error) => this.#end(error.message));
    this.#child.on('close', (code) => this.#end(`ended with ${code}: ${this.#complaint.trim()}`));
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const { id, found } = JSON.parse(line) as { id: number; found: Found[] };
      this.#waiting.get(id)?.resolve(found);
      this.#waiting.delete(id);
    });
  }

  /** Tries all at once. @throws Error when the program is gone or silent */
  async probe(probes: readonly Probe[], timeoutMs: number): Promise<Found[]> {
    if (this.#ended) throw new Error(`the prober in ${this.name} ${this.#complaint}`);
    this.#asked += 1;
    const id = this.#asked;
    const answer = new Promise<Found[]>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    const silent = setTimeout(() => this.#waiting.get(id)?.reject(new Error(`the prober in ${this.name} is silent; ${this.#complaint}`)), timeoutMs + GRACE_MS);
    this.#child.stdin.write(`${JSON.stringify({ id, timeoutMs, probes })}\n`);
    try {
      return await answer;
    } finally {
      clearTimeout(silent);
    }
  }

  close(): void {
    this.#child.stdin.end();
    this.#child.kill();
  }

  #end(how: string): void {
    this.#ended = true;
    this.#complaint = how;
    for (const { reject } of this.#waiting.values()) reject(new Error(`the prober in ${this.name} ${how}`));
    this.#waiting.clear();
  }
}

/** A prober in a running container of a pod whose image has Node. */
export const proberInPod = ({ kubectl, kubeconfig }: Cluster, name: string, namespace: string, pod: string): Prober =>
  new Prober(name, kubectl, ['--kubeconfig', kubeconfig, '--namespace', namespace, 'exec', '--stdin', pod, '--', 'node', ...endpointArgs('probe')]);

export const proberInContainer = (name: string, container: string): Prober =>
  new Prober(name, 'docker', ['exec', '--interactive', container, 'node', ...endpointArgs('probe')]);
