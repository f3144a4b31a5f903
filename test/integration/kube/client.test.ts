import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KubeClient } from '../../../operator/kube/client.ts';
import { KubeError, isAlreadyExists, isConflict, isGone, isNotFound } from '../../../operator/kube/errors.ts';
import { kinds } from '../../../operator/kube/kinds.ts';
import type { KubeObject } from '../../../operator/kube/object.ts';
import { FakeApiServer } from '../../support/fake-api-server.ts';
import { bareRegistry, clientOf, until } from '../../support/kube.ts';

const path = '/api/v1/namespaces/a/configmaps';
const at = (name: string) => ({ namespace: 'a', name });
const configMap = (name: string, data: Record<string, string> = {}): KubeObject & { data: Record<string, string> } => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: at(name),
  data,
});

let server: FakeApiServer;
let client: KubeClient;

beforeEach(async () => {
  server = await FakeApiServer.start();
  client = clientOf(server);
});
afterEach(async () => {
  await client.close();
  await server.close();
});

async function failure(promise: Promise<unknown>): Promise<KubeError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(KubeError);
  return error as KubeError;
}

describe('verbs', () => {
  it('creates, reads, replaces with an optimistic lock, and removes by UID', async () => {
    const made = await client.create(kinds.ConfigMap, configMap('x', { k: '1' }));
    expect(made.metadata.uid).toMatch(/-/);
    expect(isAlreadyExists(await failure(client.create(kinds.ConfigMap, configMap('x'))))).toBe(true);
    await client.replace(kinds.ConfigMap, { ...made, data: { k: '2' } });
    expect(isConflict(await failure(client.replace(kinds.ConfigMap, { ...made, data: { k: '3' } })))).toBe(true);
    expect(isConflict(await failure(client.remove(kinds.ConfigMap, at('x'), { uid: 'other' })))).toBe(true);
    await client.remove(kinds.ConfigMap, at('x'), { uid: made.metadata.uid });
    expect(isNotFound(await failure(client.get(kinds.ConfigMap, at('x'))))).toBe(true);
    const sent = server.requests.at(-2)?.body;
    expect(sent).toMatchObject({ propagationPolicy: 'Background', preconditions: { uid: made.metadata.uid } });
  });

  it('applies: creates, takes back what it no longer states, leaves the fields of others, and makes no version without change', async () => {
    const options = { fieldManager: 'm' };
    const first = await client.apply(kinds.ConfigMap, configMap('x', { mine: '1', gone: '1' }), options);
    expect(first.created).toBe(true);
    server.put(path, { kind: 'ConfigMap', metadata: { name: 'x' }, data: { mine: '1', gone: '1', theirs: '1' } });
    const second = await client.apply(kinds.ConfigMap, configMap('x', { mine: '2' }), options);
    expect(second.created).toBe(false);
    expect(second.object.data).toEqual({ mine: '2', theirs: '1' });
    const third = await client.apply(kinds.ConfigMap, configMap('x', { mine: '2' }), options);
    expect(third.object.metadata.resourceVersion).toBe(second.object.metadata.resourceVersion);
    expect(server.requests.at(-1)?.query.get('force')).toBe('true');
    expect(server.requests.at(-1)?.headers['content-type']).toBe('application/apply-patch+yaml');
  });

  it('sends the token, and never shows it in an error', async () => {
    server.fail(() => true, { code: 400, message: 'no' });
    const error = await failure(client.get(kinds.ConfigMap, at('x')));
    expect(server.requests[0]?.headers.authorization).toBe('Bearer a-token');
    expect(`${error.message} ${JSON.stringify(error)} ${error.stack}`).not.toContain('a-token');
  });

  it('lists all pages, with apiVersion and kind on each item', async () => {
    for (let index = 0; index < 7; index += 1) server.put(path, configMap(`c${index}`) as never);
    server.pageLimit = 3;
    const list = await client.list(kinds.ConfigMap, { namespace: 'a' });
    expect(list.items.map((item) => item.metadata.name)).toHaveLength(7);
    expect(list.items[0]).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' });
    expect(server.requests).toHaveLength(3);
  });

  it('begins a list again in one piece when its continue token has expired', async () => {
    for (let index = 0; index < 7; index += 1) server.put(path, configMap(`c${index}`) as never);
    server.pageLimit = 3;
    server.fail((request) => request.query.has('continue'), { code: 410, reason: 'Expired' });
    const list = await client.list(kinds.ConfigMap);
    expect(list.items).toHaveLength(7);
    expect(new Set(list.items.map((item) => item.metadata.name)).size).toBe(7);
  });

  it('uses a few connections for many calls', async () => {
    server.put(path, configMap('x') as never);
    await Promise.all(Array.from({ length: 100 }, () => client.get(kinds.ConfigMap, at('x'))));
    expect(server.requests).toHaveLength(100);
    expect(await server.connections()).toBeLessThanOrEqual(16);
  });
});

describe('faults', () => {
  it('waits as long as Retry-After asks on 429, whatever the verb', async () => {
    server.fail((request) => request.method === 'POST', { code: 429, headers: { 'retry-after': '0.2' } });
    const started = performance.now();
    await client.create(kinds.ConfigMap, configMap('x'));
    expect(performance.now() - started).toBeGreaterThanOrEqual(195);
    expect(server.requests).toHaveLength(2);
  });

  it('hands a long Retry-After to its caller instead of waiting', async () => {
    server.fail(() => true, { code: 503, headers: { 'retry-after': '60' } });
    const error = await failure(client.get(kinds.ConfigMap, at('x')));
    expect(error).toMatchObject({ code: 503, retryAfterMs: 60_000 });
    expect(server.requests).toHaveLength(1);
  });

  it('gives up throttled calls after its tries', async () => {
    server.fail(() => true, { code: 429 }, 100);
    expect((await failure(client.get(kinds.ConfigMap, at('x')))).code).toBe(429);
    expect(server.requests).toHaveLength(5);
  });

  it('repeats a read and an apply after a broken connection, but not a create', async () => {
    server.put(path, configMap('x') as never);
    server.fail((request) => request.method !== 'POST', 'reset', 1);
    await client.get(kinds.ConfigMap, at('x'));
    server.fail((request) => request.method === 'PATCH', 'reset', 1, true);
    const { object } = await client.apply(kinds.ConfigMap, configMap('x', { k: '1' }), { fieldManager: 'm' });
    expect(object.data).toEqual({ k: '1' });
    server.fail((request) => request.method === 'POST', 'reset', 1);
    expect(await failure(client.create(kinds.ConfigMap, configMap('y')))).toMatchObject({
      code: 0,
      reason: 'NetworkError',
    });
    expect(server.count((request) => request.method === 'POST')).toBe(1);
  });

  it('ends a call that hangs, with its own limit or its caller’s signal', async () => {
    server.fail(() => true, 'hang', 2);
    const call = { timeoutMs: 50 };
    expect(await failure(client.get(kinds.ConfigMap, at('x'), call))).toMatchObject({ reason: 'Timeout' });
    const stop = new AbortController();
    const pending = client.get(kinds.ConfigMap, at('x'), { signal: stop.signal });
    await until(() => server.requests.length === 2, 'the request arrived');
    stop.abort(new Error('enough'));
    await expect(pending).rejects.toThrow('enough');
  });

  it('reads credentials anew after a 401, once', async () => {
    server.put(path, configMap('x') as never);
    server.fail(() => true, { code: 401, reason: 'Unauthorized' });
    await client.get(kinds.ConfigMap, at('x'));
    server.fail(() => true, { code: 401, reason: 'Unauthorized' }, 10);
    expect((await failure(client.get(kinds.ConfigMap, at('x')))).code).toBe(401);
    expect(server.requests).toHaveLength(4);
  });

  it('turns an answer that is not JSON into one short error', async () => {
    server.fail(() => true, { code: 502, message: 'bad gateway' }, 100);
    expect(await failure(client.get(kinds.ConfigMap, at('x')))).toMatchObject({ code: 502 });
  });

  it('reaches nobody at a closed port, and says so', async () => {
    await server.close();
    const error = await failure(client.get(kinds.ConfigMap, at('x')));
    expect(error.reason).toBe('NetworkError');
    expect(error.message).toContain('ECONNREFUSED');
    server = await FakeApiServer.start();
  });

  it('keeps to its rate, and lets an abandoned waiter’s place go to the next', async () => {
    const slow = clientOf(server, { rate: { perSecond: 50, burst: 2 } });
    server.put(path, configMap('x') as never);
    const started = performance.now();
    await Promise.all(Array.from({ length: 7 }, () => slow.get(kinds.ConfigMap, at('x'))));
    expect(performance.now() - started).toBeGreaterThanOrEqual(90);
    await slow.close();
  });

  it('counts requests by code, method and host', async () => {
    const registry = bareRegistry();
    const counted = clientOf(server, { registry });
    server.put(path, configMap('x') as never);
    await counted.get(kinds.ConfigMap, at('x'));
    await failure(counted.get(kinds.ConfigMap, at('none')));
    const text = await registry.metrics();
    const host = new URL(server.url).host;
    expect(text).toContain(`rest_client_requests_total{code="200",method="GET",host="${host}"} 1`);
    expect(text).toContain(`rest_client_requests_total{code="404",method="GET",host="${host}"} 1`);
    expect(text).toContain(`rest_client_request_duration_seconds_count{verb="GET",host="${host}"} 2`);
    await counted.close();
  });
});

describe('watch', () => {
  const options = { resourceVersion: '0', timeoutSeconds: 300, idleMs: 1_000 };

  it('gives events in order and ends when the server ends it', async () => {
    const seen: string[] = [];
    const watching = (async () => {
      for await (const event of client.watch(kinds.ConfigMap, options)) {
        if (event.type !== 'BOOKMARK') seen.push(`${event.type} ${event.object.metadata.name}`);
      }
    })();
    await until(() => server.openWatches === 1, 'the watch is open');
    server.put(path, configMap('x') as never);
    server.put(path, configMap('x', { k: 'ü'.repeat(200_000) }) as never);
    server.drop(`${path}/x`);
    await until(() => seen.length === 3, 'all events came');
    server.cutWatches('end');
    await watching;
    expect(seen).toEqual(['ADDED x', 'MODIFIED x', 'DELETED x']);
  });

  it('throws on silence, on an ERROR event, on rubbish, and on a broken connection', async () => {
    const drain = async (idleMs = 1_000): Promise<void> => {
      for await (const _ of client.watch(kinds.ConfigMap, { ...options, idleMs })) {
        // Only the end matters.
      }
    };
    expect(await failure(drain(50))).toMatchObject({ reason: 'IdleTimeout' });
    server.expireHistory();
    expect(isGone(await failure(drain()))).toBe(true);
    const during = async (fault: () => void): Promise<KubeError> => {
      const watching = failure(
        (async () => {
          for await (const _ of client.watch(kinds.ConfigMap, { ...options, resourceVersion: '999' })) {
            // Only the end matters.
          }
        })(),
      );
      await until(() => server.openWatches === 1, 'the watch is open');
      fault();
      return watching;
    };
    expect(await during(() => server.sendRaw('{"type":"ADD\n'))).toMatchObject({ reason: 'MalformedResponse' });
    await until(() => server.openWatches === 0, 'the client hung up');
    expect(await during(() => server.sendRaw('{"type":"ADDED"}\n'))).toMatchObject({ reason: 'MalformedResponse' });
    await until(() => server.openWatches === 0, 'the client hung up');
    expect(await during(() => server.cutWatches('reset'))).toMatchObject({ reason: 'NetworkError' });
  });

  it('hangs up when its signal aborts', async () => {
    const stop = new AbortController();
    const watch = client.watch(kinds.ConfigMap, options, { signal: stop.signal });
    const first = watch.next();
    await until(() => server.openWatches === 1, 'the watch is open');
    stop.abort(new Error('enough'));
    await expect(first).rejects.toThrow('enough');
    await until(() => server.openWatches === 0, 'the client hung up');
  });
});
