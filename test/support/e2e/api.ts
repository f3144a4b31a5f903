import { readFileSync } from 'node:fs';
import { load } from 'js-yaml';
import { Agent, request } from 'undici';

export interface ApiObject {
  apiVersion?: string;
  kind?: string;
  metadata: {
    name: string;
    namespace?: string;
    uid: string;
    resourceVersion: string;
    creationTimestamp: string;
    deletionTimestamp?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    ownerReferences?: { kind: string; name: string; uid: string; controller?: boolean }[];
  };
}

interface KubeConfig {
  clusters: { cluster: { server: string; 'certificate-authority-data': string } }[];
  users: { user: { 'client-certificate-data': string; 'client-key-data': string } }[];
}

/**
 * A test's own line to the API server as administrator: independent of the operator's client, and without a process for
 * each question, so that short waits can be measured.
 */
export class Api {
  readonly #server: string;
  readonly #agent: Agent;

  /** @param kubeconfig one with one cluster and client certificates, as kind writes it */
  constructor(kubeconfig: string) {
    const { clusters, users } = load(readFileSync(kubeconfig, 'utf8')) as KubeConfig;
    const [cluster, user] = [clusters[0]?.cluster, users[0]?.user];
    if (cluster === undefined || user === undefined) throw new Error(`${kubeconfig} has no cluster or no user`);
    const bytes = (text: string): Buffer => Buffer.from(text, 'base64');
    this.#server = cluster.server;
    this.#agent = new Agent({
      connect: { ca: bytes(cluster['certificate-authority-data']), cert: bytes(user['client-certificate-data']), key: bytes(user['client-key-data']) },
      headersTimeout: 15_000,
      bodyTimeout: 15_000,
    });
  }

  /** The object or list at `path`, or undefined where there is none. */
  async get<T extends object = ApiObject>(path: string): Promise<T | undefined> {
    const { status, body } = await this.#send('GET', path);
    if (status === 404) return undefined;
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${body}`);
    return JSON.parse(body) as T;
  }

  async list<T extends object = ApiObject>(path: string): Promise<T[]> {
    const found = await this.get<{ items: T[] }>(path);
    if (found === undefined) throw new Error(`GET ${path}: there is no such collection`);
    return found.items;
  }

  async mergePatch(path: string, patch: object): Promise<void> {
    await this.#expect('PATCH', path, patch, 'application/merge-patch+json');
  }

  async delete(path: string, options: { gracePeriodSeconds?: number; propagationPolicy?: string } = {}): Promise<void> {
    const { status, body } = await this.#send('DELETE', path, options);
    if (status >= 300 && status !== 404) throw new Error(`DELETE ${path}: ${status} ${body}`);
  }

  close(): Promise<void> {
    return this.#agent.close();
  }

  async #expect(method: 'PATCH', path: string, content: object, type: string): Promise<void> {
    const { status, body } = await this.#send(method, path, content, type);
    if (status >= 300) throw new Error(`${method} ${path}: ${status} ${body}`);
  }

  async #send(method: 'GET' | 'PATCH' | 'DELETE', path: string, content?: object, type = 'application/json'): Promise<{ status: number; body: string }> {
    const answer = await request(`${this.#server}${path}`, {
      method,
      dispatcher: this.#agent,
      headers: { accept: 'application/json', ...(content === undefined ? {} : { 'content-type': type }) },
      ...(content === undefined ? {} : { body: JSON.stringify(content) }),
    });
    return { status: answer.statusCode, body: await answer.body.text() };
  }
}

export const paths = {
  tenant: (name: string) => `/apis/millrace.dev/v1alpha1/tenants/${name}`,
  jobs: (namespace: string) => `/apis/millrace.dev/v1alpha1/namespaces/${namespace}/batchjobs`,
  job: (namespace: string, name: string) => `/apis/millrace.dev/v1alpha1/namespaces/${namespace}/batchjobs/${name}`,
  pods: (namespace: string, selector = '') => `/api/v1/namespaces/${namespace}/pods${selector === '' ? '' : `?labelSelector=${encodeURIComponent(selector)}`}`,
  pod: (namespace: string, name: string) => `/api/v1/namespaces/${namespace}/pods/${name}`,
  namespace: (name: string) => `/api/v1/namespaces/${name}`,
  core: (namespace: string, plural: string, name: string) => `/api/v1/namespaces/${namespace}/${plural}/${name}`,
  group: (group: string, namespace: string, plural: string, name = '') => `/apis/${group}/v1/namespaces/${namespace}/${plural}${name === '' ? '' : `/${name}`}`,
} as const;
