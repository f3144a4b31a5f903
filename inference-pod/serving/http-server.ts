import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Signature } from '../engine/signature.ts';
import { Answers, IdTaken } from './answers.ts';
import { HeldBytes, readBody } from './body.ts';
import { InOrder } from './in-order.ts';
import { type InferRequest, parseInferRequest } from './infer-request.ts';
import { type Answer, inferResponse, jsonLengthHeader } from './infer-response.ts';
import { modelMetadata, serverMetadata } from './metadata.ts';
import type { ModelServer } from './model-server.ts';
import { bad, Refusal } from './refusal.ts';
import { type ModelRef, type Route, routeOf } from './routes.ts';
import type { ServeMetrics } from './serve-metrics.ts';

/** The model once it is loaded. */
export interface Served {
  server: ModelServer;
  signature: Signature;
}

export interface HttpServerOptions {
  model: { name: string; version: string };
  release: string;
  maxRows: number;
  maxRequestBytes: number;
  maxHeldBytes: number;
  /** How long a client may take to send a request. */
  receiveMs: number;
  answers: { maxCount: number; maxBytes: number; maxAgeMs: number };
  now: () => number;
  metrics: ServeMetrics;
  onError: (error: unknown) => void;
}

/** A client has this long for its headers at most. */
const headersMs = 10_000;
/** Longer than load balancers keep a connection that idles, so that it is they who close it. */
const keepAliveMs = 65_000;

/** The client is gone: nobody to answer. */
class ClientGone extends Error {}

/**
 * The Open Inference Protocol over HTTP for one model. Answers to inference requests leave in the order in which the
 * requests came in whole, whatever connection they came on; refusals leave at once, as do answers that were kept.
 */
export class HttpServer {
  readonly #options: HttpServerOptions;
  readonly #http: Server;
  readonly #room: HeldBytes;
  readonly #answers: Answers<Answer>;
  readonly #order = new InOrder();
  #served: Served | undefined;
  #closing = false;

  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.#room = new HeldBytes(options.maxHeldBytes);
    this.#answers = new Answers({ ...options.answers, now: options.now });
    const { receiveMs } = options;
    const times = { connectionsCheckingInterval: 500, headersTimeout: Math.min(headersMs, receiveMs), requestTimeout: receiveMs, keepAliveTimeout: keepAliveMs };
    this.#http = createServer(times, (request, response) => {
      this.#serve(request, response).catch(options.onError);
    });
  }

  get heldBytes(): number {
    return this.#room.held;
  }

  /** 0 takes a free port; resolves with the port. */
  async listen(port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#http.once('error', reject);
      this.#http.listen(port, () => {
        this.#http.off('error', reject);
        resolve();
      });
    });
    return (this.#http.address() as AddressInfo).port;
  }

  /** The model is loaded: requests are taken from now on. */
  open(served: Served): void {
    this.#served = served;
  }

  /** Requests are refused with 503 from now on, on connections that close; those that were taken go on. */
  refuse(): void {
    this.#closing = true;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#http.close(() => resolve()));
    this.#http.closeIdleConnections();
    const cut = setTimeout(() => this.#http.closeAllConnections(), 500);
    await closed;
    clearTimeout(cut);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?', 1)[0] as string;
    const route = routeOf(path);
    const name = route?.kind ?? 'none';
    try {
      if (route === undefined) throw new Refusal(404, `there is nothing at ${JSON.stringify(path.slice(0, 200))}; inference is POST /v2/models/${encodeURIComponent(this.#options.model.name)}/infer`);
      if (route.kind === 'infer') {
        if (request.method !== 'POST') throw new Refusal(405, `${request.method} is not supported here; expected POST`, { allow: 'POST' });
        await this.#infer(route, request, response);
        return;
      }
      if (request.method !== 'GET' && request.method !== 'HEAD') throw new Refusal(405, `${request.method} is not supported here; expected GET`, { allow: 'GET, HEAD' });
      const [status, body] = this.#tell(route);
      this.#send(request, response, name, json(status, body));
    } catch (error) {
      if (!(error instanceof ClientGone)) this.#send(request, response, name, this.#refusal(error));
    }
  }

  #tell(route: Exclude<Route, { kind: 'infer' }>): [status: number, body: object] {
    const ready = this.#served !== undefined && !this.#closing;
    const { model, release } = this.#options;
    if (route.kind === 'server') return [200, serverMetadata(release)];
    if (route.kind === 'live') return [200, { live: true }];
    if (route.kind === 'ready') return [ready ? 200 : 503, { ready }];
    this.#checkModel(route);
    if (route.kind === 'modelReady') return [ready ? 200 : 503, { name: model.name, ready }];
    return [200, modelMetadata(model, this.#loaded().signature)];
  }

  async #infer(route: ModelRef, request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#checkModel(route);
    if (this.#closing) throw new Refusal(503, 'the server is shutting down; send the request to another one', { 'retry-after': '1' });
    const served = this.#loaded();
    const gone = new AbortController();
    response.once('close', () => gone.abort(new ClientGone()));
    const taken = await this.#take(request, served);
    try {
      const run = async (signal: AbortSignal): Promise<Answer> =>
        inferResponse(this.#options.model, taken.asked, await served.server.infer(taken.asked, signal), served.signature);
      const { id } = taken.asked;
      if (id !== undefined && this.#answers.has(id)) {
        // Joined or kept: it has its place by the request that came first.
        this.#send(request, response, 'infer', await this.#answers.get(id, taken.digest, gone.signal, run));
        return;
      }
      const leave = this.#order.enter();
      const answer = await (id === undefined ? run(gone.signal) : this.#answers.get(id, taken.digest, gone.signal, run)).catch((error: unknown) => ({ error }));
      leave(() => {
        if (!('error' in answer)) this.#send(request, response, 'infer', answer);
        else if (!(answer.error instanceof ClientGone)) this.#send(request, response, 'infer', this.#refusal(answer.error));
      });
    } finally {
      this.#room.giveBack(taken.bytes);
    }
  }

  /** Reads and checks the request; its bytes count as held until they are given back. */
  async #take(request: IncomingMessage, { server, signature }: Served): Promise<{ asked: InferRequest; digest: string; bytes: number }> {
    const { maxRequestBytes, maxRows } = this.#options;
    let body: Buffer;
    try {
      body = await readBody(request, maxRequestBytes, this.#room, () => server.busy());
    } catch (error) {
      throw error instanceof Refusal ? error : new ClientGone();
    }
    try {
      const asked = parseInferRequest(body, jsonLength(request, body), signature, maxRows);
      return { asked, digest: asked.id === undefined ? '' : digestOf(body), bytes: body.length };
    } catch (error) {
      this.#room.giveBack(body.length);
      throw error;
    }
  }

  #loaded(): Served {
    if (this.#served === undefined) throw new Refusal(503, 'the model is being loaded; come back in a moment', { 'retry-after': '1' });
    return this.#served;
  }

  #checkModel({ name, version }: ModelRef): void {
    const { model } = this.#options;
    if (name !== model.name) throw new Refusal(404, `there is no model ${JSON.stringify(name.slice(0, 100))}, only "${model.name}"`);
    if (version !== undefined && version !== model.version) throw new Refusal(404, `model "${model.name}" has no version ${JSON.stringify(version.slice(0, 100))}, only "${model.version}"`);
  }

  #refusal(error: unknown): Answer {
    if (error instanceof IdTaken) return json(409, { error: 'id: another request with this id and another content was sent before; use a new id' });
    if (error instanceof Refusal) return { ...json(error.status, { error: error.message }), headers: { 'content-type': 'application/json', ...error.headers } };
    this.#options.onError(error);
    return json(500, { error: 'internal error' });
  }

  #send(request: IncomingMessage, response: ServerResponse, route: string, { status, headers, body }: Answer): void {
    if (response.destroyed || response.headersSent) return;
    this.#options.metrics.answered(route, status);
    // A body that was not read to its end would be taken for the next request on this connection.
    const close = this.#closing || !request.complete ? { connection: 'close' } : {};
    response.writeHead(status, { ...headers, ...close, 'content-length': body.length });
    response.end(request.method === 'HEAD' ? undefined : body);
  }
}

/** Length of the JSON at the head of a body with binary data; all of the body without it. */
function jsonLength(request: IncomingMessage, body: Buffer): number {
  const text = request.headers[jsonLengthHeader];
  if (text === undefined) return body.length;
  const length = typeof text === 'string' && /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(length <= body.length)) throw bad(`Inference-Header-Content-Length: expected a whole number up to the ${body.length} bytes of the body, got ${JSON.stringify(String(text).slice(0, 50))}`);
  return length;
}

function digestOf(body: Buffer): string {
  return createHash('sha256').update(body).digest('base64');
}

function json(status: number, value: object): Answer {
  const body = Buffer.from(JSON.stringify(value));
  return { status, headers: { 'content-type': 'application/json' }, body, bytes: body.length };
}
