import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../../kit/clock.ts';
import { EventRecorder } from '../../../operator/kube/events.ts';
import type { EventRecorderOptions } from '../../../operator/kube/events.ts';
import type { Stored } from '../../../operator/kube/object.ts';
import { FakeApiServer } from '../../support/fake-api-server.ts';
import { bareRegistry, clientOf, silentLog, until } from '../../support/kube.ts';

const path = '/apis/events.k8s.io/v1/namespaces/a/events';
const job = (uid = 'u'): Stored => ({
  apiVersion: 'millrace.dev/v1alpha1',
  kind: 'BatchJob',
  metadata: { namespace: 'a', name: 'j', uid, resourceVersion: '7' },
});
const text = (note: string) => ({ type: 'Normal', reason: 'Admitted', action: 'Admit', note }) as const;

let server: FakeApiServer;
let recorder: EventRecorder;
let registry = bareRegistry();

beforeEach(async () => {
  server = await FakeApiServer.start();
  registry = bareRegistry();
  recorder = make();
});
afterEach(async () => {
  recorder.close();
  await server.close();
});

function make(options: Partial<EventRecorderOptions> = {}): EventRecorder {
  return new EventRecorder({
    client: clientOf(server),
    clock: systemClock,
    log: silentLog,
    registry,
    controller: 'millrace.dev/operator',
    instance: 'millrace-0',
    seriesMs: 50,
    ...options,
  });
}

const stored = () => server.all(path);

it('writes an event that kubectl can show', async () => {
  recorder.record(job(), text('3 workers'));
  await until(() => stored().length === 1, 'it is written');
  expect(stored()[0]).toMatchObject({
    metadata: { namespace: 'a', name: expect.stringMatching(/^j\.[0-9a-f]{16}$/) },
    eventTime: expect.stringMatching(/\.\d{6}Z$/),
    reportingController: 'millrace.dev/operator',
    reportingInstance: 'millrace-0',
    regarding: { kind: 'BatchJob', name: 'j', uid: 'u' },
    type: 'Normal',
    note: '3 workers',
  });
  expect(stored()[0]).not.toHaveProperty('series');
});

it('counts repeats in one event, with a few writes', async () => {
  for (let turn = 0; turn < 500; turn += 1) recorder.record(job(), text('again'));
  await until(() => (stored()[0]?.['series'] as { count?: number } | undefined)?.count === 500, 'the count is written');
  expect(stored()).toHaveLength(1);
  expect(server.requests.length).toBeLessThanOrEqual(4);
});

it('keeps apart what differs in object, reason or note', async () => {
  recorder.record(job('u1'), text('one'));
  recorder.record(job('u2'), text('one'));
  recorder.record(job('u1'), text('two'));
  recorder.record(job('u1'), { ...text('one'), reason: 'Other' });
  await until(() => stored().length === 4, 'four are written');
});

it('cuts off an object that causes too many, and it alone', async () => {
  for (let index = 0; index < 100; index += 1) recorder.record(job('noisy'), text(`note ${index}`));
  recorder.record(job('calm'), text('hello'));
  expect(await recorder.flush(2_000)).toBe(true);
  expect(stored()).toHaveLength(26);
  expect(await registry.metrics()).toContain('millrace_events_dropped_total{cause="throttled"} 75');
});

it('shortens a note to what the API server takes', async () => {
  recorder.record(job(), text('ü'.repeat(2_000)));
  await until(() => stored().length === 1, 'it is written');
  expect([...String(stored()[0]?.['note'])]).toHaveLength(1024);
});

it('never throws, and goes on after refusals and expired events', async () => {
  recorder.record({} as Stored, text('broken'));
  server.fail(() => true, { code: 403, reason: 'Forbidden' });
  recorder.record(job(), text('refused'));
  await until(() => server.requests.length === 1, 'it was refused');
  recorder.record(job(), text('fine'));
  await until(() => stored().length === 1, 'the next is written');
  server.drop(`${path}/${stored()[0]?.metadata.name}`);
  await new Promise((resolve) => setTimeout(resolve, 60));
  recorder.record(job(), text('fine'));
  await until(() => stored().length === 1, 'it is written anew');
  expect(stored()[0]?.['series']).toMatchObject({ count: 2 });
});

it('flushes pending counts, and gives up when its time is over', async () => {
  recorder.close();
  recorder = make({ seriesMs: 60_000 });
  recorder.record(job(), text('again'));
  await until(() => stored().length === 1, 'it is written');
  recorder.record(job(), text('again'));
  recorder.record(job(), text('again'));
  expect(await recorder.flush(1_000)).toBe(true);
  expect(stored()[0]?.['series']).toMatchObject({ count: 3 });
  server.fail(() => true, 'hang', 10);
  recorder.record(job(), text('lost'));
  expect(await recorder.flush(50)).toBe(false);
});
