import { beforeAll, describe, expect, test } from 'vitest';
import { paths } from '../../support/e2e/api.ts';
import { openBench } from '../../support/e2e/bench.ts';
import { cutNetwork, leader, processOf, signal } from '../../support/e2e/faults.ts';
import { apply, completed, doneItems, fromVolume, getJob, isLive, jobManifest, jobTells, type JobObject, lines, outcomeOf, podsOf, type PodObject, putInput, sha256 } from '../../support/e2e/jobs.ts';
import { slowItems, slowResults } from '../../support/e2e/slow.ts';
import { makeTenant, type TestTenant } from '../../support/e2e/tenant.ts';
import { until } from '../../support/e2e/until.ts';

/** About 20 s of two workers with half a CPU each: eight shards, several checkpoints in each. */
const items = 4_000;
const leaseMs = 15_000;

const bench = openBench();
const { api, kubectl } = bench;
let tenant: TestTenant;
let undisturbed: string;

const start = (name: string): Promise<string> => apply(bench, jobManifest(tenant, name, 'slow.onnx', fromVolume('in.jsonl'), { workers: { max: 2 } }));

beforeAll(async () => {
  tenant = await makeTenant(bench, 'loss');
  putInput(tenant, 'in.jsonl', lines(slowItems(items)));
  await start('undisturbed');
  await completed(bench, tenant, 'undisturbed');
  undisturbed = sha256(outcomeOf(tenant, 'undisturbed').results);
});

/** Starts a job and waits until both workers have stored results and are in the middle of a shard. */
async function midRun(name: string): Promise<JobObject> {
  await start(name);
  return jobTells(bench, tenant, name, 'is in mid-run with two workers', (job) => job.status?.readyWorkers === '2/2' && doneItems(job) >= items / 10, 60_000);
}

/** The job completes, and its files are those of the undisturbed run to the byte: no item twice, none missing. */
async function expectUnharmed(name: string, limitMs = 180_000): Promise<JobObject> {
  const job = await completed(bench, tenant, name, limitMs);
  const { results, errors, manifest } = outcomeOf(tenant, name);
  expect(sha256(results)).toBe(undisturbed);
  expect(errors).toBe('');
  expect(manifest.items).toEqual({ succeeded: items, failed: 0 });
  expect(job.status?.items).toMatchObject({ total: items, succeeded: items, failed: 0 });
  return job;
}

const workerOf = async (name: string, slot: number): Promise<PodObject> => {
  const pod = (await podsOf(bench, tenant, name)).filter(isLive).find(({ metadata }) => metadata.labels?.['millrace.dev/slot'] === `${slot}`);
  if (pod === undefined) throw new Error(`job ${name} has no live worker in slot ${slot}`);
  return pod;
};
const runs = (pod: PodObject): boolean => pod.metadata.deletionTimestamp === undefined && pod.status.containerStatuses?.[0]?.state.running !== undefined;
const restarts = (pod: PodObject): number => pod.status.containerStatuses?.[0]?.restartCount ?? 0;
const measured = (what: string, ms: number): void => console.log(`measured: ${what} after ${(ms / 1000).toFixed(1)} s`);

test('an undisturbed run gives what the model must give', () => {
  expect(outcomeOf(tenant, 'undisturbed').results).toBe(slowResults(items));
});

describe('a worker is lost', () => {
  test('its process is killed in mid-shard: it runs again in place within 3 s', async () => {
    await midRun('killed');
    const pod = await workerOf('killed', 0);
    await signal(await processOf(pod), 'KILL');
    const again = await until('the worker runs again in place', 15_000, async () => {
      const now = await api.get<PodObject>(paths.pod(tenant.namespace, pod.metadata.name));
      return now !== undefined && restarts(now) === restarts(pod) + 1 && runs(now) ? now : undefined;
    });
    const [container] = again.status.containerStatuses ?? [];
    const gap = Date.parse(container?.state.running?.startedAt ?? '') - Date.parse(container?.lastState?.terminated?.finishedAt ?? '');
    measured('a killed worker runs again', gap);
    expect(gap).toBeLessThanOrEqual(3_000);
    await expectUnharmed('killed');
  });

  test('its pod is deleted: the next attempt runs within 10 s', async () => {
    await midRun('deleted');
    const pod = await workerOf('deleted', 1);
    await api.delete(paths.pod(tenant.namespace, pod.metadata.name));
    const started = performance.now();
    await until('its successor runs', 10_000, async () => (await podsOf(bench, tenant, 'deleted')).some((now) => now.metadata.name === 'deleted-w1-1' && runs(now)));
    measured('the successor of a deleted worker runs', performance.now() - started);
    await expectUnharmed('deleted');
  });

  test('its pod is deleted by force, its process with it', async () => {
    await midRun('forced');
    const pod = await workerOf('forced', 0);
    await api.delete(paths.pod(tenant.namespace, pod.metadata.name), { gracePeriodSeconds: 0 });
    const started = performance.now();
    await until('its successor runs', 10_000, async () => (await podsOf(bench, tenant, 'forced')).some((now) => now.metadata.name === 'forced-w0-1' && runs(now)));
    measured('the successor of a worker deleted by force runs', performance.now() - started);
    await expectUnharmed('forced');
  });

  test('both are killed at once, again and again', async () => {
    await midRun('battered');
    for (let round = 1; round <= 2; round++) {
      const before = doneItems((await getJob(bench, tenant, 'battered')) as JobObject);
      await Promise.all([0, 1].map(async (slot) => {
        // One that was just killed may not be back yet.
        const process = await until(`worker ${slot} runs`, 30_000, async () => processOf(await workerOf('battered', slot)));
        await signal(process, 'KILL');
      }));
      await jobTells(bench, tenant, 'battered', 'gets further', (job) => doneItems(job) > before + 200 || job.status?.state !== 'Running', 60_000);
    }
    await expectUnharmed('battered');
  });
});

describe('a worker is cut off until its lease has gone, and comes back', () => {
  /** Another worker has taken over what the silent one held: by its lease, or before that, when nothing else was left to do. */
  const givenAway = (job: JobObject): boolean => (job.status?.shards?.retried ?? 0) > 0 || doneItems(job) === items;

  test('it stands still', async () => {
    await midRun('frozen');
    const process = await processOf(await workerOf('frozen', 0));
    await signal(process, 'STOP');
    try {
      await jobTells(bench, tenant, 'frozen', 'gives its shard to the other worker', givenAway, leaseMs + 15_000);
    } finally {
      await signal(process, 'CONT');
    }
    await expectUnharmed('frozen');
  });

  test('its network is gone while it still reaches the volume', async () => {
    await midRun('alone');
    const restore = await cutNetwork(await processOf(await workerOf('alone', 0)));
    try {
      await jobTells(bench, tenant, 'alone', 'gives its shard to the other worker', givenAway, leaseMs + 15_000);
    } finally {
      await restore();
    }
    await expectUnharmed('alone');
  });
});

describe('the operator is lost', () => {

  test('the leader’s process is killed in mid-job', async () => {
    await midRun('leaderless');
    const pod = await leader(bench);
    await signal(await processOf(pod), 'KILL');
    const started = performance.now();
    const before = doneItems((await getJob(bench, tenant, 'leaderless')) as JobObject);
    await jobTells(bench, tenant, 'leaderless', 'is led again', (job) => doneItems(job) > before, 60_000);
    measured('progress is told again after the kill of the leader', performance.now() - started);
    await expectUnharmed('leaderless');
  });

  test('the leader’s pod is deleted by force in mid-job: the other replica takes over', async () => {
    await midRun('succeeded');
    const pod = await leader(bench);
    await api.delete(`/api/v1/namespaces/${pod.metadata.namespace}/pods/${pod.metadata.name}`, { gracePeriodSeconds: 0 });
    const started = performance.now();
    const next = await until('another replica leads', 40_000, async () => {
      const now = await leader(bench);
      return now.metadata.uid !== pod.metadata.uid ? now : undefined;
    });
    measured('another replica leads', performance.now() - started);
    expect(next.metadata.name).not.toBe(pod.metadata.name);
    await expectUnharmed('succeeded');
  });
});

describe('a node is drained', () => {
  test('its workers go on elsewhere', async () => {
    await midRun('drained');
    const node = (await workerOf('drained', 0)).spec.nodeName as string;
    try {
      // By force: other tests have left pods there that have no controller, some of them with the labels of a worker.
      await kubectl(['drain', node, '--force', '--pod-selector=app.kubernetes.io/managed-by=millrace', '--ignore-daemonsets', '--delete-emptydir-data', '--timeout=90s']);
      const pods = (await podsOf(bench, tenant, 'drained')).filter(isLive);
      expect(pods.filter(({ spec }) => spec.nodeName === node)).toEqual([]);
      await expectUnharmed('drained');
    } finally {
      await kubectl(['uncordon', node]);
    }
  });
});
