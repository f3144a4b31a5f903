import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { env, SYNC_AUDIENCE } from '../../../inference-pod/contract.ts';
import { labels, WORKER_SERVICE_ACCOUNT } from '../../../operator/api/names.ts';
import type { KubeClient } from '../../../operator/kube/client.ts';
import type { Kind } from '../../../operator/kube/kinds.ts';
import type { KubeObject, Stored } from '../../../operator/kube/object.ts';

interface Pod extends KubeObject {
  spec?: { containers?: { env?: { name: string; value?: string }[] }[] };
}

interface TokenRequest extends KubeObject {
  spec: object;
  status?: { token: string };
}

const TOKENS: Kind = { apiVersion: 'v1', kind: 'TokenRequest', plural: `serviceaccounts/${WORKER_SERVICE_ACCOUNT}/token`, namespaced: true, watched: false };

/**
 * The syncs of worker pods that kwok only pretends to run: one process holds them all open, each over TLS and with a token
 * bound to its pod as its kubelet would have asked for.
 */
export class Workers {
  readonly #client: KubeClient;
  readonly #child: ChildProcess;
  /** How many times each thing happened. */
  readonly #counts = new Map<string, number>();
  lastFailure = '';

  private constructor(client: KubeClient, child: ChildProcess) {
    this.#client = client;
    this.#child = child;
    process.once('exit', () => child.kill('SIGKILL'));
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      const { what, why } = JSON.parse(line) as { what: string; why?: string };
      this.#counts.set(what, this.count(what) + 1);
      this.lastFailure = why ?? this.lastFailure;
    });
  }

  /** @param like any worker pod: it says by which name the sync server goes and which CA vouches for it */
  static async start(client: KubeClient, folder: string, address: string, like: Stored<Pod>): Promise<Workers> {
    const told = like.spec?.containers?.[0]?.env ?? [];
    const variable = (wanted: string): string => told.find(({ name }) => name === wanted)?.value ?? '';
    writeFileSync(join(folder, 'sync-ca.pem'), variable(env.syncCa));
    const child = spawn(process.execPath, [join(import.meta.dirname, 'player.ts'), variable(env.syncUrl), address, join(folder, 'sync-ca.pem')], { stdio: ['pipe', 'pipe', 'inherit'] });
    const workers = new Workers(client, child);
    for (let tries = 0; workers.count('ready') === 0; tries++) {
      if (tries > 300 || child.exitCode !== null) throw new Error('the process that speaks for the workers did not begin');
      await sleep(100);
    }
    return workers;
  }

  count(what: string): number {
    return this.#counts.get(what) ?? 0;
  }

  /** Begins to speak for these pods. */
  async play(pods: readonly Stored<KubeObject>[]): Promise<void> {
    for (const { metadata } of pods) {
      const { name, namespace = '', uid } = metadata;
      const asked: TokenRequest = {
        apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', metadata: { namespace } as TokenRequest['metadata'],
        spec: { audiences: [SYNC_AUDIENCE], expirationSeconds: 3600, boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid } },
      };
      const { status } = await this.#client.create(TOKENS, asked);
      const [slot, attempt] = [metadata.labels?.[labels.slot], metadata.labels?.[labels.attempt]].map(Number);
      this.#child.stdin?.write(`${JSON.stringify({ job: metadata.labels?.[labels.jobUid], slot, attempt, token: status?.token })}\n`);
    }
  }

  close(): void {
    this.#child.kill('SIGKILL');
  }
}
