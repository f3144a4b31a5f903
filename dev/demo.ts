import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildModelImage, type Cluster, ensureCluster, ensureImages, kubectl, loadImages } from './cluster/index.ts';
import { accuracyOf, percent } from './demo/accuracy.ts';
import { takeDown } from './demo/down.ts';
import { follow } from './demo/follow.ts';
import { runProgram } from './demo/program.ts';
import { type JobManifest, loadJob, loadSamples, makeVolume, type Manifest, modelFile, putDigits, putRepeatedDigits } from './demo/samples.ts';
import type { Job } from './demo/watch.ts';
import { installChart, releaseNamespace } from './install.ts';
import { duration, StepError, step } from './step.ts';

const usage = `usage: npm run demo [-- --long]     from nothing to a finished job
       npm run demo:down [-- --all]   remove what it made`;

async function demo(long: boolean): Promise<void> {
  const started = performance.now();
  const cluster = await ensureCluster();
  const job = loadJob(long ? 'batchjob-long.yaml' : 'batchjob.yaml');
  const images = await ensureImages(cluster);
  const model = await step(`build the model image ${job.spec.model.image}`, () => buildModelImage(job.spec.model.image, { [job.spec.model.path]: { from: modelFile } }));
  await loadImages(cluster, [model]);
  await installChart(cluster, images);

  const { namespace } = job.metadata;
  const folder = join(cluster.sharedDir, namespace);
  await step('apply the samples', async () => {
    await makeVolume(folder);
    await putInput(folder, job, long);
    const tenants = loadSamples('tenant.yaml');
    await apply(cluster, tenants);
    for (const { metadata } of tenants) await kubectl(cluster, ['wait', '--for=condition=Ready', `tenant/${metadata.name}`, '--timeout=90s'], { timeout: 100_000 });
    await releaseVolume(cluster);
    await apply(cluster, loadSamples('volume.yaml'));
  }, `kubectl --kubeconfig ${cluster.kubeconfig} describe tenants; kubectl --kubeconfig ${cluster.kubeconfig} logs --namespace ${releaseNamespace} --selector app.kubernetes.io/name=millrace`);

  const setUp = performance.now() - started;
  const name = await submit(cluster, job, folder);
  const done = await follow(cluster, namespace, name);
  await report(cluster, job, done, folder, setUp);
}

async function putInput(folder: string, job: JobManifest, long: boolean): Promise<void> {
  const file = join(folder, job.spec.input.volume.path);
  if (long) await putRepeatedDigits(file);
  else await putDigits(file);
}

async function apply(cluster: Cluster, objects: readonly Manifest[]): Promise<void> {
  await kubectl(cluster, ['apply', '--filename', '-'], { input: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }), timeout: 60_000 });
}

/** A volume whose claim is gone stays bound to that claim; its folder outlives it, so it is simply made again. */
async function releaseVolume(cluster: Cluster): Promise<void> {
  for (const { kind, metadata } of loadSamples('volume.yaml')) {
    if (kind !== 'PersistentVolume') continue;
    const phase = await kubectl(cluster, ['get', 'pv', metadata.name, '--ignore-not-found', '--output', 'jsonpath={.status.phase}']);
    if (phase === 'Released') await kubectl(cluster, ['delete', 'pv', metadata.name, '--timeout=30s']);
  }
}

/**
 * Starts the sample, under a name and an output folder that no earlier run has: results of earlier runs stay.
 * One that still runs is followed instead.
 */
async function submit(cluster: Cluster, sample: JobManifest, folder: string): Promise<string> {
  const { namespace, name: first } = sample.metadata;
  const list = JSON.parse(await kubectl(cluster, ['get', 'batchjobs.millrace.dev', '--namespace', namespace, '--output', 'json'])) as { items: Job[] };
  const jobs = new Map(list.items.map((job) => [job.metadata.name, job]));
  for (let run = 1; ; run++) {
    const name = run === 1 ? first : `${first}-${run}`;
    const earlier = jobs.get(name);
    if (earlier !== undefined && !/^(Complete|Failed|Suspended)$/.test(earlier.status?.state ?? '')) {
      console.log(`\nBatchJob ${name} of an earlier run is still at work; following it.`);
      return name;
    }
    const output = run === 1 ? sample.spec.output.volume.path : `${sample.spec.output.volume.path}-${run}`;
    if (earlier !== undefined || existsSync(join(folder, output))) continue;
    const job: JobManifest = { ...sample, metadata: { ...sample.metadata, name }, spec: { ...sample.spec, output: { volume: { ...sample.spec.output.volume, path: output } } } };
    await apply(cluster, [job]);
    console.log(`\nBatchJob ${name} in namespace ${namespace}${run > 1 ? ' (earlier runs and their results are kept)' : ''}:`);
    return name;
  }
}

async function report(cluster: Cluster, sample: JobManifest, job: Job, folder: string, setUp: number): Promise<void> {
  const { name, namespace, creationTimestamp } = job.metadata;
  const { items, startTime, completionTime, output } = job.status ?? {};
  // The claim's name comes first, then the path on the volume.
  const results = join(folder, (output ?? '').slice(`${sample.spec.output.volume.claimName}/`.length));
  const accuracy = await step('compare the results with the known labels', () => accuracyOf(results), `look at ${results}`);
  const wall = (from: string | undefined): string => duration(Date.parse(completionTime ?? '') - Date.parse(from ?? ''));
  console.log(`
  items       ${items?.total ?? 0}, ${items?.failed ?? 0} failed
  wall time   ${wall(startTime)} (${wall(creationTimestamp)} since it was applied; setting up took ${duration(setUp)})
  accuracy    ${percent(accuracy.all)}; on images not seen in training ${percent(accuracy.heldOut)}
  results     ${results}

Look further:
  export KUBECONFIG=${cluster.kubeconfig}
  ${cluster.kubectl === 'kubectl' ? '' : `alias kubectl=${cluster.kubectl}\n  `}kubectl get tn,bj -A
  kubectl describe bj ${name} -n ${namespace}
  kubectl get pods -n ${namespace} -o wide
  kubectl explain batchjob.spec
Again: npm run demo; a longer one to break things in: npm run demo -- --long; away with it: npm run demo:down`);
  if (accuracy.all.items !== items?.total) throw new StepError('check the results', `${results} has ${accuracy.all.items} lines, the job told ${items?.total} items`, `kubectl describe bj ${name} -n ${namespace}`);
}

await runProgram(async () => {
  const { values, positionals } = parseArgs({ options: { long: { type: 'boolean', default: false }, all: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h' } }, allowPositionals: true });
  if (values.help) console.log(usage);
  else if (positionals[0] === 'down') await takeDown(values.all);
  else if (positionals.length > 0) throw new StepError('demo', `"${positionals.join(' ')}" is not known`, usage);
  else await demo(values.long);
});
