import { once } from 'node:events';
import http, { Agent, type IncomingMessage } from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { SyncRequest, SyncResponse } from '../../../inference-pod/contract.ts';
import { SYNC_PATH } from '../../../inference-pod/contract.ts';
import { type Credentials, issueLeaf, makeCa } from '../../../operator/dispatch/certificates.ts';
import { Dispatcher } from '../../../operator/dispatch/dispatcher.ts';
import { SyncServer, type SyncServerOptions } from '../../../operator/dispatch/sync-server.ts';
import { aJob, nothingDone } from '../../unit/dispatch/scene.ts';

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function start(over: Partial<SyncServerOptions> = {}, holdMs = 300) {
  const dispatcher = new Dispatcher({ clock: { monotonic: () => performance.now() }, onChange: () => undefined, holdMs });
  dispatcher.open(aJob(), { ...nothingDone, plan: { shards: 4, items: 40, exact: true, bytes: 400, files: 1 } });
  const errors: unknown[] = [];
  const answered: number[] = [];
  const left: number[] = [];
  const taken: number[] = [];
  const server = new SyncServer({
    host: '127.0.0.1', port: 0, authenticate: undefined, isReady: () => true,
    sync: (request, signal) => {
      const answer = dispatcher.sync(request, signal);
      taken.push(request.seq);
      return answer;
    },
    onError: (error) => errors.push(error),
    metrics: { answered: (status) => answered.push(status), open: () => undefined, toldToLeave: ({ slot }) => left.push(slot) },
    ...over,
  });
  const port = await server.listen();
  closers.push(async () => {
    dispatcher.close();
    await server.close(100);
    expect(errors).toEqual([]);
  });
  return { dispatcher, server, port, answered, left, taken };
}

let seq = 0;
const request = (slot = 0, over: Partial<SyncRequest> = {}): SyncRequest => ({
  protocol: 1, worker: { job: 'job-1', slot, attempt: 0, incarnation: 'a' }, seq: ++seq, term: 0, draining: false, capacity: 1, leases: [],
  load: { itemsPerSecond: 0, cpuSeconds: 0, rssBytes: 0 }, ...over,
});

interface Answer { status: number; headers: http.IncomingHttpHeaders; body: SyncResponse & { message?: string } }

function call(port: number, body: unknown, options: http.RequestOptions & { ca?: string; servername?: string } = {}): Promise<Answer> {
  const send = options.ca === undefined ? http.request : https.request;
  return new Promise((resolve, reject) => {
    const outgoing = send({ host: '127.0.0.1', port, path: SYNC_PATH, method: 'POST', agent: false, ...options }, (response: IncomingMessage) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => { text += part; }).on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: JSON.parse(text) }));
    });
    outgoing.on('error', reject);
    outgoing.end(typeof body === 'string' ? body : JSON.stringify(body));
  });
}

describe('the sync server', () => {
  it('says when a worker has been told to leave, over the call that it holds open', async () => {
    const { port, dispatcher, left, taken } = await start({}, 10_000);
    expect(dispatcher.leave('job-1', 0, 0)).toBe(false);
    const { body: { leases } } = await call(port, request());
    const held = call(port, request(0, { leases: leases.map((lease) => ({ lease, state: 'running', items: { succeeded: 0, failed: 0 }, bytes: { done: 0, total: 100 } })) }));
    await expect.poll(() => taken).toHaveLength(2);
    expect(dispatcher.leave('job-1', 0, 0)).toBe(true);
    expect(await held).toMatchObject({ status: 200, body: { verdict: 'leave' } });
    await expect.poll(() => left).toEqual([0]);
  });

  it('answers a worker and holds its next call', async () => {
    const { port, answered } = await start();
    const first = await call(port, request());
    expect(first).toMatchObject({ status: 200, body: { verdict: 'work', leases: [{ kind: 'shard', shard: 0 }] } });
    const begun = performance.now();
    const running = { lease: { kind: 'shard', shard: 0, generation: 0 }, state: 'running', items: { succeeded: 0, failed: 0 }, bytes: { done: 0, total: 100 } } as const;
    expect((await call(port, request(0, { leases: [running] }))).status).toBe(200);
    expect(performance.now() - begun).toBeGreaterThan(290);
    expect(answered).toEqual([200, 200]);
  });

  it('tells what is wrong with a request, in one sentence', async () => {
    const { port } = await start();
    expect(await call(port, { ...request(), capacity: 'two' })).toMatchObject({ status: 400, body: { message: 'capacity must be integer' } });
    expect(await call(port, '{')).toMatchObject({ status: 400 });
    expect(await call(port, request(), { path: '/v1/other' })).toMatchObject({ status: 404, body: { message: 'there is nothing at /v1/other; workers call POST /v1/sync' } });
    expect(await call(port, '', { method: 'GET' })).toMatchObject({ status: 405, headers: { allow: 'POST' } });
    expect(await call(port, request(0, { worker: { job: 'other', slot: 0, attempt: 0, incarnation: 'a' } }))).toMatchObject({ status: 404, body: { message: 'there is no job with UID other' } });
  });

  it('refuses a body that is too large, announced or not, and closes that connection', async () => {
    const { port } = await start();
    const large = JSON.stringify(request(0, { load: { itemsPerSecond: 0, cpuSeconds: 0, rssBytes: 0, warning: 'x'.repeat(300_000) } }));
    expect(await call(port, large)).toMatchObject({ status: 413, headers: { connection: 'close' } });
    expect(await call(port, large, { headers: { 'transfer-encoding': 'chunked' } })).toMatchObject({ status: 413, headers: { connection: 'close' } });
  });

  it('sends workers away for a second while it is not ready, deposed or closing', async () => {
    let ready = false;
    const { port, dispatcher } = await start({ isReady: () => ready });
    expect(await call(port, request())).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    ready = true;
    expect(await call(port, request(0, { term: 1 }))).toMatchObject({ status: 503, body: { message: 'another replica has become the leader; call again' } });
    dispatcher.close();
    expect(await call(port, request())).toMatchObject({ status: 503 });
  });

  it('lets a worker speak for itself only', async () => {
    const { port } = await start({
      authenticate: async ({ headers }) => (headers.authorization === 'Bearer good' ? { job: 'job-1', slot: 2, attempt: 0 } : { status: 401, message: 'the token is not valid' }),
    });
    expect(await call(port, request())).toMatchObject({ status: 401, headers: { 'www-authenticate': 'Bearer' }, body: { message: 'the token is not valid' } });
    const good = { headers: { authorization: 'Bearer good' } };
    expect(await call(port, request(2), good)).toMatchObject({ status: 200 });
    for (const worker of [{ job: 'job-2', slot: 2, attempt: 0 }, { job: 'job-1', slot: 1, attempt: 0 }, { job: 'job-1', slot: 2, attempt: 1 }]) {
      expect(await call(port, request(0, { worker: { ...worker, incarnation: 'a' } }), good)).toMatchObject({ status: 403 });
    }
  });

  it('keeps one connection for many calls', async () => {
    const { port } = await start();
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    closers.push(() => agent.destroy());
    const sockets = new Set<number | undefined>();
    for (let time = 0; time < 5; time++) {
      const outgoing = http.request({ host: '127.0.0.1', port, path: SYNC_PATH, method: 'POST', agent });
      outgoing.end(JSON.stringify(request(time)));
      const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
      sockets.add(response.socket.localPort);
      expect(response.statusCode).toBe(200);
      await once(response.resume(), 'end');
    }
    expect(sockets.size).toBe(1);
  });

  it('answers the calls that are held when it closes, and ends', async () => {
    const { port, dispatcher, server } = await start({}, 60_000);
    await call(port, request());
    const running = { lease: { kind: 'shard', shard: 0, generation: 0 }, state: 'running', items: { succeeded: 0, failed: 0 }, bytes: { done: 0, total: 100 } } as const;
    const held = call(port, request(0, { leases: [running] }));
    while (dispatcher.progress('job-1')?.shards.leased !== 1) await new Promise(setImmediate);
    await new Promise((resolve) => setTimeout(resolve, 50));
    dispatcher.close();
    await server.close();
    expect(await held).toMatchObject({ status: 200, headers: { connection: 'close' }, body: { leases: [{ shard: 0 }] } });
    await expect(call(port, request())).rejects.toThrow('ECONNREFUSED');
    closers.pop();
  });

  it('forgets a held call whose worker has gone away', async () => {
    const seen: AbortSignal[] = [];
    const { port } = await start({ sync: (_, signal) => { seen.push(signal); return new Promise(() => undefined); } });
    const socket = net.connect(port, '127.0.0.1');
    const body = JSON.stringify(request());
    socket.write(`POST ${SYNC_PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    while (seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const aborted = once(seen[0] as AbortSignal, 'abort');
    socket.destroy();
    await aborted;
  });
});

describe('TLS', () => {
  const secure = async (certificate: Credentials) => start({ certificate });

  it('is trusted by a worker that knows the CA only, and changes its certificate while running', async () => {
    const ca = await makeCa(Date.now());
    const { port, server } = await secure(await issueLeaf(ca, ['millrace-sync.test.svc'], ['127.0.0.1'], Date.now()));
    const serial = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const outgoing = https.request({ host: '127.0.0.1', port, path: SYNC_PATH, method: 'GET', agent: false, ca: ca.cert, servername: 'millrace-sync.test.svc' }, (response) => {
          resolve((response.socket as import('node:tls').TLSSocket).getPeerX509Certificate()?.serialNumber ?? '');
          response.resume();
        });
        outgoing.on('error', reject).end();
      });
    expect((await call(port, request(), { ca: ca.cert, servername: 'millrace-sync.test.svc' })).status).toBe(200);
    expect((await call(port, request(1), { ca: ca.cert })).status).toBe(200);
    const before = await serial();
    server.setCertificate(await issueLeaf(ca, ['millrace-sync.test.svc'], [], Date.now()));
    expect(await serial()).not.toBe(before);
  });

  it('is not trusted under another name, by another CA, or after its end', async () => {
    const [ca, other] = [await makeCa(Date.now()), await makeCa(Date.now())];
    const { port } = await secure(await issueLeaf(ca, ['millrace-sync.test.svc'], [], Date.now()));
    await expect(call(port, request(), { ca: ca.cert, servername: 'elsewhere.test.svc' })).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    await expect(call(port, request(), { ca: other.cert, servername: 'millrace-sync.test.svc' })).rejects.toThrow();
    const past = await makeCa(Date.now() - 90 * 86_400_000);
    const expired = await secure(await issueLeaf(past, ['millrace-sync.test.svc'], [], Date.now() - 60 * 86_400_000));
    await expect(call(expired.port, request(), { ca: past.cert, servername: 'millrace-sync.test.svc' })).rejects.toMatchObject({ code: 'CERT_HAS_EXPIRED' });
  });
});
