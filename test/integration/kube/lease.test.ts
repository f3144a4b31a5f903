import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../../kit/clock.ts';
import { LeaderElector } from '../../../operator/kube/lease.ts';
import type { Leadership } from '../../../operator/kube/lease.ts';
import { FakeApiServer } from '../../support/fake-api-server.ts';
import { bareRegistry, clientOf, silentLog, until } from '../../support/kube.ts';

const timings = { leaseMs: 1_000, renewDeadlineMs: 500, retryMs: 50 };
const path = '/apis/coordination.k8s.io/v1/namespaces/n/leases/millrace';

let server: FakeApiServer;
let electors: LeaderElector[];

beforeEach(async () => {
  server = await FakeApiServer.start();
  electors = [];
});
afterEach(async () => {
  server.heal();
  await Promise.all(electors.map((elector) => elector.close()));
  await server.close();
});

function contend(identity: string): { terms: Leadership[]; stops: string[]; elector: LeaderElector } {
  const terms: Leadership[] = [];
  const stops: string[] = [];
  const elector = new LeaderElector({
    client: clientOf(server, { retries: 0 }),
    namespace: 'n',
    name: 'millrace',
    identity,
    clock: systemClock,
    log: silentLog,
    registry: bareRegistry(),
    timings,
    onStarted: (leadership) => terms.push(leadership),
    onStopped: (why) => stops.push(why),
  });
  electors.push(elector);
  elector.start();
  return { terms, stops, elector };
}

it('bears errors and throttling for less than the deadline', async () => {
  const a = contend('a');
  await until(() => a.terms.length === 1, 'a leads');
  server.fail(() => true, { code: 500, reason: 'InternalError' }, 2);
  server.fail(() => true, { code: 429 }, 2);
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(a.elector.leading).toBe(true);
  expect(a.terms).toHaveLength(1);
});

it('a leader whose calls hang stops by its deadline, and the other takes over', async () => {
  const a = contend('a');
  await until(() => a.terms.length === 1, 'a leads');
  server.fail(({ body }) => JSON.stringify(body ?? {}).includes('"a"'), 'hang', 1_000);
  const b = contend('b');
  await until(() => a.terms[0]?.signal.aborted === true, 'a has stopped');
  expect(b.terms).toHaveLength(0);
  await until(() => b.terms.length === 1, 'b leads');
  expect(a.stops).toEqual(['lost']);
  expect(server.read(path)?.['spec']).toMatchObject({ holderIdentity: 'b' });
  expect(b.terms[0]?.term).toBeGreaterThan(a.terms[0]?.term ?? 0);
});

it('gives the Lease away on close', async () => {
  const a = contend('a');
  await until(() => a.terms.length === 1, 'a leads');
  const b = contend('b');
  await a.elector.close();
  await until(() => b.terms.length === 1, 'b leads', 500);
});
