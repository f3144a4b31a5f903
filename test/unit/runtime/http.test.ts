import { afterEach, expect, it } from 'vitest';
import { serveHealth, watchEventLoopLag } from '../../../kit/http.ts';
import type { HealthServer } from '../../../kit/http.ts';
import { counter } from '../../../kit/metrics.ts';
import { bareRegistry, until } from '../../support/kube.ts';

let server: HealthServer | undefined;
afterEach(async () => {
  await server?.close();
});

async function get(path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`http://127.0.0.1:${server?.port}${path}`);
  return { status: response.status, text: await response.text() };
}

it('is alive at once, ready when every check says so, and names the check that does not', async () => {
  const registry = bareRegistry();
  counter(registry, { name: 'things_total', help: 'Things.' }).inc();
  let synced = false;
  server = await serveHealth({
    port: 0,
    host: '127.0.0.1',
    registry,
    ready: {
      informers: () => (synced ? undefined : 'pods are not synced'),
      thrown: () => {
        if (!synced) throw new Error('broken');
        return undefined;
      },
    },
  });
  expect((await get('/healthz')).status).toBe(200);
  expect(await get('/readyz')).toEqual({
    status: 503,
    text: '[-]informers failed: pods are not synced\n[-]thrown failed: broken\nfailed\n',
  });
  synced = true;
  expect(await get('/readyz')).toEqual({ status: 200, text: '[+]informers ok\n[+]thrown ok\nok\n' });
  expect((await get('/metrics')).text).toContain('things_total 1');
  expect((await get('/nothing')).status).toBe(404);
});

it('fails a check that never answers', async () => {
  server = await serveHealth({
    port: 0,
    host: '127.0.0.1',
    registry: bareRegistry(),
    ready: { stuck: () => new Promise(() => undefined) },
    checkTimeoutMs: 20,
  });
  expect((await get('/readyz')).text).toContain('[-]stuck failed: no answer within 20 ms');
});

it('sees an event loop that stays behind', async () => {
  const lag = watchEventLoopLag(5);
  const block = setInterval(() => {
    const end = performance.now() + 30;
    while (performance.now() < end);
  }, 1);
  try {
    await until(() => lag.lagMs() > 5, 'the lag shows');
  } finally {
    clearInterval(block);
    lag.close();
  }
});
