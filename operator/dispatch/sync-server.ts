import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer, Server as HttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { SYNC_PATH } from '../../inference-pod/contract.ts';
import type { SyncRequest, SyncResponse, WorkerId } from '../../inference-pod/contract.ts';
import type { NoAnswer } from './dispatcher.ts';
import type { SyncMetrics } from './metrics.ts';
import { parseSyncRequest } from './request-schema.ts';

/** Who may speak: one attempt of one slot of one job. */
export interface WorkerIdentity {
  job: string;
  slot: number;
  attempt: number;
}

/** `message` is sent to the caller: it must name no secret. */
export interface Refusal {
  status: 401 | 403 | 503;
  message: string;
}

export interface SyncServerOptions {
  host: string;
  /** 0 for any free port. */
  port: number;
  /** PEM; absent for plain http. */
  certificate?: { cert: string; key: string };
  /** Undefined: the body is taken at its word (embedded, on the loopback interface only). */
  authenticate: ((request: IncomingMessage) => Promise<WorkerIdentity | Refusal>) | undefined;
  sync: (request: SyncRequest, signal: AbortSignal) => Promise<SyncResponse | NoAnswer>;
  /** False while this process is not the leader or has not opened its ledgers: callers are sent away for a second. */
  isReady: () => boolean;
  metrics?: SyncMetrics;
  onError: (error: unknown) => void;
}

const mostBytes = 256 * 1024;
const headersTimeoutMs = 10_000;
const requestTimeoutMs = 15_000;
/** Longer than any pause between two syncs of a worker, so that the server does not close a connection under a request. */
const keepAliveMs = 75_000;

class HttpError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Serves `sync` to workers. */
export class SyncServer {
  readonly #options: SyncServerOptions;
  readonly #server: Server;
  readonly #open = new Set<Promise<void>>();
  #closing = false;

  constructor(options: SyncServerOptions) {
    this.#options = options;
    const limits = { headersTimeout: headersTimeoutMs, requestTimeout: requestTimeoutMs, keepAliveTimeout: keepAliveMs, connectionsCheckingInterval: 2_000, maxHeaderSize: 16 * 1024 };
    const handle = (request: IncomingMessage, response: ServerResponse): void => {
      const served = this.#serve(request, response).catch(options.onError).finally(() => this.#open.delete(served));
      this.#open.add(served);
    };
    this.#server = options.certificate
      ? createHttpsServer({ ...limits, ...options.certificate, minVersion: 'TLSv1.2' }, handle)
      : createHttpServer(limits, handle);
    this.#server.on('error', options.onError);
    this.#server.on('tlsClientError', () => undefined);
  }

  /** @returns the port. */
  async listen(): Promise<number> {
    this.#server.listen(this.#options.port, this.#options.host);
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  /** New connections get this certificate; open ones go on. */
  setCertificate(certificate: { cert: string; key: string }): void {
    if (!(this.#server instanceof HttpsServer)) throw new TypeError('a server without TLS has no certificate');
    this.#server.setSecureContext({ ...certificate, minVersion: 'TLSv1.2' });
  }

  /** Takes no new connection, lets open requests be answered (close the dispatcher first), and cuts what is left after `graceMs`. */
  async close(graceMs = 2_000): Promise<void> {
    this.#closing = true;
    const closed = once(this.#server, 'close');
    this.#server.close();
    const grace = new AbortController();
    await Promise.race([Promise.allSettled(this.#open), setTimeout(graceMs, undefined, { signal: grace.signal }).catch(() => undefined)]);
    grace.abort();
    this.#server.closeIdleConnections();
    const cut = globalThis.setTimeout(() => this.#server.closeAllConnections(), graceMs);
    await closed;
    clearTimeout(cut);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { metrics } = this.#options;
    const begun = performance.now();
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    metrics?.open(1);
    try {
      const { answer, worker } = await this.#answer(request, gone.signal);
      if (answer.verdict === 'leave') response.once('finish', () => metrics?.toldToLeave(worker));
      this.#send(request, response, 200, answer);
    } catch (error) {
      if (!(error instanceof HttpError)) this.#options.onError(error);
      const { status, message } = error instanceof HttpError ? error : { status: 500, message: 'internal error' };
      this.#send(request, response, status, { message });
    } finally {
      metrics?.open(-1);
      metrics?.answered(response.statusCode, (performance.now() - begun) / 1000);
    }
  }

  async #answer(request: IncomingMessage, signal: AbortSignal): Promise<{ answer: SyncResponse; worker: WorkerId }> {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    if (pathname !== SYNC_PATH) throw new HttpError(404, `there is nothing at ${pathname.slice(0, 100)}; workers call POST ${SYNC_PATH}`);
    if (request.method !== 'POST') throw new HttpError(405, `${request.method} is not supported; workers call POST ${SYNC_PATH}`);
    if (!this.#options.isReady() || this.#closing) throw new HttpError(503, 'this replica is not the leader or is still starting; call again');
    const identity = await this.#options.authenticate?.(request);
    if (identity && 'status' in identity) throw new HttpError(identity.status, identity.message);
    const sync = parseSyncRequest(await readBody(request));
    if ('wrong' in sync) throw new HttpError(400, sync.wrong);
    const { job, slot, attempt } = sync.worker;
    if (identity && (identity.job !== job || identity.slot !== slot || identity.attempt !== attempt)) {
      throw new HttpError(403, `the token belongs to slot ${identity.slot}, attempt ${identity.attempt} of job ${identity.job}, the request speaks for slot ${slot}, attempt ${attempt} of job ${job}`);
    }
    const answer = await this.#options.sync(sync, signal);
    if (answer === 'unknown') throw new HttpError(404, `there is no job with UID ${job}`);
    if (answer === 'deposed') throw new HttpError(503, 'another replica has become the leader; call again');
    if (answer === 'closed') throw new HttpError(503, 'this replica is shutting down; call again');
    return { answer, worker: sync.worker };
  }

  #send(request: IncomingMessage, response: ServerResponse, status: number, body: unknown): void {
    if (response.destroyed || response.headersSent) return;
    // A body that was not read to its end would be taken for the next request on this connection.
    if (this.#closing || !request.complete) response.setHeader('connection', 'close');
    if (status === 503) response.setHeader('retry-after', '1');
    if (status === 401) response.setHeader('www-authenticate', 'Bearer');
    if (status === 405) response.setHeader('allow', 'POST');
    const text = JSON.stringify(body);
    response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
    response.end(text);
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const tooLarge = (): HttpError => new HttpError(413, `the body is larger than ${mostBytes} bytes`);
  if (Number(request.headers['content-length'] ?? 0) > mostBytes) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    size += (chunk as Buffer).length;
    if (size > mostBytes) throw tooLarge();
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString('utf8');
}
