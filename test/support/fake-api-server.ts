/**
 * An API server in memory over real HTTP, for what a real cluster cannot be told to do: lose watches, expire history,
 * throttle, break connections. It keeps the rules that controllers rely on: resourceVersions, UIDs, optimistic locks,
 * finalizers, the status subresource, field ownership in server-side apply, no new version for a write without change.
 * Lists are atomic in apply and selectors know equality only.
 */
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { KubeConfig } from '@kubernetes/client-node';

type Json = Record<string, unknown>;

export interface FakeObject {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    uid: string;
    resourceVersion: string;
    generation?: number;
    creationTimestamp?: string;
    deletionTimestamp?: string;
    labels?: Record<string, string>;
    finalizers?: string[];
    [more: string]: unknown;
  };
  [more: string]: unknown;
}

export interface SeenRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: IncomingMessage['headers'];
  body: unknown;
  watch: boolean;
}

/** What to do to a request instead of answering it. 'hang' never answers, 'reset' breaks the connection. */
export type Fault =
  | 'hang'
  | 'reset'
  | { code: number; reason?: string; message?: string; headers?: Record<string, string> };

interface Rule {
  when: (request: SeenRequest) => boolean;
  times: number;
  fault: Fault;
  /** Break the connection only after the request has taken effect. */
  afterwards: boolean;
}

interface OpenWatch {
  request: SeenRequest;
  response: ServerResponse;
  collection: string;
  namespace: string | undefined;
  timers: NodeJS.Timeout[];
}

interface Recorded {
  version: number;
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  collection: string;
  object: FakeObject;
}

interface Target {
  collection: string;
  apiVersion: string;
  namespace: string | undefined;
  name: string | undefined;
  subresource: string | undefined;
}

class Refused extends Error {
  readonly status: Json;
  readonly code: number;
  readonly headers: Record<string, string>;
  constructor(code: number, reason: string, message: string, headers: Record<string, string> = {}) {
    super(message);
    this.code = code;
    this.headers = headers;
    this.status = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code };
  }
}

const clone = <T>(value: T): T => structuredClone(value);
const isRecord = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

function parseTarget(path: string): Target | undefined {
  const match =
    /^\/(?:api\/(v1)|apis\/([^/]+\/[^/]+))(?:\/namespaces\/([^/]+)(?=\/[^/]))?\/([^/]+)(?:\/([^/]+))?(?:\/([^/]+))?$/.exec(
      path,
    );
  if (match === null) return undefined;
  const [, core, group, namespace, plural = '', name, subresource] = match;
  const apiVersion = core ?? group ?? '';
  // /api/v1/namespaces/<name>/status reads like an object in a namespace.
  if (core !== undefined && namespace !== undefined && (plural === 'status' || plural === 'finalize')) {
    return { apiVersion, collection: 'v1/namespaces', namespace: undefined, name: namespace, subresource: plural };
  }
  return { apiVersion, collection: `${apiVersion}/${plural}`, namespace, name, subresource };
}

/** Leaf paths of what a manager states; lists and empty maps are leaves. */
function leaves(value: unknown, at: string[] = []): string[] {
  if (!isRecord(value) || Object.keys(value).length === 0) return [JSON.stringify(at)];
  return Object.entries(value).flatMap(([key, child]) => leaves(child, [...at, key]));
}

function removeLeaf(target: Json, path: string[]): void {
  const parents: Json[] = [];
  let at: Json = target;
  for (const key of path.slice(0, -1)) {
    const next = at[key];
    if (!isRecord(next)) return;
    parents.push(at);
    at = next;
  }
  delete at[path.at(-1) ?? ''];
  for (let depth = parents.length - 1; depth >= 0; depth -= 1) {
    const parent = parents[depth] as Json;
    const key = path[depth] as string;
    if (Object.keys(parent[key] as Json).length === 0) delete parent[key];
  }
}

function merge(target: Json, patch: Json, nullDeletes: boolean): void {
  for (const [key, value] of Object.entries(patch)) {
    if (value === null && nullDeletes) delete target[key];
    else if (isRecord(value) && isRecord(target[key])) merge(target[key] as Json, value, nullDeletes);
    else target[key] = clone(value);
  }
}

function jsonPatch(target: Json, operations: { op: string; path: string; value?: unknown }[]): void {
  for (const { op, path, value } of operations) {
    const keys = path
      .split('/')
      .slice(1)
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
    const last = keys.pop() ?? '';
    let at: unknown = target;
    for (const key of keys) at = (at as Json | undefined)?.[key];
    const parent = at as Json | unknown[] | undefined;
    const found = parent === undefined ? undefined : (parent as Json)[last];
    if (op === 'test') {
      if (!same(found, value)) throw new Refused(422, 'Invalid', `testing value ${path} failed`);
    } else if (parent === undefined) {
      throw new Refused(422, 'Invalid', `the path ${path} does not exist`);
    } else if (Array.isArray(parent)) {
      if (op === 'remove') parent.splice(Number(last), 1);
      else if (last === '-') parent.push(clone(value));
      else parent.splice(Number(last), op === 'add' ? 0 : 1, clone(value));
    } else if (op === 'remove') delete parent[last];
    else parent[last] = clone(value);
  }
}

export class FakeApiServer {
  readonly requests: SeenRequest[] = [];
  /** Fields by which an object may be refused on its way in: throw `FakeApiServer.refusal(…)`. */
  admit: ((request: SeenRequest, object: FakeObject) => void) | undefined;
  /** Answers creates of kinds that are not stored, by plural. */
  readonly reviews = new Map<string, (body: Json) => Json>();
  /** Bookmarks on idle watches; 0 for none. */
  bookmarkMs = 0;
  /** Open watches stay open but carry nothing. */
  blackhole = false;
  pageLimit = Number.POSITIVE_INFINITY;
  readonly #server: Server;
  readonly #objects = new Map<string, Map<string, FakeObject>>();
  readonly #owned = new WeakMap<FakeObject, Map<string, Set<string>>>();
  readonly #history: Recorded[] = [];
  readonly #watches = new Set<OpenWatch>();
  readonly #pages = new Map<string, { items: FakeObject[]; version: number }>();
  readonly #rules: Rule[] = [];
  #version = 100;
  #oldest = 0;

  static refusal(code: number, reason: string, message: string): Error {
    return new Refused(code, reason, message);
  }

  static async start(): Promise<FakeApiServer> {
    const server = new FakeApiServer();
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  kubeConfig(): KubeConfig {
    const config = new KubeConfig();
    const cluster = { name: 'fake', server: this.url, skipTLSVerify: true };
    config.loadFromClusterAndUser(cluster, { name: 'tester', token: 'a-token' });
    return config;
  }

  async close(): Promise<void> {
    for (const watch of this.#watches) for (const timer of watch.timers) clearTimeout(timer);
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  /** The next `times` requests that match meet this fault. */
  fail(when: (request: SeenRequest) => boolean, fault: Fault, times = 1, afterwards = false): void {
    this.#rules.push({ when, times, fault, afterwards });
  }

  heal(): void {
    this.#rules.length = 0;
    this.blackhole = false;
  }

  count(when: (request: SeenRequest) => boolean): number {
    return this.requests.filter(when).length;
  }

  connections(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
    });
  }

  get openWatches(): number {
    return this.#watches.size;
  }

  /** Breaks or ends all open watches. */
  cutWatches(how: 'reset' | 'end'): void {
    for (const watch of [...this.#watches]) {
      if (how === 'reset') watch.response.socket?.resetAndDestroy();
      else watch.response.end();
      this.#forget(watch);
    }
  }

  /** Sends bytes as they are on all open watches. */
  sendRaw(text: string): void {
    for (const watch of this.#watches) watch.response.write(text);
  }

  /** Forgets all history: a watch from before now gets 410, a continue token too. */
  expireHistory(): void {
    this.#version += 1;
    this.#oldest = this.#version;
    this.#history.length = 0;
    this.#pages.clear();
  }

  /** As if someone else wrote: makes or overwrites an object, status included. */
  put(path: string, object: Json & { kind: string; metadata: Json & { name: string } }): FakeObject {
    const target = parseTarget(path);
    if (target === undefined) throw new Error(`${path} is no path of a collection`);
    const known = this.#collection(target.collection).get(this.#key(target.namespace, object.metadata.name));
    const next = clone(object) as unknown as FakeObject;
    next.apiVersion = target.apiVersion;
    if (target.namespace !== undefined) next.metadata.namespace = target.namespace;
    if (known === undefined) return this.#insert(target, next);
    next.metadata = { ...known.metadata, ...next.metadata };
    return this.#update(target, known, next);
  }

  read(path: string): FakeObject | undefined {
    const target = parseTarget(path);
    if (target?.name === undefined) throw new Error(`${path} is no path of an object`);
    return this.#collection(target.collection).get(this.#key(target.namespace, target.name));
  }

  /** As if someone else deleted it; finalizers are ignored. */
  drop(path: string): void {
    const target = parseTarget(path);
    const object = this.read(path);
    if (target !== undefined && object !== undefined) this.#delete(target, object);
  }

  all(path: string): FakeObject[] {
    return [...this.#collection(parseTarget(path)?.collection ?? '').values()];
  }

  #key(namespace: string | undefined, name: string): string {
    return `${namespace ?? ''}/${name}`;
  }

  #collection(name: string): Map<string, FakeObject> {
    const known = this.#objects.get(name);
    if (known !== undefined) return known;
    const fresh = new Map<string, FakeObject>();
    this.#objects.set(name, fresh);
    return fresh;
  }

  #insert(target: Target, object: FakeObject): FakeObject {
    this.#version += 1;
    object.metadata.uid = randomUUID();
    object.metadata.resourceVersion = String(this.#version);
    object.metadata.generation = 1;
    object.metadata.creationTimestamp = new Date().toISOString().replace(/\.\d+Z/, 'Z');
    this.#collection(target.collection).set(this.#key(target.namespace, object.metadata.name), object);
    this.#tell('ADDED', target.collection, object);
    return object;
  }

  #update(target: Target, old: FakeObject, next: FakeObject): FakeObject {
    if (same(old, next)) return old;
    const generation = old.metadata.generation ?? 1;
    next.metadata.generation = same(old['spec'], next['spec']) ? generation : generation + 1;
    this.#version += 1;
    next.metadata.resourceVersion = String(this.#version);
    const owned = this.#owned.get(old);
    if (owned !== undefined) this.#owned.set(next, owned);
    if (next.metadata.deletionTimestamp !== undefined && (next.metadata.finalizers ?? []).length === 0) {
      return this.#delete(target, next);
    }
    this.#collection(target.collection).set(this.#key(target.namespace, next.metadata.name), next);
    this.#tell('MODIFIED', target.collection, next);
    return next;
  }

  #delete(target: Target, object: FakeObject): FakeObject {
    this.#collection(target.collection).delete(this.#key(object.metadata.namespace, object.metadata.name));
    this.#version += 1;
    const last = clone(object);
    last.metadata.resourceVersion = String(this.#version);
    this.#tell('DELETED', target.collection, last);
    return last;
  }

  #tell(type: Recorded['type'], collection: string, object: FakeObject): void {
    const record = { version: this.#version, type, collection, object: clone(object) };
    this.#history.push(record);
    for (const watch of this.#watches) this.#deliver(watch, record);
  }

  #selected(request: SeenRequest, object: FakeObject): boolean {
    const labels = request.query.get('labelSelector');
    const fields = request.query.get('fieldSelector');
    const pairs = (text: string): [string, string][] =>
      text.split(',').map((part) => part.split(/==?/) as [string, string]);
    const field = (path: string): unknown =>
      path.split('.').reduce<unknown>((at, key) => (at as Json | undefined)?.[key], object);
    return (
      (labels === null || pairs(labels).every(([key, value]) => object.metadata.labels?.[key] === value)) &&
      (fields === null || pairs(fields).every(([key, value]) => field(key) === value))
    );
  }

  #deliver(watch: OpenWatch, record: Recorded): void {
    if (this.blackhole || record.collection !== watch.collection) return;
    if (watch.namespace !== undefined && record.object.metadata.namespace !== watch.namespace) return;
    if (!this.#selected(watch.request, record.object)) return;
    watch.response.write(`${JSON.stringify({ type: record.type, object: record.object })}\n`);
  }

  #forget(watch: OpenWatch): void {
    this.#watches.delete(watch);
    for (const timer of watch.timers) clearTimeout(timer);
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(incoming.url ?? '/', 'http://fake');
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of incoming) chunks.push(chunk as Buffer);
    } catch {
      return;
    }
    const text = Buffer.concat(chunks).toString();
    const request: SeenRequest = {
      method: incoming.method ?? 'GET',
      path: url.pathname,
      query: url.searchParams,
      headers: incoming.headers,
      body: text === '' ? undefined : JSON.parse(text),
      watch: url.searchParams.get('watch') === 'true',
    };
    this.requests.push(request);
    const rule = this.#rules.find((candidate) => candidate.times > 0 && candidate.when(request));
    if (rule !== undefined) rule.times -= 1;
    try {
      if (rule !== undefined && !rule.afterwards) {
        if (rule.fault === 'hang') return;
        if (rule.fault === 'reset') {
          incoming.socket.resetAndDestroy();
          return;
        }
        const { code, reason = 'Injected', message = 'injected fault', headers = {} } = rule.fault;
        throw new Refused(code, reason, message, headers);
      }
      if (request.watch) {
        this.#watch(request, response);
        return;
      }
      const { code, body } = this.#handle(request);
      if (rule !== undefined) {
        incoming.socket.resetAndDestroy();
        return;
      }
      response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    } catch (error) {
      const refused = error instanceof Refused ? error : new Refused(500, 'InternalError', String(error));
      response.writeHead(refused.code, { 'content-type': 'application/json', ...refused.headers });
      response.end(JSON.stringify(refused.status));
    }
  }

  #watch(request: SeenRequest, response: ServerResponse): void {
    const target = parseTarget(request.path);
    if (target === undefined) throw new Refused(404, 'NotFound', 'no such collection');
    const from = Number(request.query.get('resourceVersion'));
    const watch: OpenWatch = {
      request,
      response,
      collection: target.collection,
      namespace: target.namespace,
      timers: [],
    };
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    if (from < this.#oldest) {
      const { status } = new Refused(410, 'Expired', `too old resource version: ${from} (${this.#oldest})`);
      response.end(`${JSON.stringify({ type: 'ERROR', object: status })}\n`);
      return;
    }
    for (const record of this.#history) if (record.version > from) this.#deliver(watch, record);
    this.#watches.add(watch);
    response.on('close', () => this.#forget(watch));
    const seconds = Number(request.query.get('timeoutSeconds'));
    if (seconds > 0) watch.timers.push(setTimeout(() => response.end(), seconds * 1000));
    if (this.bookmarkMs > 0 && request.query.get('allowWatchBookmarks') === 'true') {
      watch.timers.push(
        setInterval(() => {
          if (this.blackhole) return;
          const metadata = { resourceVersion: String(this.#version) };
          response.write(
            `${JSON.stringify({ type: 'BOOKMARK', object: { apiVersion: target.apiVersion, metadata } })}\n`,
          );
        }, this.bookmarkMs),
      );
    }
  }

  #handle(request: SeenRequest): { code: number; body: unknown } {
    const target = parseTarget(request.path);
    if (target === undefined) throw new Refused(404, 'NotFound', `the server has no ${request.path}`);
    if (request.method === 'POST') return this.#post(request, target);
    if (target.name === undefined) {
      if (request.method === 'GET') return { code: 200, body: this.#list(request, target) };
      throw new Refused(405, 'MethodNotAllowed', 'not on a collection');
    }
    const stored = this.#collection(target.collection).get(this.#key(target.namespace, target.name));
    if (request.method === 'PATCH' && String(request.headers['content-type']).startsWith('application/apply-patch')) {
      return this.#apply(request, target, stored);
    }
    if (stored === undefined) throw new Refused(404, 'NotFound', `${target.collection} "${target.name}" not found`);
    if (request.method === 'GET') return { code: 200, body: stored };
    if (request.method === 'DELETE') return this.#remove(request, target, stored);
    const next = clone(stored);
    if (request.method === 'PUT') {
      const body = clone(request.body) as FakeObject;
      const { resourceVersion } = body.metadata;
      if (resourceVersion !== undefined && resourceVersion !== stored.metadata.resourceVersion) {
        throw new Refused(
          409,
          'Conflict',
          'the object has been modified; please apply your changes to the latest version',
        );
      }
      for (const key of Object.keys(next))
        if (!['apiVersion', 'kind', 'metadata', 'status'].includes(key)) delete next[key];
      const { metadata, ...rest } = body;
      next.metadata = { ...stored.metadata, ...metadata, uid: stored.metadata.uid };
      Object.assign(next, rest);
    } else if (String(request.headers['content-type']).startsWith('application/json-patch')) {
      jsonPatch(next, request.body as { op: string; path: string }[]);
    } else merge(next, request.body as Json, true);
    this.#separate(target, stored, next);
    this.admit?.(request, next);
    return { code: 200, body: this.#update(target, stored, next) };
  }

  /** A write to /status changes the status only, any other write leaves it alone, for kinds that have the subresource. */
  #separate(target: Target, stored: FakeObject | undefined, next: FakeObject): void {
    if (!target.apiVersion.startsWith('millrace.dev/')) return;
    if (target.subresource === 'status') {
      if (stored !== undefined) {
        for (const key of new Set([...Object.keys(stored), ...Object.keys(next)])) {
          if (key !== 'status') {
            if (stored[key] === undefined) delete next[key];
            else next[key] = clone(stored[key]);
          }
        }
      }
    } else if (stored?.['status'] === undefined) delete next['status'];
    else next['status'] = clone(stored['status']);
  }

  #list(request: SeenRequest, target: Target): Json {
    const token = request.query.get('continue');
    let page = token === null ? undefined : this.#pages.get(token);
    if (token !== null && page === undefined)
      throw new Refused(410, 'Expired', 'The provided continue parameter is too old');
    page ??= {
      items: [...this.#collection(target.collection).values()]
        .filter((object) => target.namespace === undefined || object.metadata.namespace === target.namespace)
        .filter((object) => this.#selected(request, object))
        .map(clone),
      version: this.#version,
    };
    const limit = Math.min(Number(request.query.get('limit') ?? Number.POSITIVE_INFINITY), this.pageLimit);
    // Without a limit the answer is whole, as from the real one.
    const size = request.query.has('limit') ? limit : Number.POSITIVE_INFINITY;
    const items = page.items.slice(0, size);
    const metadata: Json = { resourceVersion: String(page.version) };
    if (page.items.length > size) {
      const next = randomUUID();
      this.#pages.set(next, { items: page.items.slice(size), version: page.version });
      metadata['continue'] = next;
    }
    return { apiVersion: target.apiVersion, kind: 'List', metadata, items };
  }

  #post(request: SeenRequest, target: Target): { code: number; body: unknown } {
    const review = this.reviews.get(target.collection.slice(target.collection.lastIndexOf('/') + 1));
    if (review !== undefined) return { code: 201, body: review(request.body as Json) };
    const object = clone(request.body) as FakeObject;
    if (object.metadata?.name === undefined) throw new Refused(422, 'Invalid', 'metadata.name: Required value');
    if (target.namespace !== undefined) object.metadata.namespace = target.namespace;
    if (this.#collection(target.collection).has(this.#key(target.namespace, object.metadata.name))) {
      throw new Refused(409, 'AlreadyExists', `${target.collection} "${object.metadata.name}" already exists`);
    }
    this.#separate({ ...target, subresource: undefined }, undefined, object);
    this.admit?.(request, object);
    return { code: 201, body: this.#insert(target, object) };
  }

  #remove(request: SeenRequest, target: Target, stored: FakeObject): { code: number; body: unknown } {
    const uid = ((request.body as Json | undefined)?.['preconditions'] as Json | undefined)?.['uid'];
    if (uid !== undefined && uid !== stored.metadata.uid) {
      throw new Refused(409, 'Conflict', `the UID in the precondition (${String(uid)}) does not match`);
    }
    if ((stored.metadata.finalizers ?? []).length > 0) {
      if (stored.metadata.deletionTimestamp !== undefined) return { code: 200, body: stored };
      const next = clone(stored);
      next.metadata.deletionTimestamp = new Date().toISOString();
      return { code: 200, body: this.#update(target, stored, next) };
    }
    return { code: 200, body: this.#delete(target, stored) };
  }

  #apply(request: SeenRequest, target: Target, stored: FakeObject | undefined): { code: number; body: unknown } {
    const manager = request.query.get('fieldManager') ?? '';
    if (manager === '') throw new Refused(400, 'BadRequest', 'fieldManager is required for apply patch');
    if (stored === undefined && target.subresource !== undefined)
      throw new Refused(404, 'NotFound', `"${target.name}" not found`);
    const body = clone(request.body) as FakeObject;
    const { uid } = body.metadata;
    if (uid !== undefined && uid !== stored?.metadata.uid) {
      if (stored === undefined)
        throw new Refused(
          409,
          'Conflict',
          `uid mismatch: the provided object specified uid ${uid}, and no existing object was found`,
        );
      throw new Refused(422, 'Invalid', `metadata.uid: Invalid value: "${uid}": field is immutable`);
    }
    const { apiVersion, kind, metadata, ...rest } = body;
    const { name, namespace: _namespace, uid: _uid, resourceVersion: _version, ...meta } = metadata;
    const stated: Json = { ...rest };
    if (Object.keys(meta).length > 0) stated['metadata'] = meta;
    const paths = new Set(leaves(stated));
    const next: FakeObject =
      stored === undefined
        ? ({
            apiVersion,
            kind,
            metadata: { name, ...(target.namespace === undefined ? {} : { namespace: target.namespace }) },
          } as FakeObject)
        : clone(stored);
    const owned = new Map(stored === undefined ? [] : this.#owned.get(stored));
    for (const path of owned.get(manager) ?? []) {
      const others = [...owned].some(([other, theirs]) => other !== manager && theirs.has(path));
      if (!paths.has(path) && !others) removeLeaf(next, JSON.parse(path) as string[]);
    }
    merge(next, stated, false);
    this.#separate(target, stored, next);
    this.admit?.(request, next);
    owned.set(manager, paths);
    const result = stored === undefined ? this.#insert(target, next) : this.#update(target, stored, next);
    this.#owned.set(result, owned);
    return { code: stored === undefined ? 201 : 200, body: result };
  }
}
