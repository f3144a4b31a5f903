import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import type { Clock } from '../../kit/clock.ts';

/** What a request needs beside its path. */
export interface Credentials {
  /** Base URL without trailing slash. */
  server: string;
  proxyUrl: string | undefined;
  headers: Record<string, string>;
  tls: {
    ca?: string | Buffer;
    cert?: string | Buffer;
    key?: string | Buffer;
    rejectUnauthorized?: boolean;
    servername?: string;
  };
  /** Changes when connections have to be made anew: another CA, client certificate or server. */
  tlsDigest: string;
}

export interface CredentialSource {
  /** Read anew when older than `maxAgeMs`, so that rotated tokens and CAs are taken up. */
  current(): Promise<Credentials>;
  /** After a 401: forgets everything, kubeconfig included. */
  reload(): Promise<Credentials>;
}

const SERVICE_ACCOUNT_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/** In a pod the ServiceAccount only, so that a kubeconfig that strayed into the image is not taken; else $KUBECONFIG or ~/.kube/config. */
export function loadKubeConfig(): KubeConfig {
  const config = new KubeConfig();
  if (process.env['KUBERNETES_SERVICE_HOST'] !== undefined && existsSync(SERVICE_ACCOUNT_TOKEN))
    config.loadFromCluster();
  else config.loadFromDefault();
  return config;
}

/** Namespace of the current context, 'default' when it names none. */
export function contextNamespace(config: KubeConfig): string {
  return config.getContextObject(config.getCurrentContext())?.namespace ?? 'default';
}

async function read(config: KubeConfig): Promise<Credentials> {
  const cluster = config.getCurrentCluster();
  if (cluster === null) {
    throw new Error('the kubeconfig has no current cluster: set current-context, or KUBECONFIG to a file that has one');
  }
  const options: RequestOptions = { headers: {} };
  await config.applyToHTTPSOptions(options);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) headers[name.toLowerCase()] = String(value).trim();
  if (typeof options.auth === 'string') {
    headers['authorization'] = `Basic ${Buffer.from(options.auth).toString('base64')}`;
  }
  const tls: Credentials['tls'] = {};
  if (options.ca !== undefined && options.ca !== null) tls.ca = options.ca as string | Buffer;
  if (options.cert !== undefined && options.cert !== null) tls.cert = options.cert as string | Buffer;
  if (options.key !== undefined && options.key !== null) tls.key = options.key as string | Buffer;
  if (options.rejectUnauthorized !== undefined) tls.rejectUnauthorized = options.rejectUnauthorized;
  if (options.servername !== undefined) tls.servername = options.servername;
  const proxyUrl = cluster.proxyUrl === undefined || cluster.proxyUrl === '' ? undefined : cluster.proxyUrl;
  if (proxyUrl !== undefined && !/^https?:/.test(proxyUrl)) {
    throw new Error(
      `proxy-url of cluster "${cluster.name}" is ${proxyUrl}: only http:// and https:// proxies are supported`,
    );
  }
  const hash = createHash('sha256');
  for (const part of [
    cluster.server,
    proxyUrl ?? '',
    tls.ca,
    tls.cert,
    tls.key,
    String(tls.rejectUnauthorized),
    tls.servername,
  ]) {
    hash.update(part ?? '').update('\0');
  }
  return { server: cluster.server.replace(/\/+$/, ''), proxyUrl, headers, tls, tlsDigest: hash.digest('hex') };
}

/**
 * Credentials by client-node's KubeConfig: kubeconfig files, tokens, client certificates, exec plug-ins. The files are
 * read synchronously there (45 µs measured), hence not for each request.
 */
export function kubeConfigCredentials(load: () => KubeConfig, clock: Clock, maxAgeMs = 10_000): CredentialSource {
  let config = load();
  let known: { at: number; value: Promise<Credentials> } | undefined;
  const fresh = (): Promise<Credentials> => {
    const value = read(config);
    const entry = { at: clock.monotonic(), value };
    known = entry;
    // A failed read must not stick.
    value.catch(() => {
      if (known === entry) known = undefined;
    });
    return value;
  };
  return {
    current: () => (known !== undefined && clock.monotonic() - known.at < maxAgeMs ? known.value : fresh()),
    reload: () => {
      config = load();
      return fresh();
    },
  };
}
