import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Asking, type Batcher, type BatcherLimits, type Dispatch, dispatch, drop, freed, newBatcher, push, queued } from '../../inference-pod/serving/batcher.ts';

type Event =
  | { kind: 'push'; rows: number; shape: string }
  | { kind: 'drop'; which: number }
  | { kind: 'free'; which: number }
  | { kind: 'wait'; ms: number };

const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('push' as const), rows: fc.integer({ min: 1, max: 12 }), shape: fc.constantFrom('a', 'b', 'c') }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('drop' as const), which: fc.nat(40) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('free' as const), which: fc.nat(8) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 25 }) }) },
);
const limits: fc.Arbitrary<BatcherLimits> = fc.record({
  sessions: fc.integer({ min: 1, max: 3 }),
  maxRows: fc.integer({ min: 1, max: 10 }),
  windowMs: fc.constantFrom(0, 10, 1_000),
  maxQueued: fc.integer({ min: 1, max: 20 }),
});

interface Known extends Asking {
  since: number;
}

/** Plays events against a batcher and keeps books of its own. */
class World {
  readonly batcher: Batcher;
  readonly limits: BatcherLimits;
  now = 0;
  nextId = 0;
  waiting = new Map<number, Known>();
  ended = new Map<number, 'sent' | 'dropped' | 'refused'>();
  running: Dispatch[] = [];

  constructor(of: BatcherLimits) {
    this.limits = of;
    this.batcher = newBatcher(of);
  }

  play(one: Event): void {
    if (one.kind === 'wait') this.now += one.ms;
    else if (one.kind === 'push') {
      const asking = { id: this.nextId++, rows: one.rows, shape: one.shape };
      const room = this.waiting.size < this.limits.maxQueued;
      expect(push(this.batcher, asking, this.now)).toBe(room);
      if (room) this.waiting.set(asking.id, { ...asking, since: this.now });
      else this.ended.set(asking.id, 'refused');
    } else if (one.kind === 'drop') {
      const id = one.which % Math.max(1, this.nextId);
      expect(drop(this.batcher, id)).toBe(this.waiting.has(id));
      if (this.waiting.delete(id)) this.ended.set(id, 'dropped');
    } else this.free(one.which);
    this.dispatch();
  }

  free(which: number): void {
    const [done] = this.running.splice(which % Math.max(1, this.running.length), 1);
    if (done) freed(this.batcher, done.session);
  }

  held(session: number): number {
    return this.running.filter((one) => one.session === session).length;
  }

  dispatch(): void {
    for (const batch of dispatch(this.batcher, this.now)) this.sent(batch);
    // Work-conserving: nothing waits beside an idle session.
    if (this.waiting.size > 0) for (let session = 0; session < this.limits.sessions; session++) expect(this.held(session)).toBeGreaterThan(0);
    expect(queued(this.batcher)).toBe(this.waiting.size);
    expect(this.batcher.held).toEqual(Array.from({ length: this.limits.sessions }, (_, session) => this.held(session)));
  }

  sent(batch: Dispatch): void {
    const asked = batch.requests.map(({ id }) => this.waiting.get(id) as Known);
    // Each waited, so none is sent twice or after it was dropped.
    expect(asked).not.toContain(undefined);
    const rows = asked.reduce((sum, one) => sum + one.rows, 0);
    expect(new Set(asked.map(({ shape }) => shape)).size).toBe(1);
    expect(rows <= this.limits.maxRows || asked.length === 1).toBe(true);
    const ids = asked.map(({ id }) => id);
    const [first] = asked as [Known];
    const alike = [...this.waiting.values()].filter(({ shape }) => shape === first.shape);
    // Order of arrival within a shape, and none left out that fits.
    expect(ids).toEqual(alike.slice(0, ids.length).map(({ id }) => id));
    const next = alike[ids.length];
    const full = rows >= this.limits.maxRows || (next !== undefined && rows + next.rows > this.limits.maxRows);
    expect(full || next === undefined).toBe(true);
    // A busy session gets a full batch only, and no second one ahead.
    expect(this.held(batch.session) === 0 || (full && this.held(batch.session) === 1)).toBe(true);
    // Nobody who has waited for the window is passed by one who came later.
    for (const one of this.waiting.values()) {
      if (one.since < first.since && !ids.includes(one.id)) expect(this.now - one.since).toBeLessThan(this.limits.windowMs);
    }
    for (const id of ids) {
      this.waiting.delete(id);
      this.ended.set(id, 'sent');
    }
    this.running.push(batch);
  }
}

describe('the batcher', () => {
  test('loses and doubles nothing, keeps order, batch size, queue bound and window, and leaves no session idle', () => {
    fc.assert(fc.property(limits, fc.array(event, { maxLength: 120 }), (of, events) => {
      const world = new World(of);
      for (const one of events) world.play(one);
      while (world.running.length > 0) {
        world.free(0);
        world.dispatch();
      }
      expect(world.waiting.size).toBe(0);
      expect(world.ended.size).toBe(world.nextId);
    }), { numRuns: 300 });
  });

  test('lets nobody wait longer than the window and the batches that came before, whatever comes behind', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 20 }), (maxRows, runMs) => {
      const world = new World({ sessions: 1, maxRows, windowMs: 10, maxQueued: 1_000 });
      world.play({ kind: 'push', rows: 1, shape: 'b' });
      world.play({ kind: 'push', rows: 1, shape: 'a' });
      const lonely = world.nextId - 1;
      // Full batches of another shape without end.
      while (world.waiting.has(lonely)) {
        for (let i = 0; i < 2 * maxRows; i++) world.play({ kind: 'push', rows: 1, shape: 'b' });
        world.now += runMs;
        world.free(0);
        world.dispatch();
        expect(world.now).toBeLessThanOrEqual(10 + 3 * runMs);
      }
    }));
  });

  test('sends what comes at the same time together, and runs what is too large for a batch alone', () => {
    const batcher = newBatcher({ sessions: 1, maxRows: 4, windowMs: 10, maxQueued: 10 });
    for (const [id, rows] of [[0, 1], [1, 2], [2, 6], [3, 1]] as const) push(batcher, { id, rows, shape: '' }, 0);
    const ids = (batches: Dispatch[]): number[][] => batches.map(({ requests }) => requests.map(({ id }) => id));
    expect(ids(dispatch(batcher, 0))).toEqual([[0, 1], [2]]);
    freed(batcher, 0);
    expect(ids(dispatch(batcher, 0))).toEqual([]);
    freed(batcher, 0);
    expect(ids(dispatch(batcher, 0))).toEqual([[3]]);
  });
});
