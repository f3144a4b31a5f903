import { createHash } from 'node:crypto';
import { type Kind, kindOf } from '../kube/kinds.ts';
import type { KubeObject, Stored } from '../kube/object.ts';
import { keyOf } from '../kube/object.ts';
import { canonical, covers } from './equal.ts';
import { contentOf } from './foreign-fields.ts';
import type { Removal } from './plan.ts';

interface AppliedState {
  /** Of what was applied. */
  digest: string;
  /** Of what the API server made of it, without metadata and status. */
  content: string;
  uid: string;
  resourceVersion: string;
}

const MAX_APPLIED = 50_000;

const sha256 = (text: string): string => createHash('sha256').update(text).digest('base64');
const contentDigest = (object: KubeObject): string => sha256(canonical(contentOf(object)));

/**
 * What this process has applied, so that an apply that would change nothing costs no request.
 *
 * An apply is left out only if the last one for that object had the very same content and the stored object is still the
 * same (same UID and resourceVersion) or still holds every field of it and, where the object is ours whole, nothing that
 * was not there then. The first part is what makes it exact: fields that we stated once and state no more have been
 * taken back by that last apply. After a restart nothing is remembered, and each object is applied once more, which the
 * API server answers without writing.
 */
export class AppliedObjects {
  readonly #states = new Map<string, AppliedState>();

  static #key(object: KubeObject): string {
    return `${object.apiVersion}/${object.kind}/${keyOf(object.metadata)}`;
  }

  static digest(object: KubeObject): string {
    return sha256(canonical(object));
  }

  holds(wanted: KubeObject, stored: Stored): boolean {
    const state = this.#states.get(AppliedObjects.#key(wanted));
    if (state === undefined || state.uid !== stored.metadata.uid || state.digest !== AppliedObjects.digest(wanted))
      return false;
    if (state.resourceVersion === stored.metadata.resourceVersion) return true;
    const kind: Kind = kindOf(wanted);
    return covers(stored, wanted) && (kind.whole !== true || state.content === contentDigest(stored));
  }

  remember(wanted: KubeObject, result: Stored): void {
    const { uid, resourceVersion } = result.metadata;
    const key = AppliedObjects.#key(wanted);
    this.#states.delete(key);
    this.#states.set(key, { digest: AppliedObjects.digest(wanted), content: contentDigest(result), uid, resourceVersion });
    if (this.#states.size > MAX_APPLIED) {
      for (const oldest of this.#states.keys()) {
        this.#states.delete(oldest);
        break;
      }
    }
  }

  forget(object: Removal): void {
    this.#states.delete(`${object.apiVersion}/${object.kind}/${keyOf(object)}`);
  }
}
