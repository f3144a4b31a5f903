import { Agent, ProxyAgent } from 'undici';
import type { Dispatcher } from 'undici';
import type { CredentialSource, Credentials } from './credentials.ts';

interface Connections {
  digest: string;
  calls: Dispatcher;
  watches: Dispatcher;
}

export interface Route {
  dispatcher: Dispatcher;
  origin: string;
  /** Path in front of every request, for servers behind a prefix. */
  prefix: string;
  headers: Record<string, string>;
}

/**
 * HTTP/1.1 only: an HTTP/2 session whose TCP connection went dead is used again for every new request and never
 * recovers (measured with undici 8). Watches have connections of their own, without a limit on number or body time.
 */
function connect(credentials: Credentials): Connections {
  const tls = credentials.tls;
  const common = { allowH2: false, pipelining: 1, keepAliveTimeout: 60_000, keepAliveMaxTimeout: 300_000 };
  const make = (options: { connections: number | null; bodyTimeout: number }): Dispatcher =>
    credentials.proxyUrl === undefined
      ? new Agent({
          ...common,
          ...options,
          headersTimeout: 60_000,
          connect: { ...tls, timeout: 10_000, keepAlive: true, keepAliveInitialDelay: 30_000 },
        })
      : new ProxyAgent({ ...common, ...options, headersTimeout: 60_000, uri: credentials.proxyUrl, requestTls: tls });
  return {
    digest: credentials.tlsDigest,
    calls: make({ connections: 16, bodyTimeout: 60_000 }),
    watches: make({ connections: null, bodyTimeout: 0 }),
  };
}

/** Shared keep-alive connections to one API server, made anew when the CA, the client certificate or the server changes. */
export class Transport {
  readonly #source: CredentialSource;
  #connections: Connections | undefined;
  #closed = false;

  constructor(source: CredentialSource) {
    this.#source = source;
  }

  async route(use: 'call' | 'watch', reload = false): Promise<Route> {
    if (this.#closed) throw new Error('the client is closed');
    const credentials = await (reload ? this.#source.reload() : this.#source.current());
    if (this.#connections === undefined || this.#connections.digest !== credentials.tlsDigest) {
      this.#retire(this.#connections);
      this.#connections = connect(credentials);
    }
    const url = new URL(credentials.server);
    return {
      dispatcher: use === 'call' ? this.#connections.calls : this.#connections.watches,
      origin: url.origin,
      prefix: url.pathname === '/' ? '' : url.pathname,
      headers: credentials.headers,
    };
  }

  /** Lets running requests end; watches end by their own time-out. */
  #retire(connections: Connections | undefined): void {
    connections?.calls.close().catch(() => undefined);
    connections?.watches.close().catch(() => undefined);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([this.#connections?.calls.destroy(), this.#connections?.watches.destroy()]);
  }
}
