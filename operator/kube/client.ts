import type { Dispatcher } from 'undici';
import type { Backoff } from '../../kit/backoff.ts';
import { delayFor, sleep } from '../../kit/backoff.ts';
import type { Clock } from '../../kit/clock.ts';
import type { Registry } from '../../kit/metrics.ts';
import { counter, exponentialBuckets, histogram } from '../../kit/metrics.ts';
import { TokenBucket } from '../../kit/token-bucket.ts';
import type { CredentialSource } from './credentials.ts';
import { KubeError, errorFromStatus, isGone, isUnauthorized, parseRetryAfter } from './errors.ts';
import type { Kind } from './kinds.ts';
import { pathOf } from './kinds.ts';
import { LineSplitter } from './lines.ts';
import type { KubeObject, Stored } from './object.ts';
import { Transport } from './transport.ts';

export interface ClientOptions {
  credentials: CredentialSource;
  clock: Clock;
  registry: Registry;
  userAgent: string;
  /** Client-side limit on everything but watches; absent for none (the Lease's client). */
  rate?: { perSecond: number; burst: number };
  /** Limit of one try, answer included. Default 30 s. */
  timeoutMs?: number;
  /** Tries after the first; 0 leaves retrying to the caller. Default 4. */
  retries?: number;
  retryBackoff?: Backoff;
  /** A longer Retry-After is handed to the caller instead of being waited for. Default 10 s. */
  maxRetryAfterMs?: number;
}

export interface Call {
  signal?: AbortSignal | undefined;
  timeoutMs?: number;
  /** Says of a POST that sending it twice does no harm, so that a network error may be retried. */
  idempotent?: boolean;
  /** Called when the first try goes out, after the wait for the rate limit. */
  onSend?: () => void;
}

export interface At {
  namespace?: string | undefined;
  name: string;
}

export interface Selection {
  namespace?: string | undefined;
  labelSelector?: string | undefined;
  fieldSelector?: string | undefined;
}

export interface Page<T extends KubeObject> {
  items: Stored<T>[];
  resourceVersion: string;
  /** The pages before this one are void: the continue token had expired and the list began again. */
  restarted: boolean;
}

export type WatchEvent<T extends KubeObject> =
  | { type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: Stored<T> }
  | { type: 'BOOKMARK'; resourceVersion: string };

export interface WatchOptions extends Selection {
  resourceVersion: string;
  /** The server ends the watch after this long. */
  timeoutSeconds: number;
  /** The watch is given up when nothing at all, not even a bookmark, came for this long. */
  idleMs: number;
}

export interface ApplyOptions {
  fieldManager: string;
  /** Default true: a controller owns the fields that it states. */
  force?: boolean;
}

export interface RemoveOptions {
  /** Precondition: only this very object. */
  uid?: string;
  gracePeriodSeconds?: number;
  propagationPolicy?: 'Background' | 'Foreground' | 'Orphan';
}

export type JsonPatch = readonly (
  | { op: 'add' | 'replace' | 'test'; path: string; value: unknown }
  | { op: 'remove'; path: string }
)[];

interface Request {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  path: string;
  query?: Record<string, string | number | boolean | undefined>;
  body?: unknown;
  contentType?: string;
  idempotent: boolean;
  call: Call;
}

interface Answer {
  code: number;
  body: unknown;
}

const PAGE_SIZE = 250;
const MAX_LINE_BYTES = 32 * 1024 * 1024;
/** The connection was never made, so the server has not seen the request, whatever its verb. */
const NOT_SENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

function codeOf(error: unknown): string {
  for (let at = error; at instanceof Error; at = at.cause) {
    if ('code' in at && typeof at.code === 'string') return at.code;
  }
  return '';
}

function parse(text: string, code: number, request: Request): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (code >= 400) return text;
    throw new KubeError(
      { code: 0, reason: 'MalformedResponse', message: 'the answer is not JSON', cause: error },
      request,
    );
  }
}

/**
 * The API server as raw JSON: nothing is renamed, dated or dropped on the way.
 *
 * Guarantees: every call ends within its time limit, or at once with its signal (rejecting with the signal's reason);
 * anything else that goes wrong is a `KubeError`. 429, and 503 with Retry-After, are retried for all verbs, since the
 * server has done nothing yet; other faults only where sending twice does no harm.
 */
export class KubeClient {
  readonly #options: ClientOptions;
  readonly #transport: Transport;
  readonly #bucket: TokenBucket | undefined;
  readonly #requests;
  readonly #duration;
  readonly #throttled;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#transport = new Transport(options.credentials);
    this.#bucket = options.rate === undefined ? undefined : new TokenBucket({ ...options.rate, clock: options.clock });
    this.#requests = counter(options.registry, {
      name: 'rest_client_requests_total',
      help: 'Number of HTTP requests to the API server, by status code, method and host.',
      labels: ['code', 'method', 'host'],
    });
    this.#duration = histogram(options.registry, {
      name: 'rest_client_request_duration_seconds',
      help: 'Time from sending a request to the API server to the end of its answer, in seconds.',
      labels: ['verb', 'host'],
      buckets: [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60],
    });
    this.#throttled = histogram(options.registry, {
      name: 'rest_client_rate_limiter_duration_seconds',
      help: 'Time that requests waited for the client-side rate limiter, in seconds.',
      labels: ['verb'],
      buckets: exponentialBuckets(0.005, 4, 8),
    });
  }

  async get<T extends KubeObject>(kind: Kind, at: At, call: Call = {}): Promise<Stored<T>> {
    return (await this.#send({ method: 'GET', path: pathOf(kind, at), idempotent: true, call })).body as Stored<T>;
  }

  /** Pages of at most 250. A second expired continue token in one list is thrown: the server turns over faster than we read. */
  async *listPages<T extends KubeObject>(
    kind: Kind,
    selection: Selection = {},
    call: Call = {},
  ): AsyncGenerator<Page<T>> {
    const path = pathOf(kind, { namespace: selection.namespace });
    const fetchPage = async (limit: number | undefined, token: string | undefined) => {
      const { labelSelector, fieldSelector } = selection;
      const query = { labelSelector, fieldSelector, limit, continue: token };
      const { body } = await this.#send({ method: 'GET', path, query, idempotent: true, call });
      const list = body as { metadata?: { resourceVersion?: string; continue?: string }; items?: unknown };
      const resourceVersion = list.metadata?.resourceVersion;
      if (!Array.isArray(list.items) || resourceVersion === undefined) {
        const message = 'the answer is not a list';
        throw new KubeError({ code: 0, reason: 'MalformedResponse', message }, { method: 'GET', path });
      }
      // Items of a list carry no apiVersion and kind.
      const items = (list.items as Stored<T>[]).map((item) => ({
        ...item,
        apiVersion: kind.apiVersion,
        kind: kind.kind,
      }));
      return { items, resourceVersion, token: list.metadata?.continue };
    };

    let token: string | undefined;
    do {
      let page: Awaited<ReturnType<typeof fetchPage>>;
      let restarted = false;
      try {
        page = await fetchPage(PAGE_SIZE, token);
      } catch (error) {
        if (!isGone(error) || token === undefined) throw error;
        // Once more in one piece: pages could expire again and again.
        page = await fetchPage(undefined, undefined);
        restarted = true;
      }
      yield { items: page.items, resourceVersion: page.resourceVersion, restarted };
      token = page.token;
      // Parsing a page takes tens of milliseconds; let leases and probes be served in between.
      await new Promise((resolve) => setImmediate(resolve));
    } while (token !== undefined && token !== '');
  }

  /** `shape` is applied to each item as its page comes in, so that only what is wanted of all pages is ever held. */
  async list<T extends KubeObject>(
    kind: Kind,
    selection: Selection = {},
    call: Call = {},
    shape: (item: Stored<T>) => Stored<T> = (item) => item,
  ): Promise<{ items: Stored<T>[]; resourceVersion: string }> {
    let items: Stored<T>[] = [];
    let resourceVersion = '';
    for await (const page of this.listPages<T>(kind, selection, call)) {
      if (page.restarted) items = [];
      for (const item of page.items) items.push(shape(item));
      resourceVersion = page.resourceVersion;
    }
    return { items, resourceVersion };
  }

  /** Ends normally when the server closes the watch; throws on everything else, an ERROR event included. Never retried here. */
  async *watch<T extends KubeObject>(
    kind: Kind,
    options: WatchOptions,
    call: Call = {},
  ): AsyncGenerator<WatchEvent<T>> {
    const request: Request = {
      method: 'GET',
      path: pathOf(kind, { namespace: options.namespace }),
      query: {
        watch: true,
        allowWatchBookmarks: true,
        resourceVersion: options.resourceVersion,
        timeoutSeconds: options.timeoutSeconds,
        labelSelector: options.labelSelector,
        fieldSelector: options.fieldSelector,
      },
      idempotent: false,
      call,
    };
    const idle = new AbortController();
    const timer = setTimeout(() => {
      const message = `nothing came for ${options.idleMs} ms`;
      idle.abort(new KubeError({ code: 0, reason: 'IdleTimeout', message }, request));
    }, options.idleMs);
    const onAbort = (): void => idle.abort(call.signal?.reason);
    if (call.signal?.aborted) onAbort();
    call.signal?.addEventListener('abort', onAbort, { once: true });
    let body: Dispatcher.ResponseData['body'] | undefined;
    try {
      const response = await this.#dispatch(request, 'watch', idle.signal);
      body = response.body;
      this.#count(response.statusCode, request, response.host);
      if (response.statusCode !== 200) {
        const text = await body.text();
        const retryAfter = parseRetryAfter(response.headers['retry-after'], this.#options.clock.now());
        throw errorFromStatus(response.statusCode, parse(text, response.statusCode, request), request, retryAfter);
      }
      const lines = new LineSplitter(MAX_LINE_BYTES);
      for await (const chunk of body) {
        timer.refresh();
        for (const line of lines.push(chunk as Buffer)) yield this.#event<T>(line, request);
      }
      if (lines.pending > 0) {
        throw new KubeError({ code: 0, reason: 'NetworkError', message: 'the watch ended within an event' }, request);
      }
    } catch (error) {
      if (idle.signal.aborted) throw idle.signal.reason;
      // The next watch then comes with credentials read anew.
      if (isUnauthorized(error)) await abortable(this.#transport.route('watch', true), idle.signal);
      throw error instanceof KubeError ? error : this.#networkError(error, request);
    } finally {
      clearTimeout(timer);
      call.signal?.removeEventListener('abort', onAbort);
      body?.on('error', () => undefined);
      body?.destroy();
    }
  }

  #event<T extends KubeObject>(line: string, request: Request): WatchEvent<T> {
    const event = parse(line, 200, request) as { type?: unknown; object?: Stored<T> } | null;
    if (event?.type === 'ERROR') throw errorFromStatus(0, event.object, request);
    if (typeof event?.object?.metadata?.resourceVersion !== 'string') {
      throw new KubeError({ code: 0, reason: 'MalformedResponse', message: 'an event has no object' }, request);
    }
    if (event.type === 'BOOKMARK') return { type: 'BOOKMARK', resourceVersion: event.object.metadata.resourceVersion };
    if (event.type === 'ADDED' || event.type === 'MODIFIED' || event.type === 'DELETED') {
      return { type: event.type, object: event.object };
    }
    const message = `an event has the unknown type ${JSON.stringify(event.type)}`;
    throw new KubeError({ code: 0, reason: 'MalformedResponse', message }, request);
  }

  /** POST. Unknown fields are refused rather than dropped. */
  async create<T extends KubeObject>(kind: Kind, object: T, call: Call = {}): Promise<Stored<T>> {
    const path = pathOf(kind, { namespace: object.metadata.namespace });
    const query = { fieldValidation: 'Strict' };
    const idempotent = call.idempotent ?? false;
    return (await this.#send({ method: 'POST', path, query, body: object, idempotent, call })).body as Stored<T>;
  }

  /** PUT. With a resourceVersion in the object it succeeds only if nobody wrote since. */
  async replace<T extends KubeObject>(kind: Kind, object: T, call: Call = {}): Promise<Stored<T>> {
    const path = pathOf(kind, object.metadata);
    return (await this.#send({ method: 'PUT', path, body: object, idempotent: true, call })).body as Stored<T>;
  }

  /** Server-side apply. A `metadata.uid` in the object is a precondition: on another object of that name it gives Conflict. */
  async apply<T extends KubeObject>(
    kind: Kind,
    object: T,
    options: ApplyOptions,
    call: Call = {},
  ): Promise<{ object: Stored<T>; created: boolean }> {
    const { code, body } = await this.#apply(kind, object, options, call);
    return { object: body as Stored<T>, created: code === 201 };
  }

  /** Server-side apply to the status subresource; `object` holds identity and `status` only. */
  async applyStatus<T extends KubeObject>(
    kind: Kind,
    object: T & { status: object },
    options: ApplyOptions,
    call: Call = {},
  ): Promise<Stored<T>> {
    return (await this.#apply(kind, object, options, call, 'status')).body as Stored<T>;
  }

  async #apply(
    kind: Kind,
    object: KubeObject,
    options: ApplyOptions,
    call: Call,
    subresource?: string,
  ): Promise<Answer> {
    const path = pathOf(kind, object.metadata, subresource);
    try {
      return await this.#send({
        method: 'PATCH',
        path,
        query: { fieldManager: options.fieldManager, force: options.force ?? true, fieldValidation: 'Strict' },
        body: object,
        contentType: 'application/apply-patch+yaml',
        idempotent: true,
        call,
      });
    } catch (error) {
      throw error instanceof KubeError ? applyError(error, { method: 'PATCH', path }) : error;
    }
  }

  async jsonPatch<T extends KubeObject>(kind: Kind, at: At, patch: JsonPatch, call: Call = {}): Promise<Stored<T>> {
    const contentType = 'application/json-patch+json';
    const idempotent = call.idempotent ?? false;
    return (await this.#send({ method: 'PATCH', path: pathOf(kind, at), body: patch, contentType, idempotent, call }))
      .body as Stored<T>;
  }

  async mergePatch<T extends KubeObject>(kind: Kind, at: At, patch: object, call: Call = {}): Promise<Stored<T>> {
    const contentType = 'application/merge-patch+json';
    return (
      await this.#send({ method: 'PATCH', path: pathOf(kind, at), body: patch, contentType, idempotent: true, call })
    ).body as Stored<T>;
  }

  /** DELETE, in the background unless told otherwise. Absence is a NotFound error, another UID a Conflict. */
  async remove(kind: Kind, at: At, options: RemoveOptions = {}, call: Call = {}): Promise<void> {
    const { uid, gracePeriodSeconds, propagationPolicy = 'Background' } = options;
    const body = {
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      propagationPolicy,
      ...(uid === undefined ? {} : { preconditions: { uid } }),
      ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
    };
    // Without the precondition a repeated DELETE could hit a successor of the same name.
    const idempotent = uid !== undefined;
    await this.#send({ method: 'DELETE', path: pathOf(kind, at), body, idempotent, call });
  }

  close(): Promise<void> {
    return this.#transport.close();
  }

  /** One request with its retries. */
  async #send(request: Request): Promise<Answer> {
    const { signal } = request.call;
    const retries = this.#options.retries ?? 4;
    const backoff = this.#options.retryBackoff ?? { baseMs: 100, capMs: 5_000, jitter: 0.5 };
    const longest = this.#options.maxRetryAfterMs ?? 10_000;
    let reload = false;
    let reloaded = false;
    for (let attempt = 0; ; attempt += 1) {
      signal?.throwIfAborted();
      if (this.#bucket !== undefined) {
        this.#throttled.observe({ verb: request.method }, (await this.#bucket.take(signal)) / 1000);
      }
      if (attempt === 0) request.call.onSend?.();
      try {
        return await this.#try(request, reload);
      } catch (error) {
        reload = false;
        if (!(error instanceof KubeError) || attempt >= retries) throw error;
        // A rotated token or exec credential: once with everything read anew.
        if (isUnauthorized(error) && !reloaded) {
          reload = true;
          reloaded = true;
          continue;
        }
        if (!this.#mayRetry(error, request)) throw error;
        const asked = error.retryAfterMs ?? 0;
        if (asked > longest) throw error;
        await sleep(Math.max(asked, delayFor(attempt, backoff)), signal);
      }
    }
  }

  #mayRetry(error: KubeError, request: Request): boolean {
    if (error.code === 429) return true;
    if (error.code === 503 && error.retryAfterMs !== undefined) return true;
    if (error.code === 0 && NOT_SENT.has(codeOf(error.cause))) return true;
    return request.idempotent && (error.reason === 'NetworkError' || [502, 503, 504].includes(error.code));
  }

  async #try(request: Request, reload: boolean): Promise<Answer> {
    const timeoutMs = request.call.timeoutMs ?? this.#options.timeoutMs ?? 30_000;
    const { signal } = request.call;
    const limit = new AbortController();
    const timer = setTimeout(() => {
      limit.abort(new KubeError({ code: 0, reason: 'Timeout', message: `no answer within ${timeoutMs} ms` }, request));
    }, timeoutMs);
    const onAbort = (): void => limit.abort(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    const started = this.#options.clock.monotonic();
    let host = '';
    try {
      const response = await this.#dispatch(request, 'call', limit.signal, reload);
      host = response.host;
      const text = await response.body.text();
      this.#count(response.statusCode, request, host);
      const body = parse(text, response.statusCode, request);
      if (response.statusCode < 300) return { code: response.statusCode, body };
      const retryAfter = parseRetryAfter(response.headers['retry-after'], this.#options.clock.now());
      throw errorFromStatus(response.statusCode, body, request, retryAfter);
    } catch (error) {
      if (limit.signal.aborted) {
        if (!signal?.aborted) this.#count('<error>', request, host);
        throw limit.signal.reason;
      }
      if (error instanceof KubeError) throw error;
      this.#count('<error>', request, host);
      throw this.#networkError(error, request);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      this.#duration.observe({ verb: request.method, host }, (this.#options.clock.monotonic() - started) / 1000);
    }
  }

  async #dispatch(
    request: Request,
    use: 'call' | 'watch',
    signal: AbortSignal,
    reload = false,
  ): Promise<Dispatcher.ResponseData & { host: string }> {
    // Credentials may come from a plug-in that hangs.
    const route = await abortable(this.#transport.route(use, reload), signal);
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) query.set(name, String(value));
    }
    const response = await route.dispatcher.request({
      origin: route.origin,
      path: `${route.prefix}${request.path}${query.size === 0 ? '' : `?${query}`}`,
      method: request.method,
      headers: {
        ...route.headers,
        accept: 'application/json',
        'user-agent': this.#options.userAgent,
        ...(request.body === undefined ? {} : { 'content-type': request.contentType ?? 'application/json' }),
      },
      body: request.body === undefined ? null : JSON.stringify(request.body),
      signal,
    });
    return Object.assign(response, { host: new URL(route.origin).host });
  }

  #count(code: number | string, request: Request, host: string): void {
    this.#requests.inc({ code: String(code), method: request.method, host });
  }

  #networkError(error: unknown, request: Request): KubeError {
    const code = codeOf(error);
    const text = error instanceof Error ? error.message : String(error);
    const message = code === '' || text.includes(code) ? text : `${text} (${code})`;
    return new KubeError({ code: 0, reason: 'NetworkError', message, cause: error }, request);
  }
}

/**
 * Two answers to an apply that do not say what they mean (seen on 1.36): another UID comes as 422 on an immutable field,
 * a field that the schema lacks as 500.
 */
function applyError(error: KubeError, request: { method: string; path: string }): KubeError {
  const message = error.detail;
  if (error.code === 422 && message.includes('metadata.uid: Invalid value') && message.includes('immutable')) {
    return new KubeError({ code: 409, reason: 'Conflict', message, cause: error }, request);
  }
  if (error.code === 500 && message.startsWith('failed to create typed patch object')) {
    return new KubeError({ code: 400, reason: 'BadRequest', message, cause: error }, request);
  }
  return error;
}

function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
