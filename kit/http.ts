import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from './metrics.ts';

/** Returns nothing when well, or one sentence on what is missing. May throw instead. */
export type Check = () => string | undefined | Promise<string | undefined>;

export interface HealthServerOptions {
  /** 0 takes a free port. */
  port: number;
  host?: string;
  registry: Registry;
  /** Named checks of /readyz. */
  ready: Record<string, Check>;
  /** More checks of /healthz beside the event loop. A failing one gets the process restarted: name only what a restart mends. */
  live?: Record<string, Check>;
  /** /healthz fails while the running mean of the event loop's delay is above this. Default 2,000 ms. */
  maxLagMs?: number;
  /** A check that takes longer has failed. Default 2,000 ms. */
  checkTimeoutMs?: number;
}

export interface HealthServer {
  readonly port: number;
  close(): Promise<void>;
}

const LAG_PERIOD_MS = 500;

/**
 * Running mean of how late a timer fires. A single long pause is forgiven (it would be over when the probe is answered);
 * what counts is a loop that stays behind.
 */
export function watchEventLoopLag(periodMs = LAG_PERIOD_MS): { lagMs(): number; close(): void } {
  let mean = 0;
  let due = performance.now() + periodMs;
  const timer = setInterval(() => {
    const now = performance.now();
    mean = 0.8 * mean + 0.2 * Math.max(0, now - due);
    due = now + periodMs;
  }, periodMs);
  timer.unref();
  return { lagMs: () => mean, close: () => clearInterval(timer) };
}

async function runCheck(check: Check, timeoutMs: number): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve(`no answer within ${timeoutMs} ms`), timeoutMs);
  });
  try {
    return await Promise.race([Promise.resolve(check()), late]);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    clearTimeout(timer);
  }
}

async function runAll(checks: Record<string, Check>, timeoutMs: number): Promise<{ ok: boolean; text: string }> {
  const results = await Promise.all(
    Object.entries(checks).map(async ([name, check]) => ({ name, problem: await runCheck(check, timeoutMs) })),
  );
  const ok = results.every(({ problem }) => problem === undefined);
  const lines = results.map(({ name, problem }) =>
    problem === undefined ? `[+]${name} ok` : `[-]${name} failed: ${problem}`,
  );
  return { ok, text: `${[...lines, ok ? 'ok' : 'failed'].join('\n')}\n` };
}

/** Serves /healthz, /readyz and /metrics in the formats that the kubelet and Prometheus expect. */
export async function serveHealth(options: HealthServerOptions): Promise<HealthServer> {
  const lag = watchEventLoopLag();
  const maxLagMs = options.maxLagMs ?? 2_000;
  const live: Record<string, Check> = {
    'event-loop': () =>
      lag.lagMs() > maxLagMs
        ? `the event loop is ${Math.round(lag.lagMs())} ms behind, at most ${maxLagMs} is allowed`
        : undefined,
    ...options.live,
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = (request.url ?? '/').split('?', 1)[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end();
    } else if (path === '/healthz' || path === '/livez' || path === '/readyz') {
      const { ok, text } = await runAll(path === '/readyz' ? options.ready : live, options.checkTimeoutMs ?? 2_000);
      response
        .writeHead(ok ? 200 : 503, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' })
        .end(text);
    } else if (path === '/metrics') {
      const text = await options.registry.metrics();
      response.writeHead(200, { 'content-type': options.registry.contentType }).end(text);
    } else {
      response.writeHead(404).end();
    }
  };

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy();
      else response.writeHead(500).end(error instanceof Error ? error.message : String(error));
    });
  });
  server.headersTimeout = 10_000;
  server.requestTimeout = 10_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        lag.close();
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
