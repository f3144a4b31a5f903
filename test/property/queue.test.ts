import fc from 'fast-check';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { systemClock } from '../../kit/clock.ts';
import { WorkQueue } from '../../operator/runtime/queue.ts';
import { bareRegistry } from '../support/kube.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const key = fc.constantFrom('a', 'b', 'c', 'd', 'e');
const priority = fc.integer({ min: -1, max: 2 });
const command = fc.oneof(
  fc.record({ do: fc.constant('add' as const), key, priority }),
  fc.record({ do: fc.constant('addAfter' as const), key, priority, ms: fc.integer({ min: 0, max: 50 }) }),
  fc.record({ do: fc.constant('fail' as const), key }),
  fc.record({ do: fc.constant('forget' as const), key }),
  fc.record({ do: fc.constant('take' as const) }),
  fc.record({ do: fc.constant('done' as const), pick: fc.nat() }),
  fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 1, max: 40 }) }),
);

interface Waiting {
  priority: number;
  sequence: number;
}

/** The queue in the plainest words: maps that are searched from end to end. */
class Model {
  waiting = new Map<string, Waiting>();
  delayed = new Map<string, { readyAt: number; priority: number }>();
  processing = new Set<string>();
  failures = new Map<string, number>();
  sequence = 0;
  now = 0;

  add(name: string, asked: number): void {
    const level = Math.max(asked, this.delayed.get(name)?.priority ?? asked);
    this.delayed.delete(name);
    const known = this.waiting.get(name);
    if (known === undefined) this.waiting.set(name, { priority: level, sequence: ++this.sequence });
    else known.priority = Math.max(known.priority, level);
  }

  addAfter(name: string, ms: number, asked: number): void {
    const known = this.waiting.get(name);
    if (ms <= 0 || (known !== undefined && asked > known.priority)) this.add(name, asked);
    else if (known === undefined) {
      const before = this.delayed.get(name);
      const level = Math.max(asked, before?.priority ?? asked);
      if (before !== undefined && before.readyAt <= this.now + ms) before.priority = level;
      else {
        // Of those that ripen at the same time, the one delayed first comes first.
        this.delayed.delete(name);
        this.delayed.set(name, { readyAt: this.now + ms, priority: level });
      }
    }
  }

  fail(name: string): void {
    const failures = this.failures.get(name) ?? 0;
    this.failures.set(name, failures + 1);
    this.addAfter(name, Math.min(40, 5 * 2 ** failures), 0);
  }

  advance(ms: number): void {
    this.now += ms;
    const due = [...this.delayed].filter(([, { readyAt }]) => readyAt <= this.now);
    for (const [name, entry] of due.sort(([, a], [, b]) => a.readyAt - b.readyAt)) this.add(name, entry.priority);
  }

  get next(): string | undefined {
    const free = [...this.waiting].filter(([name]) => !this.processing.has(name));
    return free.sort(([, a], [, b]) => b.priority - a.priority || a.sequence - b.sequence)[0]?.[0];
  }

  take(name: string): void {
    expect(this.processing.has(name), `${name} is with two workers`).toBe(false);
    this.waiting.delete(name);
    this.processing.add(name);
  }
}

it('behaves like its model: never one key twice at a time, nothing lost, highest priority and oldest first', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, { maxLength: 80 }), async (commands) => {
      const queue = new WorkQueue({
        name: 'q',
        clock: systemClock,
        registry: bareRegistry(),
        backoff: { baseMs: 5, capMs: 40 },
        overall: { perSecond: 1e9, burst: 1e9 },
      });
      const model = new Model();
      const got: string[] = [];
      let takers = 0;
      const take = (): void => {
        takers += 1;
        void queue.take().then((name) => {
          takers -= 1;
          if (name !== undefined) got.push(name);
        });
      };
      /** Whoever waits for a key has got one exactly if the model has one to give. */
      const settle = async (strict: boolean): Promise<void> => {
        for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
        for (const name of got.splice(0)) {
          const next = model.next;
          if (strict) expect(name).toBe(next);
          else expect(model.waiting.has(name)).toBe(true);
          model.take(name);
        }
        if (takers > 0) expect(model.next).toBeUndefined();
        expect(queue.length).toBe(model.waiting.size);
        expect(queue.delayed).toBe(model.delayed.size);
        expect(queue.processing).toBe(model.processing.size);
      };

      for (const step of commands) {
        if (step.do === 'add') {
          queue.add(step.key, step);
          model.add(step.key, step.priority);
        } else if (step.do === 'addAfter') {
          queue.addAfter(step.key, step.ms, step);
          model.addAfter(step.key, step.ms, step.priority);
        } else if (step.do === 'fail') {
          queue.addRateLimited(step.key);
          model.fail(step.key);
        } else if (step.do === 'forget') {
          queue.forget(step.key);
          model.failures.delete(step.key);
        } else if (step.do === 'take') {
          if (takers === 0) take();
        } else if (step.do === 'done') {
          const held = [...model.processing];
          const name = held[step.pick % Math.max(1, held.length)];
          if (name !== undefined) {
            queue.done(name);
            model.processing.delete(name);
          }
        } else {
          vi.advanceTimersByTime(step.ms);
          model.advance(step.ms);
        }
        // Keys that ripen in one step of the clock are handed on one by one, each as it ripens.
        await settle(step.do !== 'advance');
      }

      // Nothing is lost: everything that waits or is delayed comes out in the end.
      vi.advanceTimersByTime(100);
      model.advance(100);
      await settle(false);
      for (let turn = 0; turn < 50 && (model.waiting.size > 0 || model.processing.size > 0); turn += 1) {
        for (const name of model.processing) queue.done(name);
        model.processing.clear();
        await settle(true);
        if (takers === 0 && model.next !== undefined) take();
        await settle(true);
      }
      expect(model.waiting.size).toBe(0);
      const idle = queue.shutDown();
      await idle;
      expect(await queue.take()).toBeUndefined();
    }),
    { numRuns: 300 },
  );
});
