import { createHash } from 'node:crypto';
import type { Clock } from '../../kit/clock.ts';
import type { KubeClient } from './client.ts';
import { kinds } from './kinds.ts';
import type { KubeObject } from './object.ts';

/** Who presented a token. Pod fields are there for tokens that are bound to a pod, as projected ones are. */
export interface TokenIdentity {
  /** `system:serviceaccount:<namespace>:<name>` for ServiceAccounts. */
  username: string;
  podName: string | undefined;
  podUid: string | undefined;
}

interface TokenReview extends KubeObject {
  spec: { token: string; audiences: string[] };
  status?: {
    authenticated?: boolean;
    audiences?: string[];
    user?: { username?: string; extra?: Record<string, string[]> };
  };
}

export interface TokenReviewerOptions {
  client: Pick<KubeClient, 'create'>;
  clock: Clock;
  /** How long an answer is believed; a deleted pod's token lives on that long. At most 60 s. */
  acceptedMs?: number;
  rejectedMs?: number;
  maxEntries?: number;
}

export type ReviewToken = (token: string, audience: string, signal?: AbortSignal) => Promise<TokenIdentity | undefined>;

/**
 * Checks bearer tokens by TokenReview. Undefined: the API server does not vouch for it with this audience. Throws
 * `KubeError` when the API server could not be asked; that is never remembered. Tokens are kept as digests only.
 */
export function tokenReviewer(options: TokenReviewerOptions): ReviewToken {
  const { client, clock } = options;
  const acceptedMs = Math.min(options.acceptedMs ?? 60_000, 60_000);
  const rejectedMs = options.rejectedMs ?? 5_000;
  const maxEntries = options.maxEntries ?? 10_000;
  const known = new Map<string, { until: number; identity: TokenIdentity | undefined }>();
  const asking = new Map<string, Promise<TokenIdentity | undefined>>();

  const ask = async (token: string, audience: string): Promise<TokenIdentity | undefined> => {
    const review = await client.create<TokenReview>(
      kinds.TokenReview,
      {
        apiVersion: kinds.TokenReview.apiVersion,
        kind: kinds.TokenReview.kind,
        // Not sent: a review has no name.
        metadata: {} as TokenReview['metadata'],
        spec: { token, audiences: [audience] },
      },
      { timeoutMs: 10_000, idempotent: true },
    );
    const { authenticated, audiences, user } = review.status ?? {};
    // An authenticator that knows no audiences leaves the list empty, and would accept a token made for someone else.
    if (authenticated !== true || audiences?.includes(audience) !== true || user?.username === undefined)
      return undefined;
    return {
      username: user.username,
      podName: user.extra?.['authentication.kubernetes.io/pod-name']?.[0],
      podUid: user.extra?.['authentication.kubernetes.io/pod-uid']?.[0],
    };
  };

  return async (token, audience, signal) => {
    signal?.throwIfAborted();
    if (token === '') return undefined;
    const digest = createHash('sha256').update(audience).update('\0').update(token).digest('base64');
    const entry = known.get(digest);
    if (entry !== undefined && entry.until > clock.monotonic()) return entry.identity;
    let pending = asking.get(digest);
    if (pending === undefined) {
      const startedAt = clock.monotonic();
      pending = ask(token, audience)
        .then((identity) => {
          known.delete(digest);
          known.set(digest, { identity, until: startedAt + (identity === undefined ? rejectedMs : acceptedMs) });
          for (const oldest of known.keys()) {
            if (known.size <= maxEntries) break;
            known.delete(oldest);
          }
          return identity;
        })
        .finally(() => asking.delete(digest));
      asking.set(digest, pending);
    }
    return pending;
  };
}
