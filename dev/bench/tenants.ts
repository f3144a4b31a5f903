/**
 * How long it takes until many Tenants are Ready at once, and what the operator needs for it. They are made in one go on the
 * cluster as it is, and deleted again with their namespaces.
 *
 *   npm run bench -- tenants [--count 1000] [--keep]
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { ensureCluster, ensureImages, kubectl } from '../cluster/index.ts';
import { takeLock } from '../cluster/lock.ts';
import { installChart, releaseNamespace } from '../install.ts';
import { duration } from '../step.ts';

const LABEL = 'millrace.dev/bench=tenants';
const LIMIT_MS = 900_000;

const { values } = parseArgs({ options: { count: { type: 'string', default: '1000' }, keep: { type: 'boolean', default: false } } });
const count = Number(values.count);
if (!Number.isInteger(count) || count < 1) throw new RangeError(`--count: got "${values.count}", expected a whole number of at least 1`);

const cluster = await ensureCluster();
await takeLock(`use-${cluster.name}`);
await installChart(cluster, await ensureImages(cluster));
const ask = (args: readonly string[], input?: string): Promise<string> => kubectl(cluster, args, { timeout: LIMIT_MS, ...(input === undefined ? {} : { input }) });

interface Usage {
  pod: string;
  rssMiB: number;
  cpuSeconds: number;
}

/** Of the operator's containers, as the kubelets count it. */
async function usage(): Promise<Usage[]> {
  const summaries = await Promise.all(cluster.nodes.map(async (node) => JSON.parse(await ask(['get', '--raw', `/api/v1/nodes/${node}/proxy/stats/summary`])) as Summary));
  return summaries.flatMap(({ pods }) => pods)
    .filter(({ podRef }) => podRef.namespace === releaseNamespace)
    .map(({ podRef, containers = [] }) => ({ pod: podRef.name, rssMiB: (containers[0]?.memory?.rssBytes ?? 0) / 2 ** 20, cpuSeconds: (containers[0]?.cpu?.usageCoreNanoSeconds ?? 0) / 1e9 }));
}

interface Summary {
  pods: { podRef: { name: string; namespace: string }; containers?: { memory?: { rssBytes?: number }; cpu?: { usageCoreNanoSeconds?: number } }[] }[];
}

const tenant = (n: number): object => ({
  apiVersion: 'millrace.dev/v1alpha1',
  kind: 'Tenant',
  metadata: { name: `bench-${String(n).padStart(5, '0')}`, labels: Object.fromEntries([LABEL.split('=') as [string, string]]) },
  spec: {
    owners: [{ kind: 'Group', name: `bench-${n}` }],
    quota: { 'requests.cpu': '4', 'requests.memory': '8Gi', pods: '20', 'count/batchjobs.millrace.dev': '500' },
    limits: { default: { cpu: '500m', memory: '512Mi' } },
    network: { egress: [{ to: [{ ipBlock: { cidr: '192.0.2.0/24' } }], ports: [{ port: 443 }] }] },
    deletionPolicy: 'Delete',
  },
});

const states = async (): Promise<string[]> => (await ask(['get', 'tenants', '--selector', LABEL, '--output=jsonpath={range .items[*]}{.status.state}{"\\n"}{end}'])).split('\n').filter(Boolean);

const before = new Map((await usage()).map((of) => [of.pod, of]));
const peaks = new Map<string, number>();
const started = performance.now();
await ask(['create', '--validate=ignore', '--filename=-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items: Array.from({ length: count }, (_, n) => tenant(n)) }));
console.log(`${count} Tenants made in ${duration(performance.now() - started)}`);

let ready = 0;
let after: Usage[] = [];
for (let told = 0; ready < count; ) {
  if (performance.now() - started > LIMIT_MS) throw new Error(`only ${ready} of ${count} Tenants were Ready after ${duration(LIMIT_MS)}`);
  await sleep(2_000);
  ready = (await states()).filter((state) => state === 'Ready').length;
  after = await usage();
  for (const { pod, rssMiB } of after) peaks.set(pod, Math.max(rssMiB, peaks.get(pod) ?? 0));
  if (ready === count || performance.now() - told > 20_000) {
    told = performance.now();
    console.log(`${ready} Ready after ${duration(performance.now() - started)}`);
  }
}
for (const { pod, cpuSeconds } of after) {
  console.log(`${pod}: ${Math.round(peaks.get(pod) ?? 0)} MiB resident at most, ${(cpuSeconds - (before.get(pod)?.cpuSeconds ?? 0)).toFixed(1)} s of CPU`);
}
if (!values.keep) {
  const deleting = performance.now();
  await ask(['delete', 'tenants', '--selector', LABEL, '--wait=false']);
  while ((await states()).length > 0) {
    if (performance.now() - deleting > LIMIT_MS) throw new Error(`Tenants were left after ${duration(LIMIT_MS)}`);
    await sleep(2_000);
  }
  console.log(`deleted with their namespaces in ${duration(performance.now() - deleting)}`);
}
