import { afterEach, beforeEach, expect, it } from 'vitest';
import { tokenReviewer } from '../../../operator/kube/token-review.ts';
import type { ReviewToken } from '../../../operator/kube/token-review.ts';
import { FakeApiServer } from '../../support/fake-api-server.ts';
import { clientOf } from '../../support/kube.ts';

const audience = 'millrace.dev/sync';
let server: FakeApiServer;
let review: ReviewToken;
let now: number;

beforeEach(async () => {
  now = 0;
  server = await FakeApiServer.start();
  server.reviews.set('tokenreviews', (body) => {
    const { token, audiences } = body['spec'] as { token: string; audiences: string[] };
    if (token.startsWith('bad')) return { ...body, status: { authenticated: false, error: 'unknown' } };
    const extra = {
      'authentication.kubernetes.io/pod-name': ['p'],
      'authentication.kubernetes.io/pod-uid': [`uid-of-${token}`],
    };
    const user = { username: 'system:serviceaccount:a:worker', extra };
    return { ...body, status: { authenticated: true, user, ...(token === 'unaware' ? {} : { audiences }) } };
  });
  const clock = { now: () => now, monotonic: () => now };
  review = tokenReviewer({ client: clientOf(server), clock, maxEntries: 3 });
});
afterEach(async () => {
  await server.close();
});

it('tells the pod that a token is bound to, asking once a minute at most', async () => {
  const identity = { username: 'system:serviceaccount:a:worker', podName: 'p', podUid: 'uid-of-t' };
  const all = await Promise.all(Array.from({ length: 20 }, () => review('t', audience)));
  expect(all).toEqual(Array.from({ length: 20 }, () => identity));
  now = 59_999;
  await review('t', audience);
  expect(server.requests).toHaveLength(1);
  now = 60_001;
  await review('t', audience);
  expect(server.requests).toHaveLength(2);
});

it('refuses unknown tokens, and remembers that for five seconds only', async () => {
  expect(await review('bad', audience)).toBeUndefined();
  now = 4_999;
  expect(await review('bad', audience)).toBeUndefined();
  expect(server.requests).toHaveLength(1);
  now = 5_001;
  await review('bad', audience);
  expect(server.requests).toHaveLength(2);
  expect(await review('', audience)).toBeUndefined();
  expect(server.requests).toHaveLength(2);
});

it('refuses a token when the authenticator knows no audiences, and keeps audiences apart', async () => {
  expect(await review('unaware', audience)).toBeUndefined();
  await review('t', audience);
  await review('t', 'other');
  expect(server.requests).toHaveLength(3);
});

it('throws when it cannot ask, and asks again next time', async () => {
  server.fail(() => true, { code: 500, reason: 'InternalError' });
  await expect(review('t', audience)).rejects.toThrow('InternalError');
  expect((await review('t', audience))?.podUid).toBe('uid-of-t');
});

it('remembers a bounded number of tokens', async () => {
  for (const token of ['1', '2', '3', '4']) await review(token, audience);
  await review('1', audience);
  expect(server.requests).toHaveLength(5);
});
