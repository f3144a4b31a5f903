import { randomBytes } from 'node:crypto';
import { systemClock as clock } from '../kit/clock.ts';
import { serveHealth } from '../kit/http.ts';
import { createLog } from '../kit/log.ts';
import { createRegistry } from '../kit/metrics.ts';
import { ConfigError, loadConfig, type OperatorConfig } from './config.ts';
import { createInformers } from './informers.ts';
import { KubeClient } from './kube/client.ts';
import { kubeConfigCredentials, loadKubeConfig } from './kube/credentials.ts';
import { EventRecorder } from './kube/events.ts';
import { LeaderElector } from './kube/lease.ts';
import { type Leading, lead } from './leading.ts';
import { drain } from './runtime/drain.ts';

/** What a drain takes at most, to stay inside the pod's grace period of 30 s. */
const DRAIN_MS = 15_000;

const config = readConfig();
const log = createLog('operator', config.logLevel);
const registry = createRegistry({ process: true });

const credentials = kubeConfigCredentials(loadKubeConfig, clock);
const userAgent = 'millrace-operator/0.1.0';
const client = new KubeClient({ credentials, clock, registry, userAgent, rate: { perSecond: 100, burst: 200 } });
const leaseClient = new KubeClient({ credentials, clock, registry, userAgent, retries: 0 });
const recorder = new EventRecorder({ client, clock, log, registry, controller: 'millrace.dev/operator', instance: config.podName });

const stopping = new AbortController();
const informers = createInformers({ client, clock, log, registry });
const watching = Promise.all(Object.values(informers).map((informer) => informer.run(stopping.signal)));
const unsynced = (): string[] => Object.values(informers).flatMap((informer) => (informer.hasSynced ? [] : [informer.kind.plural]));

const health = await serveHealth({
  port: config.healthPort,
  registry,
  ready: {
    caches: () => (unsynced().length === 0 ? undefined : `waiting for the first list of ${unsynced().join(', ')}; are the CRDs installed?`),
    stopping: () => (stopping.signal.aborted ? 'shutting down' : undefined),
  },
});
const metrics = await serveHealth({ port: config.metricsPort, registry, ready: {} });
log.info({ port: health.port, pod: config.podName }, 'started');

let leading: Awaited<ReturnType<typeof lead>> | undefined;
const deps: Leading = { config, client, informers, recorder, log, registry };
const elector = new LeaderElector({
  client: leaseClient,
  namespace: config.namespace,
  name: config.leaseName,
  identity: `${config.podName}_${randomBytes(4).toString('hex')}`,
  clock,
  log,
  registry,
  onStarted: (leadership) => {
    lead(deps, leadership).then(
      (started) => {
        leading = started;
      },
      (error: unknown) => die(error, 'could not begin to lead'),
    );
  },
  onStopped: (why) => {
    // Ledgers and plans of a former leader must not live on: a fresh process is the only clean state.
    if (why === 'lost') die(undefined, 'lost the leadership');
  },
});
await Promise.all(Object.values(informers).map((informer) => informer.synced));
elector.start();

process.once('SIGTERM', () => void shutDown('SIGTERM'));
process.once('SIGINT', () => void shutDown('SIGINT'));

async function shutDown(why: string): Promise<void> {
  log.info({ why }, 'shutting down');
  const well = await drain(
    [
      { name: 'controllers', timeoutMs: DRAIN_MS, run: async () => leading?.drain(DRAIN_MS - 3_000) },
      { name: 'events', timeoutMs: 3_000, run: () => recorder.flush(2_500) },
      { name: 'lease', timeoutMs: 6_000, run: () => elector.close() },
      {
        name: 'watches',
        timeoutMs: 2_000,
        run: async () => {
          stopping.abort();
          await watching;
        },
      },
      {
        name: 'connections',
        timeoutMs: 2_000,
        run: async () => {
          recorder.close();
          await Promise.all([client.close(), leaseClient.close(), health.close(), metrics.close()]);
        },
      },
    ],
    log,
  );
  process.exit(well ? 0 : 1);
}

function die(error: unknown, what: string): never {
  log.fatal({ err: error }, what);
  process.exit(1);
}

function readConfig(): OperatorConfig {
  try {
    return loadConfig(process.argv.slice(2), process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(error.message);
    process.exit(2);
  }
}
