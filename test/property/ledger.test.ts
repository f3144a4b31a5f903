import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { progress } from '../../operator/dispatch/progress.ts';
import type { LedgerJob } from '../../operator/dispatch/state.ts';
import { crash, deliver, dismiss, drain, failOver, lose, newWorld, pass, type Process, receive, send, settleDown, truthOfAll, work, type World, writeStatus } from './ledger-world.ts';

const job = (maxWorkers: number, over: Partial<LedgerJob> = {}): LedgerJob =>
  ({ uid: 'job-1', maxWorkers, retryPerShard: 1_000, maxFailedItems: { percent: 100 }, suspended: false, ...over });

type Step = (world: World) => void;
const some = (world: World, pick: number): Process => world.processes.get(pick % world.processes.size) as Process;
const number = fc.nat({ max: 1_000 });
const step = (weight: number, arbitrary: fc.Arbitrary<Step>) => ({ weight, arbitrary });
/** A worker that sends, is heard and hears: most of what happens. */
const exchange: fc.Arbitrary<Step> = number.map((pick) => (world) => {
  send(world, some(world, pick));
  deliver(world, world.requests.length - 1, false);
  receive(world, world.responses.length - 1);
});
const steps: fc.Arbitrary<Step> = fc.oneof(
  step(30, exchange),
  step(30, fc.tuple(number, number, fc.integer({ min: 1, max: 5 })).map(([pick, index, items]) => (world) => void work(world, some(world, pick), index, items))),
  step(6, number.map((pick) => (world) => send(world, some(world, pick)))),
  step(6, fc.tuple(number, fc.boolean()).map(([index, keep]) => (world) => deliver(world, index, keep))),
  step(6, number.map((index) => (world) => receive(world, index))),
  step(6, fc.integer({ min: 1, max: 20_000 }).map((ms) => (world) => pass(world, ms))),
  step(3, number.map((pick) => (world) => crash(world, some(world, pick)))),
  step(3, fc.tuple(number, fc.boolean()).map(([pick, told]) => (world) => lose(world, some(world, pick), told))),
  step(2, number.map((pick) => (world) => drain(some(world, pick)))),
  step(2, number.map((pick) => (world) => dismiss(world, some(world, pick)))),
  step(4, fc.constant<Step>(writeStatus)),
  step(2, fc.constant<Step>(failOver)),
);
const sizes = fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 12 });
const script = fc.array(steps, { maxLength: 150, size: 'max' });

describe('a ledger, whatever happens to its workers, its network and its leader', () => {
  it('completes every shard, counts every item once and finishes', () => {
    fc.assert(fc.property(sizes, fc.integer({ min: 1, max: 5 }), script, (shards, workers, script) => {
      const world = newWorld(job(workers), shards);
      for (const step of script) step(world);
      settleDown(world, 500);
      expect(world.ledger.phase).toBe('Finished');
      expect(world.chain).toEqual(world.sizes);
      expect(world.finished).toBe(true);
      const { items, shards: done } = progress(world.ledger, world.now);
      expect({ succeeded: items.succeeded, failed: items.failed, done: done.completedCount }).toEqual({ ...truthOfAll(world), done: shards.length });
    }), { numRuns: 400 });
  });

  it('never counts a worker that was lost, drained or silent against a shard', () => {
    const gentle = fc.array(fc.oneof(
      step(20, exchange),
      step(20, fc.tuple(number, number).map(([pick, index]) => (world: World) => void work(world, some(world, pick), index, 2))),
      step(4, fc.integer({ min: 1, max: 20_000 }).map((ms) => (world: World) => pass(world, ms))),
      step(3, fc.tuple(number, fc.boolean()).map(([pick, told]) => (world: World) => lose(world, some(world, pick), told))),
      step(3, number.map((pick) => (world: World) => drain(some(world, pick)))),
    ), { maxLength: 150, size: 'max' });
    fc.assert(fc.property(sizes, fc.integer({ min: 1, max: 5 }), gentle, (shards, workers, script) => {
      const world = newWorld(job(workers, { retryPerShard: 0 }), shards);
      for (const step of script) step(world);
      settleDown(world, 500);
      expect(world.ledger.phase).toBe('Finished');
    }), { numRuns: 200 });
  });

  it('blames the one shard that crashes its workers and no other', () => {
    fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 12 }), number, fc.integer({ min: 1, max: 5 }), fc.integer({ min: 0, max: 4 }), (shards, pick, workers, retryPerShard) => {
      const culprit = pick % shards.length;
      const world = newWorld(job(workers, { retryPerShard }), shards, [culprit]);
      settleDown(world, 500);
      expect(world.ledger.phase).toBe('Failed');
      expect(world.ledger.failure?.reason).toBe('ShardFailed');
      if (retryPerShard > 0) expect(world.ledger.failure?.message).toMatch(new RegExp(`^shard ${culprit} crashed its worker ${retryPerShard + 1} times`));
      expect(world.crashes).toBeLessThanOrEqual(retryPerShard + 1 + workers);
    }), { numRuns: 200 });
  });

  it('shares out all work at once, and of equal workers none holds two shards while another has none', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 10 }), (shards, workers) => {
      const world = newWorld(job(workers), Array.from({ length: shards }, () => 20));
      world.speed = () => 10;
      const everyone = (): void => {
        for (const process of world.processes.values()) {
          send(world, process);
          deliver(world, 0, false);
          receive(world, 0);
        }
      };
      everyone();
      for (const process of world.processes.values()) work(world, process, 0, 1);
      everyone();
      everyone();
      const held = [...world.processes.values()].map((process) => process.held.size);
      expect(held.reduce((sum, size) => sum + size, 0)).toBe(Math.min(shards, 2 * workers));
      expect(Math.min(...held) === 0 && Math.max(...held) > 1 && shards >= workers).toBe(false);
    }), { numRuns: 100 });
  });
});
