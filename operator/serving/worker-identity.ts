import type { IncomingMessage } from 'node:http';
import { SYNC_AUDIENCE } from '../../inference-pod/contract.ts';
import { labels, WORKER_SERVICE_ACCOUNT } from '../api/names.ts';
import type { Refusal, WorkerIdentity } from '../dispatch/sync-server.ts';
import type { KubeObject, Stored } from '../kube/object.ts';
import { controllerOf } from '../kube/object.ts';
import type { ReviewToken } from '../kube/token-review.ts';

export interface IdentityDeps {
  review: ReviewToken;
  podByUid: (uid: string) => Stored<KubeObject> | undefined;
  /** Reads a pod past the cache, for one so new that the cache has not seen it. */
  fetchPod: (namespace: string, name: string) => Promise<Stored<KubeObject> | undefined>;
  jobByKey: (key: string) => Stored<KubeObject> | undefined;
}

const USERNAME = new RegExp(`^system:serviceaccount:([^:]+):${WORKER_SERVICE_ACCOUNT}$`);

/**
 * Who a sync comes from: the pod that the token is bound to. A worker speaks for the job of its own namespace that
 * controls its pod, and for the slot and attempt that the operator wrote on it, whatever the request claims. Owner
 * references are but text: anyone may write the UID of another namespace's job into one.
 */
export async function identify(request: IncomingMessage, deps: IdentityDeps): Promise<WorkerIdentity | Refusal> {
  const token = /^Bearer ([\w.~+/=-]+)$/.exec(request.headers.authorization ?? '')?.[1];
  if (token === undefined) return { status: 401, message: 'send the projected ServiceAccount token as a bearer token' };
  const bearer = await deps.review(token, SYNC_AUDIENCE);
  if (!bearer) return { status: 401, message: `the token is not valid for audience ${SYNC_AUDIENCE}` };
  const namespace = USERNAME.exec(bearer.username)?.[1];
  if (namespace === undefined) return { status: 403, message: `only ServiceAccount ${WORKER_SERVICE_ACCOUNT} of a tenant's namespace may sync` };
  // Only projected tokens are bound to a pod; one from a Secret is anybody's.
  if (bearer.podName === undefined || bearer.podUid === undefined) return { status: 403, message: 'the token is not bound to a pod' };
  const pod = deps.podByUid(bearer.podUid) ?? (await deps.fetchPod(namespace, bearer.podName));
  if (!pod || pod.metadata.uid !== bearer.podUid || pod.metadata.namespace !== namespace) return { status: 403, message: 'the pod of this token does not exist any more' };
  const owner = controllerOf(pod.metadata);
  const [slot, attempt] = [pod.metadata.labels?.[labels.slot], pod.metadata.labels?.[labels.attempt]].map(Number);
  if (owner?.kind !== 'BatchJob' || !Number.isInteger(slot) || !Number.isInteger(attempt)) return { status: 403, message: 'the pod of this token is not a worker of a BatchJob' };
  if (deps.jobByKey(`${namespace}/${owner.name}`)?.metadata.uid !== owner.uid) {
    return { status: 403, message: `the pod of this token says that it belongs to BatchJob ${owner.name}, which is not the one of that name in its namespace` };
  }
  return { job: owner.uid, slot: slot as number, attempt: attempt as number };
}
