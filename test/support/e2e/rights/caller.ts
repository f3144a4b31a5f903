import { readFileSync } from 'node:fs';
import { load } from 'js-yaml';
import { Agent, type Dispatcher, request } from 'undici';

/** Somebody known to the API server. The API server itself adds the groups that come with being authenticated. */
export interface Subject {
  user: string;
  groups?: readonly string[];
}

export const user = (name: string, ...groups: string[]): Subject => ({ user: name, groups: ['system:authenticated', ...groups] });

export const serviceAccount = (namespace: string, name: string): Subject => ({
  user: `system:serviceaccount:${namespace}:${name}`,
  groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
});

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export interface Call {
  /** Whom to speak as; the administrator of the kubeconfig when absent. */
  as?: Subject | undefined;
  /** Speak with this bearer token and with no client certificate. */
  token?: string;
  body?: unknown;
  type?: string;
  accept?: string;
}

export interface Answer {
  status: number;
  /** As JSON, where it is JSON. */
  body: Record<string, unknown>;
  text: string;
}

interface KubeConfig {
  clusters: { cluster: { server: string; 'certificate-authority-data': string } }[];
  users: { user: { 'client-certificate-data': string; 'client-key-data': string } }[];
}

/** So many requests are under way at once, over one connection (HTTP/2). */
const parallel = 64;
/** A watch or a long answer of the API server is no reason to wait longer than this. */
const timeout = 15_000;

/** Requests as anybody, each with its plain answer: to ask tens of thousands of questions, and to try what must be refused. */
export class Caller {
  readonly #server: string;
  readonly #admin: Agent;
  readonly #bare: Agent;

  /** @param kubeconfig one with one cluster and client certificates, as kind writes it */
  constructor(kubeconfig: string) {
    const { clusters, users } = load(readFileSync(kubeconfig, 'utf8')) as KubeConfig;
    const [cluster, person] = [clusters[0]?.cluster, users[0]?.user];
    if (cluster === undefined || person === undefined) throw new Error(`${kubeconfig} has no cluster or no user`);
    const bytes = (text: string): Buffer => Buffer.from(text, 'base64');
    const ca = bytes(cluster['certificate-authority-data']);
    const options = { allowH2: true, connections: 1, pipelining: parallel, headersTimeout: timeout, bodyTimeout: timeout };
    this.#server = cluster.server;
    this.#admin = new Agent({ ...options, connect: { ca, cert: bytes(person['client-certificate-data']), key: bytes(person['client-key-data']) } });
    this.#bare = new Agent({ ...options, connect: { ca } });
  }

  async request(method: Method, path: string, { as, token, body, type = 'application/json', accept = 'application/json' }: Call = {}): Promise<Answer> {
    const dispatcher: Dispatcher = token === undefined ? this.#admin : this.#bare;
    const answer = await request(`${this.#server}${path}`, {
      method,
      dispatcher,
      headers: {
        accept,
        ...(body === undefined ? {} : { 'content-type': type }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(as === undefined ? {} : { 'impersonate-user': as.user, 'impersonate-group': [...(as.groups ?? [])] }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    return { status: answer.statusCode, body: asObject(text), text };
  }

  async close(): Promise<void> {
    await Promise.all([this.#admin.close(), this.#bare.close()]);
  }
}

function asObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {}; // a log, a stream of a watch, a page of text
  }
}

/** Refused for want of the right, before admission or validation saw the request. */
export const isForbidden = ({ status, text }: Answer): boolean => status === 403 && / cannot [\w:-]+ (resource|path) /.test(text);

/** `run` on each item, as many at once as one connection carries. */
export async function forEach<T>(items: Iterable<T>, run: (item: T) => Promise<void>): Promise<void> {
  const rest = items[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (let next = rest.next(); next.done !== true; next = rest.next()) await run(next.value);
  };
  await Promise.all(Array.from({ length: parallel }, worker));
}
