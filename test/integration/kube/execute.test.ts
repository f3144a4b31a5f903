import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isConflict } from '../../../operator/kube/errors.ts';
import type { Stored } from '../../../operator/kube/object.ts';
import { execute } from '../../../operator/runtime/execute.ts';
import type { ExecuteContext } from '../../../operator/runtime/execute.ts';
import type { Plan } from '../../../operator/runtime/plan.ts';
import { FakeApiServer } from '../../support/fake-api-server.ts';
import { aConfigMap, aPlan, contextOf } from '../../support/plans.ts';
import type { RecordedEvents } from '../../support/plans.ts';

const jobs = '/apis/millrace.dev/v1alpha1/namespaces/a/batchjobs';
const configMaps = '/api/v1/namespaces/a/configmaps';
const signal = new AbortController().signal;
const event = { type: 'Normal', reason: 'Admitted', action: 'Admit', note: 'go' } as const;

let server: FakeApiServer;
let ctx: ExecuteContext & { recorder: RecordedEvents };
let job: Stored;

beforeEach(async () => {
  server = await FakeApiServer.start();
  ctx = contextOf(server, {
    observed: (object) => server.read(`${configMaps}/${object.metadata.name}`) as Stored | undefined,
  });
  job = structuredClone(server.put(jobs, { kind: 'BatchJob', metadata: { name: 'j' }, spec: {} })) as Stored;
});
afterEach(async () => {
  await server.close();
});

const run = (plan: Plan) => execute(ctx, job, plan, signal);
const writes = (): string[] =>
  server.requests
    .filter(({ method }) => method !== 'GET')
    .map(({ method, path }) => `${method} ${path.split('/').slice(-2).join('/')}`);

describe('a status that is not pressing', () => {
  const progress = (status: object): Plan => aPlan({ report: () => ({ status, pressing: false, events: [], outcome: { kind: 'settled' } }) });

  it('is written when it has its turn, and left for later when not', async () => {
    ctx.turn = () => false;
    expect(await run(progress({ progress: '1%' }))).toMatchObject({ object: { metadata: { resourceVersion: job.metadata.resourceVersion } }, outcome: { kind: 'settled' } });
    expect(writes()).toEqual([]);
    ctx.turn = () => true;
    await run(progress({ progress: '2%' }));
    expect(writes()).toEqual(['PATCH j/status']);
  });

  it('takes no turn when nothing changed', async () => {
    let asked = 0;
    ctx.turn = () => ++asked > 0;
    job = { ...job, status: { progress: '1%' } } as Stored;
    await run(progress({ progress: '1%' }));
    expect([asked, writes()]).toEqual([0, []]);
  });

  it('does not hold up one that is', async () => {
    ctx.turn = () => false;
    await run(aPlan({ report: () => ({ status: { state: 'Running' }, events: [event], outcome: { kind: 'settled' } }) }));
    expect(writes()).toEqual(['PATCH j/status']);
  });
});

it('tells of a POST when it goes out', async () => {
  const told: string[] = [];
  ctx.posting = ({ metadata }) => told.push(`${metadata.name} after ${writes().length} write(s)`);
  await run(aPlan({ create: [aConfigMap('new', {})] }));
  expect(told).toEqual(['new after 0 write(s)']);
});

describe('order', () => {
  it('is finalizer, apply, create, remove, status, events, and at last the other finalizer', async () => {
    const old = server.put(configMaps, { kind: 'ConfigMap', metadata: { name: 'old' } });
    const { changes } = await run(
      aPlan({
        finalizer: { add: 'millrace.dev/x' },
        apply: [aConfigMap('applied', { k: '1' })],
        create: [aConfigMap('created', {}, { name: 'j', uid: job.metadata.uid })],
        remove: [{ apiVersion: 'v1', kind: 'ConfigMap', namespace: 'a', name: 'old', uid: old.metadata.uid }],
        report: (done) => {
          expect(done).toMatchObject({
            created: ['ConfigMap/applied', 'ConfigMap/created'],
            removed: ['ConfigMap/old'],
          });
          return { status: { state: 'Running' }, events: [event], outcome: { kind: 'settled' } };
        },
      }),
    );
    expect(writes()).toEqual([
      'PATCH batchjobs/j',
      'PATCH configmaps/applied',
      'POST a/configmaps',
      'DELETE configmaps/old',
      'PATCH j/status',
    ]);
    expect(changes.configured).toEqual(['BatchJob/j/status']);
    expect(ctx.recorder.texts).toEqual([event]);
    expect(server.read(`${jobs}/j`)).toMatchObject({
      metadata: { finalizers: ['millrace.dev/x'] },
      status: { state: 'Running' },
    });
  });

  it('stops at the first error that is no refusal, and then writes no status and no event', async () => {
    server.fail(({ path }) => path.endsWith('/second'), { code: 500, reason: 'InternalError' });
    const plan = aPlan({
      apply: ['first', 'second', 'third'].map((name) => aConfigMap(name, {})),
      report: { status: { state: 'Running' }, events: [event] },
    });
    await expect(run(plan)).rejects.toThrow('InternalError');
    expect(writes()).toEqual(['PATCH configmaps/first', 'PATCH configmaps/second']);
    expect(ctx.recorder.texts).toEqual([]);
  });

  it('writes nothing once the leadership has ended, even before its signal is seen', async () => {
    const plan = aPlan({ apply: [aConfigMap('x', {})] });
    ctx.held = () => false;
    await expect(run(plan)).rejects.toThrow('NotLeader');
    delete ctx.held;
    await expect(execute(ctx, job, plan, AbortSignal.abort(new Error('stopped')))).rejects.toThrow('stopped');
    expect(writes()).toEqual([]);
  });
});

describe('apply', () => {
  const plan = (data: Record<string, string>): Plan => aPlan({ apply: [aConfigMap('x', data)] });

  it('asks the server once for what does not change', async () => {
    expect((await run(plan({ k: '1' }))).changes.created).toEqual(['ConfigMap/x']);
    expect((await run(plan({ k: '1' }))).changes.unchanged).toEqual(['ConfigMap/x']);
    expect(writes()).toHaveLength(1);
  });

  it('leaves the fields of others alone without asking, and mends its own', async () => {
    await run(plan({ k: '1' }));
    server.put(configMaps, { kind: 'ConfigMap', metadata: { name: 'x' }, data: { k: '1', theirs: 'yes' } });
    expect((await run(plan({ k: '1' }))).changes.unchanged).toEqual(['ConfigMap/x']);
    server.put(configMaps, { kind: 'ConfigMap', metadata: { name: 'x' }, data: { k: 'broken', theirs: 'yes' } });
    expect((await run(plan({ k: '1' }))).changes.configured).toEqual(['ConfigMap/x']);
    expect(server.read(`${configMaps}/x`)?.['data']).toEqual({ k: '1', theirs: 'yes' });
    expect(writes()).toHaveLength(2);
  });

  it('takes back a field that it no longer states', async () => {
    await run(plan({ k: '1', gone: '1' }));
    expect((await run(plan({ k: '1' }))).changes.configured).toEqual(['ConfigMap/x']);
    expect(server.read(`${configMaps}/x`)?.['data']).toEqual({ k: '1' });
  });

  it('takes back such a field after a restart too, when nothing is remembered', async () => {
    await run(plan({ k: '1', gone: '1' }));
    ctx = contextOf(server, { observed: ctx.observed as never });
    await run(plan({ k: '1' }));
    expect(server.read(`${configMaps}/x`)?.['data']).toEqual({ k: '1' });
    expect((await run(plan({ k: '1' }))).changes.unchanged).toEqual(['ConfigMap/x']);
  });

  it('applies to a successor of the same name', async () => {
    await run(plan({ k: '1' }));
    server.drop(`${configMaps}/x`);
    server.put(configMaps, { kind: 'ConfigMap', metadata: { name: 'x' }, data: { k: '1' } });
    await run(plan({ k: '1' }));
    expect(writes()).toHaveLength(2);
  });

  it('collects refusals and goes on', async () => {
    server.fail(({ path }) => path.endsWith('/bad'), { code: 422, reason: 'Invalid', message: 'spec.x: wrong' });
    const { changes } = await run(aPlan({ apply: [aConfigMap('bad', {}), aConfigMap('good', {})] }));
    expect(changes.refused).toEqual([{ kind: 'ConfigMap', name: 'bad', reason: 'Invalid', message: 'spec.x: wrong' }]);
    expect(changes.created).toEqual(['ConfigMap/good']);
  });
});

describe('create', () => {
  const mine = (name: string) => aConfigMap(name, {}, { name: 'j', uid: job.metadata.uid });

  it('counts its own earlier create as done', async () => {
    const plan = aPlan({ create: [mine('x')] });
    expect((await run(plan)).changes.created).toEqual(['ConfigMap/x']);
    expect((await run(plan)).changes.unchanged).toEqual(['ConfigMap/x']);
  });

  it('refuses an object of someone else, and one that is still being deleted', async () => {
    server.put(configMaps, { kind: 'ConfigMap', metadata: { name: 'foreign' } });
    const leaving = mine('leaving');
    const metadata = { ...leaving.metadata, finalizers: ['x'], deletionTimestamp: '2026-01-01T00:00:00Z' };
    server.put(configMaps, { kind: 'ConfigMap', metadata });
    const { changes } = await run(aPlan({ create: [mine('foreign'), mine('leaving')] }));
    expect(changes.refused).toEqual([
      {
        kind: 'ConfigMap',
        name: 'foreign',
        reason: 'AlreadyExists',
        message: expect.stringContaining('belongs to someone else'),
      },
      {
        kind: 'ConfigMap',
        name: 'leaving',
        reason: 'AlreadyExists',
        message: expect.stringContaining('still being deleted'),
      },
    ]);
  });

  it('asks no more once the quota is full', async () => {
    let room = 3;
    server.admit = ({ method }) => {
      room -= method === 'POST' ? 1 : 0;
      if (room < 0)
        throw FakeApiServer.refusal(
          403,
          'Forbidden',
          'exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3',
        );
    };
    const { changes, outcome } = await run(
      aPlan({
        create: Array.from({ length: 100 }, (_, index) => mine(`p${index}`)),
        report: ({ refused }) => ({
          events: [],
          outcome: { kind: 'waiting', reason: refused[0]?.reason ?? '', afterMs: 1 },
        }),
      }),
    );
    expect(changes.created).toHaveLength(3);
    expect(changes.refused[0]?.message).toContain('exceeded quota');
    expect(outcome).toMatchObject({ kind: 'waiting', reason: 'Forbidden' });
    expect(server.count(({ method }) => method === 'POST')).toBeLessThan(20);
  });
});

describe('remove', () => {
  it('takes absence, and another UID, for success', async () => {
    server.put(configMaps, { kind: 'ConfigMap', metadata: { name: 'other' } });
    const removal = (name: string) => ({ apiVersion: 'v1', kind: 'ConfigMap', namespace: 'a', name, uid: 'u' });
    const { changes } = await run(aPlan({ remove: [removal('none'), removal('other')] }));
    expect(changes).toMatchObject({ removed: [], refused: [] });
    expect(server.read(`${configMaps}/other`)).toBeDefined();
  });
});

describe('status', () => {
  const plan = (status: object): Plan => aPlan({ report: { status, events: [event] } });

  it('is not written when it says what is stored', async () => {
    await run(plan({ state: 'Running', message: undefined }));
    job = server.read(`${jobs}/j`) as Stored;
    await run(plan({ state: 'Running' }));
    expect(writes()).toHaveLength(1);
    expect(server.requests[0]?.query.get('fieldManager')).toBe('millrace-status');
  });

  it('loses the fields that are no longer told', async () => {
    await run(plan({ state: 'Running', eta: '2s' }));
    job = server.read(`${jobs}/j`) as Stored;
    await run(plan({ state: 'Complete' }));
    expect(server.read(`${jobs}/j`)?.['status']).toEqual({ state: 'Complete' });
  });

  it('of a deleted object is not put on its successor', async () => {
    server.drop(`${jobs}/j`);
    server.put(jobs, { kind: 'BatchJob', metadata: { name: 'j' }, spec: {} });
    await expect(run(plan({ state: 'Running' }))).rejects.toSatisfy(isConflict);
    expect(server.read(`${jobs}/j`)).not.toHaveProperty('status');
    expect(ctx.recorder.texts).toEqual([]);
  });

  it('of a vanished object is dropped with its events, quietly', async () => {
    server.drop(`${jobs}/j`);
    expect((await run(plan({ state: 'Running' }))).outcome).toEqual({ kind: 'settled' });
    expect(ctx.recorder.texts).toEqual([]);
  });
});

describe('finalizer', () => {
  it('is taken off even though the status write before it made a new version', async () => {
    job = server.put(jobs, {
      kind: 'BatchJob',
      metadata: { name: 'j', finalizers: ['other', 'millrace.dev/x'] },
    }) as Stored;
    await run(aPlan({ finalizer: { remove: 'millrace.dev/x' }, report: { status: { state: 'Deleting' } } }));
    expect(server.read(`${jobs}/j`)?.metadata.finalizers).toEqual(['other']);
  });

  it('stays when something was refused, or failed', async () => {
    job = server.put(jobs, { kind: 'BatchJob', metadata: { name: 'j', finalizers: ['millrace.dev/x'] } }) as Stored;
    server.fail(({ path }) => path.endsWith('/bad'), { code: 403, reason: 'Forbidden' });
    await run(aPlan({ finalizer: { remove: 'millrace.dev/x' }, apply: [aConfigMap('bad', {})] }));
    expect(server.read(`${jobs}/j`)?.metadata.finalizers).toEqual(['millrace.dev/x']);
  });

  it('meets a conflict, not an error, when someone else changed the object', async () => {
    const stale = structuredClone(job);
    server.put(jobs, { kind: 'BatchJob', metadata: { name: 'j', finalizers: ['theirs'] } });
    job = stale;
    await expect(run(aPlan({ finalizer: { add: 'millrace.dev/x' } }))).rejects.toSatisfy(isConflict);
    expect(server.read(`${jobs}/j`)?.metadata.finalizers).toEqual(['theirs']);
  });

  it('is not put on an object that is being deleted', async () => {
    job = server.put(jobs, {
      kind: 'BatchJob',
      metadata: { name: 'j', finalizers: ['other'], deletionTimestamp: '2026-01-01T00:00:00Z' },
    }) as Stored;
    await run(aPlan({ finalizer: { add: 'millrace.dev/x' } }));
    expect(writes()).toEqual([]);
  });
});
