import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { SYNC_AUDIENCE } from '../../../inference-pod/contract.ts';
import { labels, MANAGED_BY, WORKER_SERVICE_ACCOUNT } from '../../../operator/api/names.ts';
import type { KubeClient } from '../../../operator/kube/client.ts';
import type { Kind } from '../../../operator/kube/kinds.ts';
import type { KubeObject, Stored } from '../../../operator/kube/object.ts';
import { type Cluster, kubectl } from '../../cluster/index.ts';
import { LABEL } from './objects.ts';

interface Pod extends KubeObject {
  spec?: { containers: { env?: { name: string; value?: string }[] }[] };
}

interface TokenRequest extends KubeObject {
  spec: object;
  status?: { token: string };
}

const TOKENS: Kind = { apiVersion: 'v1', kind: 'TokenRequest', plural: `serviceaccounts/${WORKER_SERVICE_ACCOUNT}/token`, namespaced: true, watched: false };
const POD = 'scale-player';

/**
 * The syncs of worker pods that kwok only pretends to run: one real pod holds them all open, over the real Service, with a
 * token bound to each pod as its kubelet would have asked for.
 */
export class Workers {
  readonly #client: KubeClient;
  readonly #child: ChildProcess;
  /** How many times each thing happened. */
  readonly counts = new Map<string, number>();
  lastFailure = '';

  private constructor(client: KubeClient, child: ChildProcess) {
    this.#client = client;
    this.#child = child;
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      const { what, why } = JSON.parse(line) as { what: string; why?: string };
      this.counts.set(what, this.count(what) + 1);
      this.lastFailure = why ?? this.lastFailure;
    });
  }

  /** @param like any worker pod: it says where the sync server is. */
  static async start(cluster: Cluster, client: KubeClient, image: string, namespace: string, like: Stored<Pod>): Promise<Workers> {
    const env = like.spec?.containers[0]?.env ?? [];
    const variable = (wanted: string): string => env.find(({ name }) => name === wanted)?.value ?? '';
    const metadata = { name: POD, namespace, labels: { ...LABEL, [labels.managedBy]: MANAGED_BY, [labels.component]: 'worker' } };
    const files = { 'player.mts': readFileSync(join(import.meta.dirname, 'player.ts'), 'utf8'), 'ca.pem': variable('MILLRACE_SYNC_CA') };
    const size = { cpu: '1', memory: '512Mi' };
    const pod = {
      apiVersion: 'v1', kind: 'Pod', metadata,
      spec: {
        automountServiceAccountToken: false, terminationGracePeriodSeconds: 0,
        securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: 'RuntimeDefault' } },
        containers: [{
          name: 'player', image, imagePullPolicy: 'IfNotPresent', command: ['node', '-e', 'setInterval(() => {}, 2 ** 30)'],
          env: [{ name: 'MILLRACE_SYNC_URL', value: variable('MILLRACE_SYNC_URL') }],
          resources: { requests: { cpu: '10m', memory: '64Mi' }, limits: size },
          securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
          volumeMounts: [{ name: 'player', mountPath: '/player' }],
        }],
        volumes: [{ name: 'player', configMap: { name: POD } }],
      },
    };
    await kubectl(cluster, ['apply', '--filename=-'], { input: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: POD, namespace, labels: LABEL }, data: files }, pod] }) });
    await kubectl(cluster, ['wait', '--namespace', namespace, '--for=condition=Ready', `pod/${POD}`, '--timeout=120s'], { timeout: 130_000 });
    const child = spawn(cluster.kubectl, ['--kubeconfig', cluster.kubeconfig, 'exec', '--namespace', namespace, '-i', POD, '--', 'node', '/player/player.mts'], { stdio: ['pipe', 'pipe', 'inherit'] });
    process.once('exit', () => child.kill('SIGTERM'));
    const workers = new Workers(client, child);
    for (let tries = 0; workers.count('ready') === 0; tries++) {
      if (tries > 300 || child.exitCode !== null) throw new Error('the pod that speaks for the workers did not begin');
      await sleep(100);
    }
    return workers;
  }

  count(what: string): number {
    return this.counts.get(what) ?? 0;
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
    this.#child.stdin?.end();
    this.#child.kill('SIGTERM');
  }
}
