import { describe, expect, test } from 'vitest';
import type { BatchJobStatus } from '../../../operator/api/batchjob.gen.ts';
import { isTrue } from '../../../operator/api/conditions.ts';
import { parseBatchJob } from '../../../operator/api/parse.ts';
import type { Observed, StoredBatchJob } from '../../../operator/batchjob/observe.ts';
import { planBatchJob } from '../../../operator/batchjob/plan.ts';
import type { ChangeSet, PlannedEvent, Refusal } from '../../../operator/runtime/plan.ts';
import { aBatchJob, aClaim, aGrant, aLedger, aRunningLedger, at, aTenantView, aWorker, aWorkerPod, NOW, observed, someSettings, without } from '../../support/builders.ts';

interface Reconciled {
  create: string[];
  remove: string[];
  status: BatchJobStatus;
  events: string[];
  notes: string[];
  outcome: unknown;
}

/** One reconcile whose writes all succeed, but for what `answer` says. The status must fit the CRD. */
function reconcile(job: StoredBatchJob, seen: Observed, now = NOW, answer: Partial<ChangeSet> = {}): Reconciled {
  const plan = planBatchJob(job, seen, now);
  const create = plan.create.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
  const refused = new Set((answer.refused ?? []).map(({ kind, name }) => `${kind}/${name}`));
  const report = plan.report({ created: create.filter((name) => !refused.has(name)), configured: [], unchanged: [], removed: [], refused: [], ...answer });
  const status = (report.status ?? {}) as BatchJobStatus;
  const parsed = parseBatchJob({ ...job, status });
  expect(parsed.ok ? [] : parsed.problems).toEqual([]);
  return {
    create,
    remove: plan.remove.map(({ kind, name }) => `${kind}/${name}`),
    status,
    events: report.events.map(({ type, reason }: PlannedEvent) => `${type} ${reason}`),
    notes: report.events.map(({ note }) => note),
    outcome: report.outcome,
  };
}

/** The same job with the status that a reconcile gave it. */
const after = (job: StoredBatchJob, { status }: Reconciled): StoredBatchJob => ({ ...job, status });
const conditionOf = ({ status }: Reconciled, type: string) => status.conditions?.find((condition) => condition.type === type);
const types = ({ status }: Reconciled): string[] => (status.conditions ?? []).filter((condition) => condition.status === 'True').map(({ type }) => type);
const job = aBatchJob().build();
const pods = [aWorkerPod(0).on('n1').running().build(), aWorkerPod(1).on('n2').running().build()];

describe('a job whose workers Kueue admits', () => {
  const queued = aBatchJob().with({ queueName: 'team' });
  const gated = [aWorkerPod(0).gated().build(), aWorkerPod(1).gated().build()];

  test('has started when the first of them is admitted, not before', () => {
    const first = reconcile(queued.build(), observed());
    expect(first.create).toHaveLength(2);
    expect(first.status).not.toHaveProperty('startTime');
    const waits = reconcile(queued.build(), observed({ pods: gated }));
    expect(waits).toMatchObject({ create: [], remove: [], events: ['Warning WaitingForKueue'], status: { state: 'Pending', message: 'waiting for Kueue: 0 of 2 worker(s) admitted by queue team', replicas: 2 } });
    expect(waits.status).not.toHaveProperty('startTime');
    expect(conditionOf(waits, 'Reconciling')).toMatchObject({ reason: 'WaitingForKueue' });
    expect(reconcile(queued.build(), observed({ pods: [pods[0] as never, gated[1] as never] })).status).toMatchObject({ startTime: at(0) });
  });

  test('runs with those that are admitted, and says how many', () => {
    const ledger = aRunningLedger(1, 9, { workers: [aWorker(0, 0)] });
    expect(reconcile(queued.build(), observed({ pods: [pods[0] as never, gated[1] as never], ledger })).status)
      .toMatchObject({ state: 'Running', message: '1 of 2 worker(s) at work; waiting for Kueue: 1 of 2 worker(s) admitted by queue team' });
  });

  test('takes those back that wait while its tenant is cordoned, and those left when it is done or suspended', () => {
    const both = ['Pod/digits-w0-0', 'Pod/digits-w1-0'];
    expect(reconcile(queued.build(), observed({ pods: gated, tenant: aTenantView({ cordoned: true }) })).remove).toEqual(both);
    expect(reconcile(queued.build(), observed({ pods: gated, tenant: aTenantView({ ready: false }) })).remove).toEqual([]);
    expect(reconcile(aBatchJob().with({ queueName: 'team' }).suspended().build(), observed({ pods: gated })).remove).toEqual(both);
    expect(reconcile(queued.build(), observed({ pods: gated, ledger: aRunningLedger(9, 9, { phase: 'Finished' }) })).remove).toEqual(both);
  });
});

describe('a new job', () => {
  test('gets its workers, is Pending, and its start is noted', () => {
    const first = reconcile(job, observed());
    expect(first.create).toEqual(['Pod/digits-w0-0', 'Pod/digits-w1-0']);
    expect(first.status).toMatchObject({
      state: 'Pending', message: 'waiting for a worker to start', progress: '0%', tenant: 'acme', model: 'registry.example/digits:v3', replicas: 2,
      selector: 'millrace.dev/job-uid=job-uid', readyWorkers: '0/2', output: 'data/out/results.jsonl', errors: 'data/out/errors.jsonl',
      startTime: at(0), observedGeneration: 1, workers: [{ slot: 0, attempt: 0, state: 'Pending' }, { slot: 1, attempt: 0, state: 'Pending' }],
    });
    expect(first.events).toEqual(['Normal WorkersCreated']);
    expect(types(first)).toEqual(['Reconciling']);
  });

  test('gets as many as the scheduler grants, and none before its first word', () => {
    expect(reconcile(aBatchJob().workers(10).build(), observed({ grant: aGrant(3) })).create).toHaveLength(3);
    expect(reconcile(job, without(observed(), 'grant'))).toMatchObject({ create: [], status: { state: 'Pending' } });
    expect(reconcile(job, { ...without(observed(), 'grant'), pods })).toMatchObject({ create: [], remove: [] });
  });

  test('that the scheduler holds back tells why, where it stands and when it may start', () => {
    const grant = aGrant(0, { reason: 'WaitingForCapacity', message: 'waiting for room: needs 1 cpu; 3 ahead', position: 4, startEstimate: NOW + 60_000 });
    const waits = reconcile(job, observed({ grant }));
    expect(waits).toMatchObject({ create: [], events: ['Warning WaitingForCapacity'], status: { state: 'Pending', message: 'waiting for room: needs 1 cpu; 3 ahead', queuePosition: 4, startEstimate: at(60) } });
    expect(types(waits)).toEqual(['Reconciling']);
    expect(reconcile(after(job, waits), observed({ grant })).events).toEqual([]);
    const hopeless = reconcile(job, observed({ grant: aGrant(0, { reason: 'DependencyFailed', message: 'clean-input has failed' }) }));
    expect(types(hopeless)).toEqual(['Stalled']);
    expect(reconcile(after(job, waits), observed()).status).not.toHaveProperty('queuePosition');
  });

  test('gets no workers before this operator has its ledger', () => {
    expect(reconcile(job, without(observed(), 'ledger'))).toMatchObject({ create: [], status: { state: 'Pending' } });
  });

  test('gets one worker when a claim is ReadWriteOncePod, and says so', () => {
    const claims = new Map([['data', aClaim('ReadWriteOncePod')]]);
    const running = reconcile(job, observed({ claims, grant: aGrant(1), pods: pods.slice(0, 1), ledger: aRunningLedger(0, 9, { workers: [aWorker(0, 0)] }) }));
    expect(running.status.message).toBe('1 of 1 worker(s) at work; one worker only, because a volume claim is ReadWriteOncePod');
  });

  test('says when a claim keeps all workers on one node', () => {
    const claims = new Map([['data', aClaim('ReadWriteOnce')]]);
    expect(reconcile(job, observed({ claims, pods, ledger: aRunningLedger(0, 9, { workers: [aWorker(0, 0)] }) })).status.message)
      .toBe('1 of 2 worker(s) at work; all on one node, because a volume claim is ReadWriteOnce');
  });

  test('with inline input gets its copy first, and pods once the copy is its own', () => {
    const inline = aBatchJob().inline('{"id":1}').build();
    const first = reconcile(inline, observed({ inputCopy: { kind: 'ready', base64: 'eA==' } }));
    expect(first).toMatchObject({ create: ['ConfigMap/digits-input-copy'], outcome: { kind: 'requeue', afterMs: 500 }, status: { replicas: 0 } });
    expect(reconcile(inline, observed({ inputCopy: { kind: 'stored' } })).create).toEqual(['Pod/digits-w0-0', 'Pod/digits-w1-0']);
  });

  test('that is being deleted is left to the garbage collector', () => {
    expect(planBatchJob(aBatchJob().beingDeleted().build(), observed({ pods }), NOW)).toMatchObject({ create: [], remove: [] });
  });
});

describe('a status', () => {
  const running = aRunningLedger(1, 9, { workers: [aWorker(0, 0), aWorker(1, 0)] });
  const told = after(job, reconcile(job, observed({ pods, ledger: running })));
  const pressing = (of: StoredBatchJob, seen: Observed): boolean | undefined => planBatchJob(of, seen, NOW).report({ created: [], configured: [], unchanged: [], removed: [], refused: [] }).pressing;

  test('of which only progress changed may wait for its turn', () => {
    const later = aRunningLedger(2, 9, { workers: [aWorker(0, 0, { shard: 5, rate: 99 }), aWorker(1, 0, { state: 'Idle', heartbeatAgeMs: 60_000 })], rate: 100, etaSeconds: 7 });
    expect(reconcile(told, observed({ pods, ledger: later })).status).not.toEqual(told.status);
    expect(pressing(told, observed({ pods, ledger: later }))).toBe(false);
  });

  test('with another place in the queue may wait too', () => {
    const waits = (position: number) => observed({ grant: aGrant(0, { reason: 'WaitingForCapacity', message: `${position - 1} ahead`, position, startEstimate: NOW + position * 1_000 }) });
    expect(pressing(after(job, reconcile(job, waits(4))), waits(3))).toBe(false);
    expect(pressing(after(job, reconcile(job, waits(4))), observed())).toBe(true);
  });

  test('of another phase, with another worker or after a change of the spec is written at once', () => {
    expect(pressing(told, observed({ pods, ledger: aRunningLedger(9, 9, { phase: 'Finishing', workers: [aWorker(0, 0)] }) }))).toBe(true);
    expect(pressing(told, observed({ pods: [pods[0] as never, aWorkerPod(1, 1).on('n2').running().build()], ledger: running }))).toBe(true);
    expect(pressing({ ...told, metadata: { ...told.metadata, generation: 2 } }, observed({ pods, ledger: running }))).toBe(true);
  });

  test('that is the first one may wait for the scheduler’s word; one that tells a place in the queue stands until then', () => {
    expect(pressing(job, without(observed(), 'grant', 'ledger'))).toBe(false);
    const waits = after(job, reconcile(job, observed({ grant: aGrant(0, { reason: 'WaitingForCapacity', message: '3 ahead', position: 4 }) })));
    expect(planBatchJob(waits, without(observed(), 'grant', 'ledger'), NOW).report({ created: [], configured: [], unchanged: [], removed: [], refused: [] })).toEqual({ events: [], outcome: { kind: 'settled' } });
  });
});

describe('an obstacle', () => {
  const cordoned = observed({ tenant: aTenantView({ cordoned: true }) });

  test('keeps pods from being made and is the job\'s message, condition and one event', () => {
    const first = reconcile(job, cordoned);
    expect(first).toMatchObject({ create: [], events: ['Warning TenantCordoned'], status: { state: 'Pending' }, outcome: { kind: 'waiting', reason: 'TenantCordoned', afterMs: 300_000 } });
    expect(first.status.message).toContain('is cordoned');
    expect(conditionOf(first, 'Reconciling')).toMatchObject({ reason: 'TenantCordoned' });
    expect(first.status).not.toHaveProperty('startTime');
    expect(reconcile(after(job, first), cordoned, NOW + 60_000).events).toEqual([]);
  });

  test('that only a person can remove makes the job Stalled, until it is removed', () => {
    const missing = reconcile(job, observed({ claims: new Map() }));
    expect(types(missing)).toEqual(['Stalled']);
    expect(conditionOf(missing, 'Stalled')).toMatchObject({ reason: 'VolumeClaimNotFound' });
    const admitted = reconcile(after(job, missing), observed());
    expect(types(admitted)).toEqual(['Reconciling']);
    expect(admitted.create).toHaveLength(2);
  });

  test('does not touch workers that are at work', () => {
    const seen = observed({ pods, claims: new Map(), ledger: aRunningLedger(1, 9, { workers: [aWorker(0, 0)] }) });
    const working = reconcile(job, seen);
    expect(working).toMatchObject({ remove: [], status: { state: 'Running' } });
    expect(working.status.message).toMatch(/^1 of 2 worker\(s\) at work; spec.input.volume.claimName: /);
    expect(types(working)).toEqual(['Reconciling']);
  });

  test('of a tenant that goes stops the workers', () => {
    expect(reconcile(job, observed({ pods, tenant: aTenantView({ terminating: true }) })).remove).toEqual(['Pod/digits-w0-0', 'Pod/digits-w1-0']);
    expect(reconcile(job, without(observed({ pods }), 'tenant')).remove).toHaveLength(2);
  });
});

describe('a refused pod', () => {
  const refusal: Refusal = {
    kind: 'Pod', name: 'digits-w1-0', reason: 'Forbidden',
    message: 'exceeded quota: q, requested: limits.cpu=1, used: limits.cpu=4, limited: limits.cpu=4',
  };

  test('is waited for, told once, and the pods that were made count', () => {
    const first = reconcile(job, observed(), NOW, { refused: [refusal] });
    expect(first.status).toMatchObject({ replicas: 1, workers: [{ slot: 0, attempt: 0 }], message: 'waiting for quota of tenant "acme": a worker needs limits.cpu 1 (used 4 of 4)' });
    expect(first).toMatchObject({ events: ['Normal WorkersCreated', 'Warning WaitingForQuota'], outcome: { kind: 'waiting', reason: 'WaitingForQuota', afterMs: 5000 } });
    const again = reconcile(after(job, first), observed({ pods: pods.slice(0, 1), refusal }), NOW + 5000, { refused: [refusal] });
    expect(again).toMatchObject({ create: ['Pod/digits-w1-0'], events: [] });
  });

  test('is tried one at a time until one is accepted', () => {
    expect(reconcile(aBatchJob().workers(9).build(), observed({ refusal, ledger: aRunningLedger(0, 50) })).create).toEqual(['Pod/digits-w0-0']);
  });

  test('is forgotten when no more pods are wanted', () => {
    const settled = reconcile(job, observed({ pods, refusal }));
    expect(settled).toMatchObject({ create: [], events: [] });
    expect(settled.status.message).not.toContain('quota');
  });

  test('whose name is still taken is tried again shortly, without calling for help', () => {
    const taken = { ...refusal, reason: 'AlreadyExists', message: 'Pod acme/digits-w1-0 exists already and belongs to someone else' };
    const first = reconcile(job, observed(), NOW, { refused: [taken] });
    expect(first.outcome).toEqual({ kind: 'waiting', reason: 'NameTaken', afterMs: 500 });
    expect(types(first)).toEqual(['Reconciling']);
  });

  test('that turns out to exist already counts as made', () => {
    const first = reconcile(job, observed(), NOW, { created: [], unchanged: ['Pod/digits-w0-0', 'Pod/digits-w1-0'] });
    expect(first.status.replicas).toBe(2);
  });
});

describe('a running job', () => {
  const ledger = aRunningLedger(4, 9, { rate: 41.26, etaSeconds: 72, workers: [aWorker(0, 0, { shard: 4 }), aWorker(1, 0, { state: 'Idle', shard: undefined })], checkpointAgeMs: 2000 });
  const running = () => reconcile(job, observed({ pods, ledger }));

  test('tells progress, rate, time left, workers and ranges', () => {
    expect(running().status).toMatchObject({
      state: 'Running', progress: '44% (40/90)', rate: '41.3/s', eta: '1m12s', readyWorkers: '1/2', message: '1 of 2 worker(s) at work', lastCheckpointTime: at(-2),
      items: { total: 90, succeeded: 40, failed: 0 },
      shards: { total: 9, completed: '0-3', leased: 0, retried: 0, bytes: 900, files: 1, committed: { succeeded: 40, failed: 0, bytes: 400 } },
      workers: [{ slot: 0, attempt: 0, state: 'Working', shard: '4', rate: '10/s', heartbeatTime: at(0) }, { slot: 1, attempt: 0, state: 'Idle' }],
    });
  });

  test('tells what runs the model of each worker, also while a new leader has not heard of it', () => {
    const engine = { provider: 'cuda', device: 'NVIDIA H100', runtime: 'onnxruntime 1.30.0', node: '24.21.0', sessions: 1, threads: 8 } as const;
    const told = { provider: 'cuda', device: 'NVIDIA H100', runtime: 'onnxruntime 1.30.0' };
    const load = { itemsPerSecond: 10, cpuSeconds: 1, rssBytes: 1 };
    const first = reconcile(job, observed({ pods, ledger: aRunningLedger(4, 9, { workers: [aWorker(0, 0, { load: { ...load, engine } }), aWorker(1, 0)] }) }));
    expect(first.status.workers?.map((worker) => worker.engine)).toEqual([told, undefined]);
    const unheard = reconcile(after(job, first), observed({ pods, ledger: aRunningLedger(4, 9, { workers: [aWorker(0, 0), aWorker(1, 0)] }) }));
    expect(unheard.status.workers?.map((worker) => worker.engine)).toEqual([told, undefined]);
  });

  test('tells the plan in one event, not again after an interruption', () => {
    const first = running();
    expect(first.events).toEqual(['Normal Planned']);
    expect(first.notes).toEqual(['Found 90 items in 1 file(s), split into 9 shard(s)']);
    const pending = reconcile(after(job, first), observed({ ledger: aRunningLedger(4, 9) }));
    expect(pending.status.state).toBe('Pending');
    expect(reconcile(after(job, pending), observed({ pods, ledger })).events).toEqual([]);
  });

  test('writes the heartbeat of a quiet worker every ten seconds', () => {
    const first = after(job, running());
    expect(reconcile(first, observed({ pods, ledger }), NOW + 9000).status).toEqual(first.status);
    expect(reconcile(first, observed({ pods, ledger }), NOW + 10_000).status.workers?.[0]?.heartbeatTime).toBe(at(10));
  });

  test('names failed items and the first error', () => {
    const failing = aRunningLedger(4, 9, { items: { succeeded: 38, failed: 2, total: 90, exact: true }, workers: [aWorker(0, 0)] });
    const told = reconcile(job, observed({ pods, ledger: { ...failing, saved: { ...failing.saved, firstError: 'line 3: not JSON' } } }));
    expect(told.status).toMatchObject({ items: { failed: 2, firstError: 'line 3: not JSON' }, message: '1 of 2 worker(s) at work; 2 item(s) failed, see errors.jsonl, e.g. line 3: not JSON' });
  });

  test('keeps what was told when a new leader knows less at first', () => {
    const first = after(job, running());
    expect(reconcile(first, observed({ pods, ledger: aRunningLedger(3, 9) })).status).toMatchObject({ state: 'Running', progress: '44% (40/90)', items: { succeeded: 40 }, shards: { completed: '0-2' } });
    expect(reconcile(first, without(observed({ pods }), 'ledger')).status).toMatchObject({ progress: '44% (40/90)', items: { succeeded: 40 }, shards: { completed: '0-3' } });
  });

  test('remembers the attempt of a pod that is gone', () => {
    const first = after(job, running());
    const replaced = reconcile(first, observed({ pods: pods.slice(1), ledger, grant: aGrant(2) }));
    expect(replaced).toMatchObject({ create: ['Pod/digits-w0-1'], notes: ['Created 1 worker pod(s), in place of earlier ones: w0-1'] });
    const scaledDown = reconcile({ ...first, spec: { ...first.spec, workers: { ...first.spec.workers, max: 1 } } }, observed({ pods: pods.slice(0, 1), ledger, grant: aGrant(1) }));
    expect(scaledDown.status.workers).toMatchObject([{ slot: 0, attempt: 0 }, { slot: 1, attempt: 0, state: 'Gone' }]);
  });

  test('tells each warning of a worker once', () => {
    const warned = { ...ledger, progress: { ...ledger.progress, warnings: ['no CUDA, using CPU'] } };
    expect(reconcile(job, observed({ pods, ledger: warned })).notes).toContain('no CUDA, using CPU');
    expect(reconcile(job, observed({ pods, ledger: warned, toldWarnings: new Set(['no CUDA, using CPU']) })).events).toEqual(['Normal Planned']);
  });

  test('does not delete a pod that no cache has shown', () => {
    expect(reconcile(aBatchJob().workers(1).build(), observed({ pods: [pods[0]!, aWorkerPod(1).unseen().build()], ledger }))).toMatchObject({ remove: [], outcome: { afterMs: 30_000 } });
  });

  test('tells that its image cannot be pulled, and comes back when that is to fail it', () => {
    const stuck = aWorkerPod(0).on('n1', -100).waiting('ErrImagePull', 'not found').build();
    const told = reconcile(aBatchJob().workers(1).build(), observed({ pods: [stuck], grant: aGrant(1) }));
    expect(told).toMatchObject({ events: ['Warning ImagePullFailed'], status: { state: 'Pending', message: 'worker digits-w0-0: not found' } });
    expect(told.outcome).toEqual({ kind: 'requeue', afterMs: 20_000 });
    expect(types(told)).toEqual(['Stalled']);
  });
});

describe('success', () => {
  const finished = aRunningLedger(9, 9, { phase: 'Finished' });
  const started = aBatchJob().status({ startTime: at(-90) }).build();

  test('is decided first; Complete follows when every worker is terminal', () => {
    const decided = reconcile(started, observed({ pods, ledger: finished }));
    expect(decided).toMatchObject({ create: [], remove: [], status: { state: 'Finishing', message: 'results are written, waiting for the workers to exit' }, outcome: { kind: 'requeue', afterMs: 15_000 } });
    expect(types(decided)).toEqual(['Reconciling', 'SuccessCriteriaMet']);
    const oneLeft = reconcile(after(started, decided), observed({ pods: [aWorkerPod(0).phase('Succeeded').ended(0).build(), pods[1]!], ledger: finished }));
    expect(types(oneLeft)).toEqual(['Reconciling', 'SuccessCriteriaMet']);
    const exited = [0, 1].map((slot) => aWorkerPod(slot).phase('Succeeded').ended(0).build());
    const done = reconcile(after(started, oneLeft), observed({ pods: exited, ledger: finished }));
    expect(types(done)).toEqual(['Complete', 'SuccessCriteriaMet']);
    expect(done).toMatchObject({ remove: [], events: ['Normal Completed'], outcome: { kind: 'settled' } });
    expect(done.status).toMatchObject({ state: 'Complete', progress: '100% (90/90)', rate: '1/s', completionTime: at(0), replicas: 0, readyWorkers: '0/0', message: '90 result(s) in 1m30s' });
    expect(done.status).not.toHaveProperty('workers');
    // The ledger is forgotten then; nothing changes and nothing is told again.
    const rest = reconcile(after(started, done), without(observed({ pods: exited }), 'ledger'), NOW + 1e6);
    expect(rest).toEqual({ ...done, events: [], notes: [] });
  });

  test('lets workers that have not started go at once, and others after 15 s', () => {
    const [idle, busy] = [aWorkerPod(1).build(), pods[0]!];
    const decided = reconcile(started, observed({ pods: [busy, idle], ledger: finished }));
    expect(decided.remove).toEqual(['Pod/digits-w1-0']);
    expect(reconcile(after(started, decided), observed({ pods: [busy] }), NOW + 15_000).remove).toEqual(['Pod/digits-w0-0']);
  });

  test('does not wait for a pod that is being deleted on a lost node', () => {
    const lost = aWorkerPod(0).on('n1').running().beingDeleted().build();
    expect(reconcile(started, observed({ pods: [lost], ledger: finished, lostNodes: new Set(['n1']) })).status.state).toBe('Complete');
  });

  test('is final: a pod that comes back with its node is deleted, the job stays Complete', () => {
    const complete = after(started, reconcile(started, observed({ ledger: finished })));
    const back = reconcile(complete, observed({ pods, ledger: finished }), NOW + 60_000);
    expect(back).toMatchObject({ remove: ['Pod/digits-w0-0', 'Pod/digits-w1-0'], events: [], status: { state: 'Complete', completionTime: at(0) } });
  });

  test('stands against everything that comes later', () => {
    const decided = after(started, reconcile(started, observed({ pods, ledger: finished })));
    const later = { ...decided, spec: { ...decided.spec, suspend: true, activeDeadlineSeconds: 1 } };
    const failing = observed({ pods: [aWorkerPod(0).running().ended(68).build()], ledger: aLedger({ phase: 'Failed', failure: { reason: 'ShardFailed', message: 'x' } }) });
    expect(types(reconcile(later, failing))).toContain('SuccessCriteriaMet');
    expect(types(reconcile(later, without(observed(), 'ledger', 'tenant')))).toEqual(['Complete', 'SuccessCriteriaMet']);
  });
});

describe('failure', () => {
  const failed = aLedger({ phase: 'Failed', failure: { reason: 'TooManyFailedItems', message: '9 of 9 items failed' } });

  test('stops the workers; Failed follows when they are gone', () => {
    const decided = reconcile(job, observed({ pods, ledger: failed }));
    expect(decided).toMatchObject({ create: [], remove: ['Pod/digits-w0-0', 'Pod/digits-w1-0'], status: { state: 'Finishing', message: '9 of 9 items failed' } });
    expect(types(decided)).toEqual(['FailureTarget', 'Reconciling']);
    const gone = reconcile(after(job, decided), observed({ ledger: failed }));
    expect(types(gone)).toEqual(['Failed', 'FailureTarget', 'Stalled']);
    expect(gone).toMatchObject({ events: ['Warning TooManyFailedItems'], status: { state: 'Failed' }, outcome: { kind: 'settled' } });
    expect(gone.status).not.toHaveProperty('completionTime');
    expect(reconcile(after(job, gone), without(observed(), 'ledger'), NOW + 1e6)).toEqual({ ...gone, events: [], notes: [] });
  });

  test('stands when what caused it is gone', () => {
    const decided = after(job, reconcile(job, observed({ pods: [aWorkerPod(0).running().ended(68).build()] })));
    expect(conditionOf(reconcile(decided, observed()), 'Failed')).toMatchObject({ reason: 'ModelInvalid' });
  });

  test('at the deadline, but not while suspended', () => {
    const late = aBatchJob().with({ activeDeadlineSeconds: 10 }).status({ startTime: at(-10) });
    expect(conditionOf(reconcile(late.build(), observed()), 'FailureTarget')).toMatchObject({ reason: 'DeadlineExceeded' });
    expect(reconcile(late.suspended().build(), observed()).status.state).toBe('Suspended');
  });

  test('comes back at the deadline', () => {
    expect(reconcile(aBatchJob().with({ activeDeadlineSeconds: 10 }).status({ startTime: at(-4) }).build(), observed({ pods })).outcome).toEqual({ kind: 'requeue', afterMs: 6000 });
  });

  test('of a shard whose worker was killed at its memory limit is told as that', () => {
    const killed = observed({ pods: [aWorkerPod(0).running().ended(137, { reason: 'OOMKilled' }).build()], ledger: aLedger({ phase: 'Failed', failure: { reason: 'ShardFailed', message: 'shard 3 crashed' } }) });
    const limited = aBatchJob().with({ workers: { resources: { requests: { memory: '1Gi' } } } }).build();
    expect(conditionOf(reconcile(limited, killed), 'FailureTarget')).toMatchObject({ reason: 'OutOfMemory', message: expect.stringMatching(/^shard 3 crashed; worker digits-w0-0 was killed at its memory limit 1Gi: /) });
  });

  test('with a sentence that is too long is cut once, and reads the same ever after', () => {
    const long = observed({ ledger: aLedger({ phase: 'Failed', failure: { reason: 'ShardFailed', message: '😀'.repeat(2000) } }) });
    const first = reconcile(job, long);
    expect(first.status.message?.isWellFormed()).toBe(true);
    expect(reconcile(after(job, first), without(observed(), 'ledger')).status).toEqual(first.status);
  });

  test('when the image cannot be pulled for too long', () => {
    const stuck = aWorkerPod(0).on('n1', -someSettings.imagePullDeadlineSeconds).waiting('ErrImagePull', 'not found').build();
    const decided = reconcile(job, observed({ pods: [stuck] }));
    expect(conditionOf(decided, 'FailureTarget')).toMatchObject({ reason: 'ImagePullFailed' });
    expect(decided.remove).toEqual(['Pod/digits-w0-0']);
  });
});

describe('suspension', () => {
  const ledger = aRunningLedger(4, 9, { workers: [aWorker(0, 0)] });
  const started = aBatchJob().status({ startTime: at(-50), state: 'Running' });

  test('stops the workers, keeps the progress and clears the start', () => {
    const first = reconcile(started.suspended().build(), observed({ pods, ledger }));
    expect(first).toMatchObject({ create: [], remove: ['Pod/digits-w0-0', 'Pod/digits-w1-0'], outcome: { kind: 'settled' } });
    expect(first.status).toMatchObject({ state: 'Suspended', progress: '44% (40/90)', readyWorkers: '1/0', message: 'suspended (spec.suspend); the workers are closing their segments' });
    expect(first.status).not.toHaveProperty('startTime');
    expect(first.events).toContain('Normal Suspended');
    expect(types(first)).toEqual(['Suspended']);
    expect(conditionOf(first, 'Suspended')).toMatchObject({ reason: 'JobSuspended' });
  });

  test('of a new job makes no pods', () => {
    expect(reconcile(aBatchJob().suspended().build(), observed())).toMatchObject({ create: [], status: { state: 'Suspended', message: 'suspended (spec.suspend); finished work is kept' } });
  });

  test('asks for nothing: no obstacle is told', () => {
    expect(reconcile(aBatchJob().suspended().build(), observed({ claims: new Map() }))).toMatchObject({ outcome: { kind: 'settled' }, events: ['Normal Suspended'] });
  });

  test('ends with resume: next attempts, a new start, Suspended turns False', () => {
    const suspended = reconcile(started.suspended().build(), observed({ pods, ledger }));
    const resumed = reconcile(after(job, suspended), observed({ ledger }), NOW + 10_000);
    expect(resumed.create).toEqual(['Pod/digits-w0-1', 'Pod/digits-w1-1']);
    expect(resumed.status.startTime).toBe(at(10));
    expect(conditionOf(resumed, 'Suspended')).toMatchObject({ status: 'False', reason: 'JobResumed', lastTransitionTime: at(10) });
    expect(resumed.events).toContain('Normal Resumed');
  });
});

test('a job whose time to live is over is deleted, and nothing else is done', () => {
  const old = aBatchJob().with({ ttlSecondsAfterFinished: 5 }).condition('Complete', 'True', { lastTransitionTime: at(-5) }).build();
  const plan = planBatchJob(old, observed({ pods }), NOW);
  expect(plan.remove).toEqual([{ apiVersion: 'millrace.dev/v1alpha1', kind: 'BatchJob', namespace: 'acme', name: 'digits', uid: 'job-uid' }]);
  expect(plan.report({ created: [], configured: [], unchanged: [], removed: [], refused: [] }).status).toBeUndefined();
});

test('a finished job comes back when its time to live is over', () => {
  const fresh = aBatchJob().with({ ttlSecondsAfterFinished: 60 }).condition('Complete').condition('SuccessCriteriaMet').build();
  const { outcome, status } = reconcile(fresh, observed(), NOW + 20_000);
  expect(outcome).toEqual({ kind: 'requeue', afterMs: 40_000 });
  expect(isTrue(status.conditions, 'Complete')).toBe(true);
});

test.each([['.', 'data/results.jsonl'], ['./', 'data/results.jsonl'], ['out/', 'data/out/results.jsonl'], ['./a//b/', 'data/a/b/results.jsonl']])('output path %s is shown as %s', (path, shown) => {
  expect(reconcile(aBatchJob().with({ output: { volume: { path } } }).build(), observed()).status.output).toBe(shown);
});
