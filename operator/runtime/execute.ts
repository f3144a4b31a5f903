import type { KubeClient } from '../kube/client.ts';
import {
  KubeError,
  isAlreadyExists,
  isConflict,
  isForbidden,
  isInvalid,
  isNotFound,
  isQuotaExceeded,
} from '../kube/errors.ts';
import type { EventText } from '../kube/events.ts';
import { type Kind, kindOf } from '../kube/kinds.ts';
import type { KubeObject, Stored } from '../kube/object.ts';
import { controllerOf, keyOf } from '../kube/object.ts';
import type { AppliedObjects } from './applied.ts';
import { deepEqual } from './equal.ts';
import { addFinalizer, guarded, removeFinalizer } from './finalizer.ts';
import { hasForeignFields, rewriting } from './foreign-fields.ts';
import type { Outcome } from './outcome.ts';
import type { ChangeSet, Plan, Refusal, Removal } from './plan.ts';

export type WriteClient = Pick<KubeClient, 'get' | 'create' | 'apply' | 'applyStatus' | 'jsonPatch' | 'remove'>;

export interface ExecuteContext {
  client: WriteClient;
  recorder: { record(about: Stored, text: EventText): void };
  /** Of applied objects; status is applied as `<fieldManager>-status`. */
  fieldManager: string;
  /** One per controller, kept as long as the process runs. */
  applied: AppliedObjects;
  /** Looks an object up in a store; absent, or undefined for an unknown object, means that it is applied. */
  observed?: (object: KubeObject) => Stored | undefined;
  /** Looked at before each write beside the signal, e.g. `Leadership.held`. */
  held?: () => boolean;
  /** Asked before a status is written that is not pressing. On false it is left for later, and this brings the key back then. */
  turn?: (object: Stored) => boolean;
  /** Told of each POST when it goes out, after any wait for the client's rate limit. */
  posting?: (object: KubeObject) => void;
}

export interface Executed {
  /** The object as the last write to it returned it; what was passed in when nothing was written to it. */
  object: Stored;
  changes: ChangeSet;
  outcome: Outcome;
}

const PARALLEL = 8;

/** Answers that tell the user something and that the same request would only get again. */
function refusalOf(object: { kind: string; metadata: { name: string } }, error: unknown): Refusal | undefined {
  const refused =
    isForbidden(error) ||
    isInvalid(error) ||
    (error instanceof KubeError && (error.code === 400 || error.code === 413));
  if (!refused) return undefined;
  return { kind: object.kind, name: object.metadata.name, reason: error.reason, message: error.detail };
}

/** Like Promise.all over `map`, at most `limit` at a time; after the first rejection no further item is begun. */
async function eachOf<T>(items: readonly T[], limit: number, run: (item: T) => Promise<void>): Promise<void> {
  const rest = items[Symbol.iterator]();
  let failed = false;
  const worker = async (): Promise<void> => {
    for (let next = rest.next(); !failed && next.done !== true; next = rest.next()) {
      try {
        await run(next.value);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: Math.min(limit, items.length) }, worker));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/**
 * Carries a plan out: the only code that writes for a controller. The order is the one of `Plan`.
 *
 * Guarantees: no write begins after the signal aborted or `held` turned false; refusals are collected and the rest goes
 * on; the first other error is thrown, with the writes before it done, which the next reconcile finds. Events are
 * recorded only when the status was written; a finalizer is taken off only when nothing was refused. If the object is
 * gone when its status is to be written, that is no error, and no event is recorded.
 */
export async function execute(ctx: ExecuteContext, object: Stored, plan: Plan, signal: AbortSignal): Promise<Executed> {
  const changes: ChangeSet = { created: [], configured: [], unchanged: [], removed: [], refused: [] };
  const kind = kindOf(object);
  const call = { signal };
  const mayWrite = (): void => {
    signal.throwIfAborted();
    if (ctx.held?.() === false) {
      throw new KubeError({ code: 0, reason: 'NotLeader', message: 'the renew deadline of the leadership has passed' });
    }
  };
  const label = (of: KubeObject): string => `${of.kind}/${of.metadata.name}`;
  let current = object;

  if (plan.finalizer !== undefined && 'add' in plan.finalizer) {
    const patch = addFinalizer(current.metadata, plan.finalizer.add);
    if (patch !== undefined) {
      mayWrite();
      current = await guarded(() => ctx.client.jsonPatch(kind, object.metadata, patch, call));
    }
  }

  for (const wanted of plan.apply) await applyOne(wanted);

  // One refusal by quota stands for the rest of that kind: they are alike, and each try costs the API server a full admission.
  const overQuota = new Set<string>();
  await eachOf(plan.create, PARALLEL, async (wanted) => {
    if (!overQuota.has(wanted.kind)) await createOne(wanted);
  });

  await eachOf(plan.remove, PARALLEL, removeOne);

  // In a fixed order, so that what is told about them does not flap with the order of the answers.
  for (const list of [changes.created, changes.unchanged, changes.removed]) list.sort();
  changes.refused.sort((a, b) => (`${a.kind}/${a.name}` < `${b.kind}/${b.name}` ? -1 : 1));
  const report = plan.report(changes);
  let present = true;
  if (report.status !== undefined) present = await writeStatus(report.status, report.pressing ?? true);
  if (present) for (const event of report.events) ctx.recorder.record(current, event);

  if (plan.finalizer !== undefined && 'remove' in plan.finalizer && changes.refused.length === 0 && present) {
    const patch = removeFinalizer(current.metadata, plan.finalizer.remove);
    if (patch !== undefined) {
      mayWrite();
      try {
        current = await guarded(() => ctx.client.jsonPatch(kind, object.metadata, patch, call));
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    }
  }
  return { object: current, changes, outcome: report.outcome };

  async function applyOne(wanted: KubeObject): Promise<void> {
    const stored = ctx.observed?.(wanted);
    if (stored !== undefined && ctx.applied.holds(wanted, stored)) {
      changes.unchanged.push(label(wanted));
      return;
    }
    mayWrite();
    try {
      const result = await ctx.client.apply(kindOf(wanted), wanted, { fieldManager: ctx.fieldManager }, call);
      result.object = await withoutForeignFields(wanted, result.object);
      ctx.applied.remember(wanted, result.object);
      if (result.created) changes.created.push(label(wanted));
      else if (result.object.metadata.resourceVersion === stored?.metadata.resourceVersion)
        changes.unchanged.push(label(wanted));
      else changes.configured.push(label(wanted));
    } catch (error) {
      const refusal = refusalOf(wanted, error);
      if (refusal === undefined) throw error;
      changes.refused.push(refusal);
    }
  }

  /** Takes away what others have put into an object that is ours whole; apply alone leaves their fields in place. */
  async function withoutForeignFields(wanted: KubeObject, stored: Stored): Promise<Stored> {
    const wantedKind: Kind = kindOf(wanted);
    if (wantedKind.whole !== true || !hasForeignFields(stored, ctx.fieldManager)) return stored;
    const patch = rewriting(wanted, stored);
    if (patch.length === 0) return stored;
    mayWrite();
    return await guarded(() => ctx.client.jsonPatch(wantedKind, wanted.metadata, patch, call));
  }

  async function createOne(wanted: KubeObject): Promise<void> {
    mayWrite();
    try {
      await ctx.client.create(kindOf(wanted), wanted, { ...call, onSend: () => ctx.posting?.(wanted) });
      changes.created.push(label(wanted));
    } catch (error) {
      if (isAlreadyExists(error)) {
        await createdBefore(wanted, error);
        return;
      }
      const refusal = refusalOf(wanted, error);
      if (refusal === undefined) throw error;
      if (isQuotaExceeded(error)) overQuota.add(wanted.kind);
      changes.refused.push(refusal);
    }
  }

  /** Our own earlier POST that the store has not shown yet, or someone else's object. */
  async function createdBefore(wanted: KubeObject, conflict: KubeError): Promise<void> {
    const { kind: of, metadata } = wanted;
    const refuse = (message: string): void => {
      changes.refused.push({ kind: of, name: metadata.name, reason: conflict.reason, message });
    };
    // Gone again by now: a NotFound that is thrown and tried anew.
    const existing = await ctx.client.get(kindOf(wanted), metadata, call);
    const owner = controllerOf(metadata)?.uid;
    if (owner === undefined || controllerOf(existing.metadata)?.uid !== owner) {
      refuse(`${of} ${keyOf(metadata)} exists already and belongs to someone else`);
    } else if (existing.metadata.deletionTimestamp !== undefined) {
      refuse(`${of} ${keyOf(metadata)} is still being deleted`);
    } else {
      changes.unchanged.push(label(wanted));
    }
  }

  async function removeOne(removal: Removal): Promise<void> {
    mayWrite();
    const { uid, gracePeriodSeconds } = removal;
    const options = { uid, ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }) };
    try {
      await ctx.client.remove(kindOf(removal), removal, options, call);
      changes.removed.push(`${removal.kind}/${removal.name}`);
    } catch (error) {
      // Gone, or its name taken over by another object.
      const gone = isNotFound(error) || isConflict(error);
      if (!gone) {
        const refusal = refusalOf({ kind: removal.kind, metadata: { name: removal.name } }, error);
        if (refusal === undefined) throw error;
        changes.refused.push(refusal);
        return;
      }
    }
    ctx.applied.forget(removal);
  }

  /** False when the object is gone. */
  async function writeStatus(status: object, pressing: boolean): Promise<boolean> {
    const stored = (current as { status?: unknown }).status;
    if (deepEqual(stored ?? {}, status)) return true;
    if (!pressing && ctx.turn?.(current) === false) return true;
    mayWrite();
    const { apiVersion, kind: of } = object;
    const { name, namespace, uid } = object.metadata;
    // The UID keeps the status of a deleted object off its successor of the same name.
    const metadata = { name, uid, ...(namespace === undefined ? {} : { namespace }) };
    try {
      const options = { fieldManager: `${ctx.fieldManager}-status` };
      current = await ctx.client.applyStatus(kind, { apiVersion, kind: of, metadata, status }, options, call);
      changes.configured.push(`${of}/${name}/status`);
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }
}
