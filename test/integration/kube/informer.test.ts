import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../kit/clock.ts';
import type { KubeClient } from '../../../operator/kube/client.ts';
import { Informer } from '../../../operator/kube/informer.ts';
import { kinds } from '../../../operator/kube/kinds.ts';
import type { KubeObject } from '../../../operator/kube/object.ts';
import { FakeApiServer } from '../../support/fake-api-server.ts';
import { bareRegistry, clientOf, quickTimings, silentLog, until } from '../../support/kube.ts';

const path = '/api/v1/namespaces/a/pods';
const pod = (name: string, phase = 'Pending') => ({
  kind: 'Pod',
  metadata: { name, labels: { job: 'j' }, managedFields: [{ manager: 'm' }] },
  status: { phase },
});

interface Pod extends KubeObject {
  status?: { phase?: string };
}

let server: FakeApiServer;
let client: KubeClient;
let stop: AbortController;
let running: Promise<void>[];

beforeEach(async () => {
  server = await FakeApiServer.start();
  client = clientOf(server);
  stop = new AbortController();
  running = [];
});
afterEach(async () => {
  stop.abort();
  await Promise.all(running);
  await client.close();
  await server.close();
});

function started(): { informer: Informer<Pod>; seen: string[] } {
  const informer = new Informer<Pod>({
    client,
    kind: kinds.Pod,
    clock: systemClock,
    log: silentLog,
    registry: bareRegistry(),
    timings: quickTimings,
    indexes: { job: (object) => [object.metadata.labels?.['job'] ?? ''] },
  });
  const seen: string[] = [];
  informer.onChange(({ type, object }) => seen.push(`${type} ${object.metadata.name}`));
  running.push(informer.run(stop.signal));
  return { informer, seen };
}

const names = (informer: Informer<Pod>): string[] =>
  informer.store
    .list()
    .map((object) => object.metadata.name)
    .sort();
const matches = (informer: Informer<Pod>): boolean =>
  JSON.stringify(names(informer)) ===
  JSON.stringify(
    server
      .all(path)
      .map((object) => object.metadata.name)
      .sort(),
  );

describe('in good times', () => {
  it('has everything, told to its handlers, when it says that it is synced', async () => {
    for (let index = 0; index < 5; index += 1) server.put(path, pod(`p${index}`));
    server.pageLimit = 2;
    const { informer, seen } = started();
    expect(informer.hasSynced).toBe(false);
    await informer.synced;
    expect(seen).toHaveLength(5);
    expect(informer.store.byIndex('job', 'j')).toHaveLength(5);
    const late: string[] = [];
    informer.onChange(({ object }) => late.push(object.metadata.name));
    expect(late).toHaveLength(5);
  });

  it('follows changes, without managedFields, and frozen', async () => {
    const { informer, seen } = started();
    await informer.synced;
    server.put(path, pod('p'));
    server.put(path, pod('p', 'Running'));
    await until(() => informer.store.get('a/p')?.status?.phase === 'Running', 'the update came');
    const object = informer.store.get('a/p');
    expect(object?.metadata).not.toHaveProperty('managedFields');
    expect(() => Object.assign(object?.status ?? {}, { phase: 'x' })).toThrow(TypeError);
    server.drop(`${path}/p`);
    await until(() => informer.store.size === 0, 'the delete came');
    expect(seen).toEqual(['add p', 'update p', 'delete p']);
  });

  it('goes on when a handler throws', async () => {
    const { informer } = started();
    informer.onChange(() => {
      throw new Error('a broken handler');
    });
    const seen: string[] = [];
    informer.onChange(({ object }) => seen.push(object.metadata.name));
    await informer.synced;
    server.put(path, pod('p'));
    server.put(path, pod('q'));
    await until(() => seen.length === 2, 'the other handler was told of both');
  });

  it('refuses to watch Secrets', () => {
    const common = { client, clock: systemClock, log: silentLog, registry: bareRegistry() };
    expect(() => new Informer({ ...common, kind: kinds.Secret })).toThrow('Secret is not to be watched');
  });
});

describe('in bad times', () => {
  it('takes up a watch that was cut where it ended, without listing again', async () => {
    const { informer } = started();
    await informer.synced;
    for (const how of ['reset', 'end', 'reset'] as const) {
      await until(() => server.openWatches === 1, 'the watch is open');
      server.put(path, pod(`before-${how}-${server.requests.length}`));
      server.cutWatches(how);
      server.put(path, pod(`during-${how}-${server.requests.length}`));
      await until(() => matches(informer), 'the store has everything again');
    }
    expect(server.count((request) => !request.watch)).toBe(1);
  });

  it('notices a watch that went silent and comes back', async () => {
    const { informer } = started();
    await informer.synced;
    await until(() => server.openWatches === 1, 'the watch is open');
    server.blackhole = true;
    server.put(path, pod('unseen'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(informer.store.size).toBe(0);
    server.blackhole = false;
    await until(() => informer.store.size === 1, 'the event was made up for');
  });

  it('takes bookmarks for a sign of life', async () => {
    server.bookmarkMs = 20;
    const { informer } = started();
    await informer.synced;
    await new Promise((resolve) => setTimeout(resolve, 3 * quickTimings.idleMs));
    expect(server.count((request) => request.watch)).toBe(1);
  });

  it('resumes at the last bookmark', async () => {
    server.bookmarkMs = 10;
    const { informer } = started();
    await informer.synced;
    server.put('/api/v1/namespaces/a/configmaps', { kind: 'ConfigMap', metadata: { name: 'moves-the-version' } });
    const version = server.read('/api/v1/namespaces/a/configmaps/moves-the-version')?.metadata.resourceVersion;
    await new Promise((resolve) => setTimeout(resolve, 60));
    server.cutWatches('reset');
    await until(() => server.count((request) => request.watch) === 2, 'it watches again');
    expect(server.requests.at(-1)?.query.get('resourceVersion')).toBe(version);
  });

  it('lists again when its version has expired, and tells what it missed: gone, changed, made anew', async () => {
    for (const name of ['gone', 'changed', 'anew', 'same']) server.put(path, pod(name));
    const { informer, seen } = started();
    await informer.synced;
    await until(() => server.openWatches === 1, 'the watch is open');
    seen.length = 0;
    server.blackhole = true;
    server.drop(`${path}/gone`);
    server.put(path, pod('changed', 'Running'));
    server.drop(`${path}/anew`);
    server.put(path, pod('anew'));
    server.expireHistory();
    server.cutWatches('reset');
    server.blackhole = false;
    await until(() => seen.length >= 4, 'the changes were told');
    expect(seen.sort()).toEqual(['add anew', 'delete anew', 'delete gone', 'update changed']);
  });

  it('survives a storm of 410 without storming back', async () => {
    const { informer } = started();
    await informer.synced;
    server.fail((request) => request.watch, { code: 410, reason: 'Expired' }, 1_000);
    server.cutWatches('reset');
    const before = server.requests.length;
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(server.requests.length - before).toBeLessThan(40);
    server.heal();
    server.put(path, pod('after'));
    await until(() => matches(informer), 'the store has everything again');
  });

  it('survives rubbish on the stream', async () => {
    const { informer } = started();
    await informer.synced;
    for (const rubbish of ['{"type":"ADD\n', 'null\n', '[]\n', '{"type":"ADDED","object":{}}\n', '\n\n<html>\n']) {
      await until(() => server.openWatches === 1, 'the watch is open');
      server.sendRaw(rubbish);
      await until(() => server.openWatches === 0, 'the client hung up');
      server.put(path, pod(`after-${server.requests.length}`));
      await until(() => matches(informer), 'the store has everything again');
    }
  });

  it('survives an outage of lists and watches, at start too', async () => {
    server.fail((request) => !request.watch, { code: 500, reason: 'InternalError' }, 3);
    const { informer } = started();
    await informer.synced;
    server.fail(() => true, 'reset', 8);
    server.cutWatches('reset');
    server.put(path, pod('p'));
    await until(() => matches(informer), 'the store has everything again');
  });

  it('lists again when watches bring nothing time after time', async () => {
    const { informer } = started();
    await informer.synced;
    server.fail((request) => request.watch, { code: 500, reason: 'InternalError' }, 3);
    server.cutWatches('reset');
    await until(() => server.count((request) => !request.watch) === 2, 'it listed a second time');
    await until(() => server.openWatches === 1, 'it watches again');
  });

  it('ends at once when stopped, in the middle of a list too', async () => {
    server.fail((request) => !request.watch, 'hang');
    started();
    await until(() => server.requests.length === 1, 'the list was asked for');
    stop.abort();
    const begun = performance.now();
    await Promise.all(running);
    expect(performance.now() - begun).toBeLessThan(100);
    expect(server.openWatches).toBe(0);
  });
});
