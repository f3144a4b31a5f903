import { describe, expect, test } from 'vitest';
import { deadline } from '../../../operator/batchjob/policy/deadline.ts';
import { outOfMemory, permanentFailure } from '../../../operator/batchjob/policy/failure.ts';
import { imagePullFailure, pendingCheckMs, whyPending } from '../../../operator/batchjob/policy/pending.ts';
import { readRefusal } from '../../../operator/batchjob/policy/quota.ts';
import { expiresInMs } from '../../../operator/batchjob/policy/ttl.ts';
import { fatalExitCodes } from '../../../inference-pod/contract.ts';
import { aBatchJob, at, aWorkerPod, NOW } from '../../support/builders.ts';

describe('a refused write', () => {
  const read = (message: string) => readRefusal({ kind: 'Pod', name: 'digits-w0-0', reason: 'Forbidden', message }, 'acme');

  test('waits while others use the quota, and tells need, used and limit', () => {
    expect(read('pods "digits-w0-0" is forbidden: exceeded quota: millrace, requested: limits.cpu=500m,requests.memory=512Mi, used: limits.cpu=3800m,requests.memory=7Gi, limited: limits.cpu=4,requests.memory=7Gi')).toEqual({
      reason: 'WaitingForQuota',
      message: 'waiting for quota of tenant "acme": a worker needs limits.cpu 500m (used 3800m of 4), requests.memory 512Mi (used 7Gi of 7Gi)',
      stalled: false,
    });
  });

  test('is final when one worker is larger than the whole quota', () => {
    expect(read('pods "digits-w0-0" is forbidden: exceeded quota: millrace, requested: limits.cpu=2,requests.cpu=2, used: limits.cpu=0,requests.cpu=0, limited: limits.cpu=4,requests.cpu=1500m')).toEqual({
      reason: 'ExceedsQuota',
      message: 'one worker does not fit into the quota of tenant "acme": requests.cpu: one worker needs 2, the quota is 1500m (used 0); make spec.workers.resources smaller in a new BatchJob or ask for more quota',
      stalled: true,
    });
  });

  test('compares amounts of different units', () => {
    const verdict = (requested: string, limited: string) => read(`exceeded quota: q, requested: requests.memory=${requested}, used: requests.memory=0, limited: requests.memory=${limited}`).reason;
    expect(verdict('1Gi', '1024Mi')).toBe('WaitingForQuota');
    expect(verdict('1Gi', '1000M')).toBe('ExceedsQuota');
    expect(verdict('1e9', '1G')).toBe('WaitingForQuota');
    expect(verdict('nonsense', '1G')).toBe('WaitingForQuota');
  });

  test('waits while the quota is not counted yet', () => {
    expect(read('pods "digits-w0-0" is forbidden: status unknown for quota: millrace, resources: limits.cpu,limits.memory')).toMatchObject({ reason: 'WaitingForQuota', stalled: false });
  });

  test('of another kind is told in the words of the API server', () => {
    const message = 'pods "digits-w0-0" is forbidden: maximum cpu usage per Container is 4, but limit is 8';
    expect(read(message)).toEqual({ reason: 'PodRefused', message: `the API server refused Pod "digits-w0-0": ${message}`, stalled: true });
  });
});

describe('a pod that does not run', () => {
  const why = (...pods: ReturnType<typeof aWorkerPod>[]) => whyPending(pods.map((pod) => pod.build()), new Set(), NOW);

  test('is no trouble while it is just starting', () => {
    expect(why(aWorkerPod(0), aWorkerPod(1).on('n1').waiting('ContainerCreating'))).toBeUndefined();
  });

  test('tells why no node takes it', () => {
    expect(why(aWorkerPod(0).podCondition({ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/3 nodes are available: 3 Insufficient cpu.' })))
      .toMatchObject({ reason: 'Unschedulable', message: 'worker digits-w0-0: 0/3 nodes are available: 3 Insufficient cpu.', stalled: false });
  });

  test('waits for Kueue, which admits workers one by one', () => {
    const admitted = aWorkerPod(0).on('n1').running();
    expect(why(admitted, aWorkerPod(1).gated(), aWorkerPod(2).gated(false), aWorkerPod(3).on('n1').phase('Succeeded').ended(0), aWorkerPod(4).gated().beingDeleted()))
      .toMatchObject({ reason: 'WaitingForKueue', message: 'waiting for Kueue: 1 of 3 worker(s) admitted by queue team', stalled: false });
  });

  test('waits for a Kueue that takes no notice of it, and says so', () => {
    expect(why(aWorkerPod(0).gated(false), aWorkerPod(1).gated(false))?.message)
      .toBe('waiting for Kueue: 0 of 2 worker(s) admitted by queue team; Kueue has not marked them as its own: is it there, with its pod integration, and does it manage namespace acme?');
    expect(why(aWorkerPod(0).gated(false).unseen())?.message).toBe('waiting for Kueue: 0 of 1 worker(s) admitted by queue team');
  });

  test('tells other trouble before Kueue', () => {
    expect(why(aWorkerPod(0).gated(), aWorkerPod(1).on('n1').waiting('ErrImagePull'))?.reason).toBe('ImagePullFailed');
    expect(why(aWorkerPod(0).gated(), aWorkerPod(1).podCondition({ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '' }))?.reason).toBe('Unschedulable');
  });

  test.each(['ErrImagePull', 'ImagePullBackOff', 'InvalidImageName', 'ErrImageNeverPull'])('tells that its image cannot be pulled (%s)', (reason) => {
    expect(why(aWorkerPod(0).on('n1').waiting(reason, 'Back-off pulling image "x"'))).toMatchObject({ reason: 'ImagePullFailed', message: 'worker digits-w0-0: Back-off pulling image "x"', stalled: true });
  });

  test('does not make a job stall whose other workers run', () => {
    const pending = why(aWorkerPod(0).running(), aWorkerPod(1).on('n2', -1000).waiting('ErrImagePull'));
    expect(pending).toMatchObject({ reason: 'ImagePullFailed', stalled: false });
    expect(imagePullFailure(pending, 10)).toBeUndefined();
  });

  test('fails the job when its image cannot be pulled for too long, counted from when a node had it', () => {
    const after = (seconds: number) => imagePullFailure(why(aWorkerPod(0).born(-5000).on('n1', -seconds).waiting('ErrImagePull', 'not found')), 120);
    expect(after(119)).toBeUndefined();
    expect(after(120)).toEqual({ reason: 'ImagePullFailed', message: 'gave up after 120s: worker digits-w0-0: not found' });
  });

  test('is told when its node has had it for over a minute', () => {
    expect(why(aWorkerPod(0).on('n1', -61).waiting('ContainerCreating'))).toMatchObject({ reason: 'WorkerNotStarted', stalled: false });
  });

  test('is told when it crashes again and again before it does anything', () => {
    expect(why(aWorkerPod(0).running().waiting('CrashLoopBackOff').ended(1))?.message)
      .toBe('worker digits-w0-0 ended with exit code 1 and waits to be restarted, 1 restart(s) so far; "kubectl logs digits-w0-0 --previous" tells more');
    expect(why(aWorkerPod(0).running().waiting('CrashLoopBackOff').ended(137, { reason: 'OOMKilled' }))?.message).toContain('was killed at its memory limit');
  });

  test('is looked at again when it could have been a minute, and when the image deadline comes', () => {
    const check = (seconds: number) => pendingCheckMs([aWorkerPod(0).on('n1', -seconds).build()], new Set(), 120, NOW);
    expect([check(10), check(60), check(130)]).toEqual([50_000, 60_000, undefined]);
    expect(pendingCheckMs([aWorkerPod(0).running().build()], new Set(), 120, NOW)).toBeUndefined();
  });
});

describe('a permanent failure', () => {
  test.each(Object.entries(fatalExitCodes))('%s is read from exit code %i, with the sentence of the worker', (code, exit) => {
    const message = JSON.stringify({ code, message: 'spec.model.path: no such file' });
    expect(permanentFailure([aWorkerPod(0).running().ended(exit, { message }).build()])).toEqual({ reason: code, message: 'spec.model.path: no such file' });
  });

  test('is told by its exit code when the worker left no sentence', () => {
    for (const message of ['Segmentation fault', '{"message": 3}', 'null', '']) {
      expect(permanentFailure([aWorkerPod(0).phase('Failed').ended(68, { message }).build()])?.message).toBe('worker digits-w0-0 ended with exit code 68 (ModelInvalid)');
    }
  });

  test.each([0, 1, 75, 137, 139, 143])('exit code %i is none', (exit) => {
    expect(permanentFailure([aWorkerPod(0).phase('Failed').ended(exit).build()])).toBeUndefined();
  });

  test('a worker that was killed for its memory is named', () => {
    expect(outOfMemory([aWorkerPod(0).running().build(), aWorkerPod(1).running().ended(137, { reason: 'OOMKilled' }).build()])).toBe('digits-w1-0');
  });
});

describe('the deadline', () => {
  test('counts from the start', () => {
    const job = (started: number) => aBatchJob().with({ activeDeadlineSeconds: 60 }).status({ startTime: at(-started) }).build();
    expect(deadline(job(20), NOW)).toEqual({ inMs: 40_000 });
    expect(deadline(job(60), NOW).failure).toEqual({ reason: 'DeadlineExceeded', message: 'the job was not finished 60s after its start (spec.activeDeadlineSeconds)' });
  });

  test('does not run before the start, or without being set', () => {
    expect(deadline(aBatchJob().with({ activeDeadlineSeconds: 60 }).build(), NOW)).toEqual({});
    expect(deadline(aBatchJob().status({ startTime: at(-1e6) }).build(), NOW)).toEqual({});
  });
});

describe('the time to live', () => {
  test.each(['Complete', 'Failed'])('counts from when the job was %s', (type) => {
    const job = aBatchJob().with({ ttlSecondsAfterFinished: 30 }).condition(type, 'True', { lastTransitionTime: at(-10) }).build();
    expect([expiresInMs(job, NOW), expiresInMs(job, NOW + 20_000), expiresInMs(job, NOW + 90_000)]).toEqual([20_000, 0, 0]);
  });

  test('a job that is not finished, or has none set, is kept', () => {
    expect(expiresInMs(aBatchJob().with({ ttlSecondsAfterFinished: 0 }).condition('SuccessCriteriaMet').build(), NOW)).toBeUndefined();
    expect(expiresInMs(aBatchJob().condition('Complete').build(), NOW)).toBeUndefined();
  });
});
