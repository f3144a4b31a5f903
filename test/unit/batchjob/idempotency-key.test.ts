import { describe, expect, test } from 'vitest';
import type { BatchJobSpec, BatchJobStatus } from '../../../operator/api/batchjob.gen.ts';
import { parseBatchJob } from '../../../operator/api/parse.ts';
import { keyIndex, keyRole } from '../../../operator/batchjob/idempotency-key.ts';
import type { StoredBatchJob } from '../../../operator/batchjob/observe.ts';
import { type JobPlan, planBatchJob } from '../../../operator/batchjob/plan.ts';
import { specDifferences } from '../../../operator/batchjob/spec-differences.ts';
import type { PlannedEvent } from '../../../operator/runtime/plan.ts';
import { aBatchJob, at, type BatchJobBuilder, NOW, observed } from '../../support/builders.ts';

const HOUR = 3600;
/** A job `name` with the key "nightly", made that long before now. */
const keyed = (name: string, seconds = -60): BatchJobBuilder => aBatchJob().named(name).numbered(`uid-${name}`, seconds).with({ idempotencyKey: 'nightly' });
const claimed = (name: string, seconds = -60): BatchJobBuilder => keyed(name, seconds).condition('Duplicate', 'False');
const roles = (...jobs: BatchJobBuilder[]): Record<string, string | undefined> => {
  const built = jobs.map((job) => job.build());
  return Object.fromEntries(built.map((job) => {
    const role = keyRole(job, built, new Set());
    return [job.metadata.name, role && (role.kind === 'first' ? 'first' : `${role.kind} ${role.of.metadata.name}`)];
  }));
};
const roleOf = (job: StoredBatchJob, ...others: StoredBatchJob[]) => keyRole(job, [job, ...others], new Set());

describe('the key is of', () => {
  test('the job that was made first, and of the first by name of those of one second', () => {
    expect(roles(keyed('b'), keyed('a', -30), keyed('c'))).toEqual({ b: 'first', a: 'undecided b', c: 'undecided b' });
  });

  test('a job that has a claim, whatever comes to light later', () => {
    expect(roles(claimed('b'), keyed('a'), keyed('c', -90))).toEqual({ b: 'first', a: 'duplicate b', c: 'duplicate b' });
  });

  test('a job that was given it a moment ago, before its status says so', () => {
    const [b, a] = [keyed('b').build(), keyed('a').build()];
    expect(keyRole(a, [a, b], new Set(['uid-b']))).toMatchObject({ kind: 'duplicate' });
    expect(keyRole(b, [a, b], new Set(['uid-b']))).toEqual({ kind: 'first', recorded: false, awaited: true });
  });

  test('the earlier one of two with a claim', () => {
    expect(roles(claimed('b'), claimed('a'))).toEqual({ a: 'first', b: 'duplicate a' });
  });

  test('each in turn, for 24 hours from its creation', () => {
    expect(roles(claimed('old', -30 * HOUR), keyed('soon', -7 * HOUR), keyed('late', -6 * HOUR), keyed('later', -5 * HOUR)))
      .toEqual({ old: 'first', soon: 'duplicate old', late: 'first', later: 'undecided late' });
  });

  test('the next one that is made after its job failed; those that were there before share the failure', () => {
    const failed = claimed('failed', -100).condition('Failed', 'True', { lastTransitionTime: at(-50) });
    expect(roles(failed, keyed('before', -51), keyed('retry', -50), keyed('again', -49))).toEqual({ failed: 'first', before: 'duplicate failed', retry: 'first', again: 'undecided retry' });
  });

  test('nobody who is over or going without having had it', () => {
    expect(roles(keyed('gone').beingDeleted(), keyed('over').condition('Complete'), keyed('z'))).toEqual({ gone: undefined, over: undefined, z: 'first' });
  });

  test('the next one, once its job is gone', () => {
    expect(roles(keyed('b').condition('Duplicate', 'True'), keyed('c').condition('Duplicate', 'True'))).toEqual({ b: 'first', c: 'undecided b' });
  });

  test('one namespace and one controller', () => {
    expect(keyIndex(keyed('a').build())).toEqual(['acme/nightly']);
    expect(keyIndex(keyed('a').with({ managedBy: 'example.com/other' }).build())).toEqual([]);
    expect(keyIndex(aBatchJob().build())).toEqual([]);
  });
});

describe('the spec is another one', () => {
  const base = aBatchJob().build().spec;
  const other = (patch: object): BatchJobSpec => aBatchJob().with(patch).build().spec;
  test.each<[string, object, string[]]>([
    ['by model, input or output', { model: { path: 'b.onnx' }, input: { volume: { path: 'b.jsonl' } }, output: { volume: { path: 'b' } } }, ['spec.input.volume.path', 'spec.model.path', 'spec.output.volume.path']],
    ['by another kind of input', { input: { volume: undefined, inline: 'x' } }, ['spec.input.inline', 'spec.input.volume']],
    ['by sharding, batching, accelerator or resources', { sharding: { targetBytes: '4Mi' }, batching: { maxSize: 1 }, workers: { accelerator: 'cpu', resources: { limits: { cpu: 1 } } } }, ['spec.batching.maxSize', 'spec.sharding.targetBytes', 'spec.workers.accelerator', 'spec.workers.resources']],
    ['not by what may be changed on a job', { workers: { min: 2, max: 9, nodeSelector: { a: 'b' } }, suspend: true, priority: 9, retry: { perShard: 1 }, ttlSecondsAfterFinished: 1, deadline: at(1), dependsOn: ['x'] }, []],
  ])('%s', (_by, patch, differences) => expect(specDifferences(base, other(patch))).toEqual(differences));

  test('but not by the way in which a quantity is written', () => {
    const [one, same, more] = ['500m', '0.5', '0.6'].map((cpu) => other({ workers: { resources: { limits: { cpu } } }, sharding: { targetBytes: cpu === '500m' ? '8Mi' : 8_388_608 } }));
    expect(specDifferences(one as BatchJobSpec, same as BatchJobSpec)).toEqual([]);
    expect(specDifferences(one as BatchJobSpec, more as BatchJobSpec)).toEqual(['spec.workers.resources.limits.cpu']);
  });
});

describe('a job with a key', () => {
  const carryOut = (done: JobPlan): { status: BatchJobStatus; events: PlannedEvent[] } => {
    const created = done.create.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
    const { status, events } = done.report({ created, configured: [], unchanged: [], removed: [], refused: [] });
    const parsed = parseBatchJob({ ...keyed('any').build(), status });
    expect(parsed.ok ? [] : parsed.problems).toEqual([]);
    return { status: status as BatchJobStatus, events };
  };
  const plan = (job: StoredBatchJob, ...others: StoredBatchJob[]) => {
    const role = roleOf(job, ...others);
    return planBatchJob(job, observed({ ...(role && { keyRole: role }) }), NOW);
  };
  const done = claimed('one').status({ state: 'Complete', progress: '100% (5/5)', items: { total: 5, succeeded: 4, failed: 1, firstError: 'line 3: bad' }, output: 'data/out/results.jsonl' }).condition('Complete');

  test('is recorded as the first before it gets workers', () => {
    const first = plan(keyed('one').build());
    expect(first.create).toEqual([]);
    const { status } = carryOut(first);
    expect(status).toMatchObject({ conditions: expect.arrayContaining([expect.objectContaining({ type: 'Duplicate', status: 'False', reason: 'FirstWithKey' })]) });
    expect(plan(keyed('one').status(status).build()).create).toHaveLength(2);
  });

  test('waits for the first one, says how far that is, and asks for nothing', () => {
    const one = claimed('one').status({ state: 'Running', items: { total: 90, succeeded: 50, failed: 7 } }).build();
    const waits = plan(keyed('two', -30).build(), one);
    expect(waits.create).toEqual([]);
    expect(waits.demand).toBeUndefined();
    const { status, events } = carryOut(waits);
    expect(status).toMatchObject({ state: 'Pending', message: 'same as one, which is Running, over 60% done', duplicateOf: { name: 'one', uid: 'uid-one' }, replicas: 0, readyWorkers: '0/0' });
    expect(status.conditions).toEqual(expect.arrayContaining([expect.objectContaining({ type: 'Duplicate', status: 'True' }), expect.objectContaining({ type: 'Reconciling', reason: 'Duplicate' })]));
    expect(events).toEqual([expect.objectContaining({ type: 'Normal', reason: 'Duplicate' })]);
  });

  test('has the results of the first one once that is complete, and keeps them when that is gone', () => {
    const { status, events } = carryOut(plan(keyed('two', -30).build(), done.build()));
    expect(status).toMatchObject({
      state: 'Complete', progress: '100% (5/5)', items: { total: 5, succeeded: 4, failed: 1 }, output: 'data/out/results.jsonl', errors: 'data/out/errors.jsonl', duplicateOf: { name: 'one' },
      message: 'same as one, which has 4 result(s); 1 item(s) failed, see errors.jsonl, e.g. line 3: bad', completionTime: at(0),
    });
    expect(status).not.toHaveProperty('startTime');
    expect(events).toEqual([expect.objectContaining({ reason: 'Completed' })]);
    const two = keyed('two', -30).status(status).build();
    expect(carryOut(plan(two))).toMatchObject({ status, events: [] });
    expect(carryOut(plan(two, done.build()))).toMatchObject({ status, events: [] });
  });

  test('fails as the first one failed', () => {
    const failed = claimed('one').condition('Failed', 'True', { reason: 'ModelInvalid', message: 'no ONNX', lastTransitionTime: at(-1) }).build();
    const { status } = carryOut(plan(keyed('two', -30).build(), failed));
    expect(status).toMatchObject({ state: 'Failed', message: 'same as one, which failed: no ONNX' });
    expect(status.conditions).toEqual(expect.arrayContaining([expect.objectContaining({ type: 'Failed', reason: 'ModelInvalid' })]));
  });

  test('is refused with another spec, and says in what', () => {
    const { status } = carryOut(plan(keyed('two', -30).with({ input: { volume: { path: 'other.jsonl' } } }).build(), claimed('one').build()));
    expect(status).toMatchObject({
      state: 'Failed',
      message: `spec.idempotencyKey: "nightly" belongs until ${at(-60 + 24 * HOUR)} to BatchJob one, which has another spec.input.volume.path; create a BatchJob with another key, or with the same values`,
    });
    expect(status.conditions).toEqual(expect.arrayContaining([expect.objectContaining({ type: 'Failed', reason: 'IdempotencyKeyReused' })]));
  });

  test('is not judged by one that is not known to be first yet', () => {
    const { status } = carryOut(plan(keyed('two', -30).with({ input: { volume: { path: 'other.jsonl' } } }).build(), keyed('one').build()));
    expect(status).toMatchObject({ state: 'Pending', message: 'waiting for one, which came first with the same spec.idempotencyKey' });
  });

  test('stays beyond its time to live until those that wait for it have its end', () => {
    const one = done.with({ ttlSecondsAfterFinished: 0 }).build();
    expect(plan(one, keyed('two', -30).build()).remove).toEqual([]);
    expect(plan(one, keyed('two', -30).condition('Complete').build()).remove).toHaveLength(1);
  });
});
