import { afterAll, beforeEach, inject } from 'vitest';
import { type Cluster, kubectl as run } from '../../../dev/cluster/index.ts';
import { releaseNamespace } from '../../../dev/install.ts';
import { CommandError, sh } from '../../../dev/step.ts';
import { Api } from './api.ts';

/** What every test of a file works with. */
export interface Bench {
  cluster: Cluster;
  api: Api;
  runId: string;
  /** Runs kubectl; returns its standard output. @throws CommandError */
  kubectl(args: readonly string[], input?: string | object): Promise<string>;
  /** The complaint of a kubectl that is expected to fail. */
  refused(args: readonly string[], input?: string | object): Promise<string>;
  /** Namespaces that are described when a test fails. */
  watched: Set<string>;
}

/** After this many failures of a file the rest is noise. */
const maxTold = 2;

/** To be called once at the top of a test file. */
export function openBench(): Bench {
  const cluster = inject('cluster');
  const api = new Api(cluster.kubeconfig);
  const kubectl = (args: readonly string[], input?: string | object): Promise<string> =>
    run(cluster, args, { timeout: 150_000, ...(input === undefined ? {} : { input: typeof input === 'string' ? input : JSON.stringify(input) }) });
  const watched = new Set<string>();
  let told = 0;
  beforeEach(({ onTestFailed }) => {
    onTestFailed(async () => {
      if (told++ < maxTold) await tellState(cluster, watched);
    });
  });
  afterAll(async () => {
    await api.close();
    // Jobs that a test has left at work would slow all those that come after it. Workers leave with their job.
    if (process.env['MILLRACE_KEEP'] === '1') return;
    await Promise.all([...watched].map((namespace) => kubectl(['delete', 'batchjobs', '--all', '--namespace', namespace, '--wait=false'])));
  });
  return {
    cluster,
    api,
    runId: inject('runId'),
    kubectl,
    async refused(args, input) {
      try {
        const output = await kubectl(args, input);
        throw new Error(`kubectl ${args.join(' ')} was expected to fail and said: ${output}`);
      } catch (cause) {
        if (cause instanceof CommandError) return cause.output;
        throw cause;
      }
    },
    watched,
  };
}

/** Everything that explains a failure, as a person would look for it. */
async function tellState(cluster: Cluster, namespaces: ReadonlySet<string>): Promise<void> {
  const tell = async (...args: string[]): Promise<void> => {
    const { stdout, stderr } = await sh(cluster.kubectl, ['--kubeconfig', cluster.kubeconfig, ...args], { okCodes: [0, 1], timeout: 30_000 })
      .catch((cause: unknown) => ({ stdout: '', stderr: String(cause) }));
    console.error(`$ kubectl ${args.join(' ')}\n${stdout}${stderr}`);
  };
  await tell('get', 'tenants,batchjobs', '--all-namespaces', '--output=wide');
  for (const namespace of namespaces) {
    await tell('get', 'pods', '--namespace', namespace, '--output=wide');
    await tell('describe', 'batchjobs', '--namespace', namespace);
    await tell('logs', '--namespace', namespace, '--selector=app.kubernetes.io/component=worker', '--tail=15', '--prefix');
  }
  await tell('get', 'pods', '--namespace', releaseNamespace, '--output=wide');
  await tell('logs', '--namespace', releaseNamespace, '--selector=app.kubernetes.io/component=operator', '--tail=40', '--prefix');
}
