/**
 * Which requests run together, where and when: plain data, without a clock. The caller tells what happens (`push`,
 * `drop`, `freed`) and then asks for what is to be done now (`dispatch`).
 *
 * A session that idles takes at once whatever waits: to wait for companions then would only add to the latency of those
 * who are there, and under load companions gather by themselves while the sessions are busy. So batches grow with the
 * load and no request pays for it when there is none. A session that is busy is given one batch ahead, but only a full
 * one: it cannot grow any more, while a smaller one would miss the companions that still come during the run.
 *
 * Only requests of equal shape share a run. A full batch goes before an older one of another shape that is not full,
 * since it gets more done per run; `windowMs` bounds how long a request can be passed in that way. What waits longer
 * goes first, in order of arrival. Within one shape the order is always that of arrival.
 */

export interface BatcherLimits {
  sessions: number;
  /** Rows of one run. A request that has more runs alone; 1: every request does. */
  maxRows: number;
  windowMs: number;
  /** Requests that wait. */
  maxQueued: number;
}

export interface Asking {
  id: number;
  rows: number;
  /** Equal for requests that can share a run. */
  shape: string;
}

interface Waiting extends Asking {
  /** Monotonic milliseconds. */
  since: number;
}

export interface Batcher {
  readonly limits: BatcherLimits;
  /** By shape, in order of arrival; no group is empty. */
  readonly groups: Map<string, Waiting[]>;
  readonly shapes: Map<number, string>;
  /** Batches that each session has: one in work and at most one ahead. */
  readonly held: number[];
}

export interface Dispatch {
  session: number;
  /** In order of arrival. */
  requests: { id: number; rows: number; since: number }[];
}

const mostHeld = 2;

export function newBatcher(limits: BatcherLimits): Batcher {
  return { limits, groups: new Map(), shapes: new Map(), held: new Array<number>(limits.sessions).fill(0) };
}

export function queued({ shapes }: Batcher): number {
  return shapes.size;
}

/** False when the queue is full. */
export function push(batcher: Batcher, asking: Asking, now: number): boolean {
  if (queued(batcher) >= batcher.limits.maxQueued) return false;
  const group = batcher.groups.get(asking.shape);
  if (group) group.push({ ...asking, since: now });
  else batcher.groups.set(asking.shape, [{ ...asking, since: now }]);
  batcher.shapes.set(asking.id, asking.shape);
  return true;
}

/** Nobody waits for this request any more. False when it does not wait: it is in a run, or was never there. */
export function drop(batcher: Batcher, id: number): boolean {
  const shape = batcher.shapes.get(id);
  if (shape === undefined) return false;
  const group = batcher.groups.get(shape) ?? [];
  take(batcher, shape, group.filter((waiting) => waiting.id === id));
  return true;
}

/** A batch of this session is done. */
export function freed(batcher: Batcher, session: number): void {
  batcher.held[session] = (batcher.held[session] as number) - 1;
}

/** What is to be sent to the sessions now. */
export function dispatch(batcher: Batcher, now: number): Dispatch[] {
  const sent: Dispatch[] = [];
  for (;;) {
    const session = leastHeld(batcher);
    const held = batcher.held[session] as number;
    const shape = held < mostHeld ? choose(batcher, held === 0, now) : undefined;
    if (shape === undefined) return sent;
    const requests = headOf(batcher, shape).batch;
    take(batcher, shape, requests);
    batcher.held[session] = held + 1;
    sent.push({ session, requests });
  }
}

function leastHeld({ held }: Batcher): number {
  let best = 0;
  for (let session = 1; session < held.length; session++) if ((held[session] as number) < (held[best] as number)) best = session;
  return best;
}

/** The shape whose batch goes next to a session that is idle, or that takes one ahead; undefined: none. */
function choose(batcher: Batcher, idle: boolean, now: number): string | undefined {
  let oldest: Waiting | undefined;
  let full: Waiting | undefined;
  for (const [shape, [head]] of batcher.groups) {
    if (head === undefined) continue;
    if (oldest === undefined || head.since < oldest.since || (head.since === oldest.since && head.id < oldest.id)) oldest = head;
    const isOlder = full === undefined || head.since < full.since || (head.since === full.since && head.id < full.id);
    if (isOlder && headOf(batcher, shape).full) full = head;
  }
  const overdue = oldest !== undefined && now - oldest.since >= batcher.limits.windowMs;
  const next = overdue || full === undefined ? oldest : full;
  return idle || next === full ? next?.shape : undefined;
}

/** The batch at the head of a group; `full`: no later request can be added to it. */
function headOf({ groups, limits: { maxRows } }: Batcher, shape: string): { batch: Waiting[]; full: boolean } {
  const group = groups.get(shape) ?? [];
  let rows = 0;
  let count = 0;
  for (const waiting of group) {
    if (count > 0 && rows + waiting.rows > maxRows) return { batch: group.slice(0, count), full: true };
    rows += waiting.rows;
    count++;
  }
  return { batch: group.slice(0, count), full: rows >= maxRows };
}

function take({ groups, shapes }: Batcher, shape: string, taken: readonly Waiting[]): void {
  for (const { id } of taken) shapes.delete(id);
  const left = (groups.get(shape) ?? []).filter(({ id }) => shapes.has(id));
  if (left.length === 0) groups.delete(shape);
  else groups.set(shape, left);
}
