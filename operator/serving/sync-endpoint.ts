import type { Log } from '../../kit/log.ts';
import { systemClock as clock } from '../../kit/clock.ts';
import { FIELD_MANAGER } from '../api/names.ts';
import { issueLeaf, renewalTime } from '../dispatch/certificates.ts';
import type { Dispatcher } from '../dispatch/dispatcher.ts';
import type { SyncMetrics } from '../dispatch/metrics.ts';
import { SyncServer } from '../dispatch/sync-server.ts';
import type { KubeClient } from '../kube/client.ts';
import { isNotFound } from '../kube/errors.ts';
import { kinds } from '../kube/kinds.ts';
import type { KubeObject } from '../kube/object.ts';
import type { ReadonlyStore } from '../kube/store.ts';
import { tokenReviewer } from '../kube/token-review.ts';
import { loadCa } from './ca.ts';
import { endpointSlice } from './endpoint-slice.ts';
import { identify } from './worker-identity.ts';

export interface SyncEndpointDeps {
  config: { namespace: string; podName: string; podIP: string; syncServiceName: string; syncPort: number; caSecret: { name: string; create: boolean } };
  client: KubeClient;
  /** Indexed by `uid`. */
  pods: ReadonlyStore<KubeObject>;
  jobs: ReadonlyStore<KubeObject>;
  dispatcher: Dispatcher;
  metrics: SyncMetrics;
  log: Log;
  /** Ends with the leadership. */
  signal: AbortSignal;
}

export interface SyncEndpoint {
  /** What workers call, and the CA that they trust for it. */
  url: string;
  ca: string;
  /** Points the Service at this process. */
  announce(): Promise<void>;
  close(): Promise<void>;
}

/** Serves `sync` over TLS under the Service's name, with certificates that renew by themselves. */
export async function openSyncEndpoint({ config, client, pods, jobs, dispatcher, metrics, log, signal }: SyncEndpointDeps): Promise<SyncEndpoint> {
  const { namespace, syncServiceName: service, syncPort: port, podName, podIP } = config;
  const host = `${service}.${namespace}.svc`;
  const ca = await loadCa(client, namespace, config.caSecret, clock.now(), signal);
  const issue = () => issueLeaf(ca, [host, service, `${service}.${namespace}`, `${host}.cluster.local`], [podIP], clock.now());
  let leaf = await issue();
  const review = tokenReviewer({ client, clock });
  const server = new SyncServer({
    host: podIP.includes(':') ? '::' : '0.0.0.0',
    port,
    certificate: leaf,
    authenticate: (request) =>
      identify(request, {
        review: (token, audience) => review(token, audience, signal),
        podByUid: (uid) => pods.byIndex('uid', uid)[0],
        jobByKey: (key) => jobs.get(key),
        fetchPod: async (podNamespace, name) => {
          try {
            return await client.get(kinds.Pod, { namespace: podNamespace, name }, { signal, timeoutMs: 5_000 });
          } catch (error) {
            if (isNotFound(error)) return undefined;
            throw error;
          }
        },
      }),
    sync: (request, gone) => dispatcher.sync(request, gone),
    isReady: () => !signal.aborted,
    metrics,
    onError: (error) => log.warn({ err: error instanceof Error ? error.message : String(error) }, 'a sync failed'),
  });
  await server.listen();

  // Checked by the hour rather than by one long timer: a suspended machine would sleep through it.
  const renewal = setInterval(() => {
    if (clock.now() < renewalTime(leaf.cert)) return;
    issue().then(
      (next) => {
        leaf = next;
        server.setCertificate(next);
      },
      (error: unknown) => log.error({ err: error }, 'the certificate of the sync server could not be renewed; it is tried again in an hour'),
    );
  }, 3_600_000);
  renewal.unref();

  return {
    url: `https://${host}:${port}`,
    ca: ca.cert,
    announce: async () => {
      await client.apply(kinds.EndpointSlice, endpointSlice({ namespace, service, port, podName, podIp: podIP }), { fieldManager: FIELD_MANAGER }, { signal });
    },
    close: async () => {
      clearInterval(renewal);
      await server.close();
    },
  };
}
