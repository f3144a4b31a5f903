import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { systemClock } from '../../../kit/clock.ts';
import { WorkQueue } from '../../../operator/runtime/queue.ts';
import { bareRegistry } from '../../support/kube.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const make = (registry = bareRegistry()): WorkQueue => new WorkQueue({ name: 'jobs', clock: systemClock, registry });

it('backs a key off from 5 ms, twice as long each time, up to 16 minutes, and from the start again when forgotten', async () => {
  const queue = make();
  const delays: number[] = [];
  for (let round = 0; round < 20; round += 1) {
    const started = performance.now();
    queue.addRateLimited('k');
    const taken = queue.take();
    await vi.advanceTimersToNextTimerAsync();
    queue.done((await taken) ?? '');
    delays.push(Math.round(performance.now() - started));
  }
  expect(delays.slice(0, 5)).toEqual([5, 10, 20, 40, 80]);
  expect(delays.at(-1)).toBe(960_000);
  queue.forget('k');
  expect(queue.failures('k')).toBe(0);
});

it('spreads a mass of failures over time', () => {
  const queue = make();
  for (let index = 0; index < 300; index += 1) queue.addRateLimited(`k${index}`);
  vi.advanceTimersByTime(1_000);
  expect(queue.length).toBeLessThanOrEqual(111);
  vi.advanceTimersByTime(20_000);
  expect(queue.length).toBe(300);
});

it('keeps the server’s wish where that is longer than the back-off', () => {
  const queue = make();
  queue.addRateLimited('k', { minDelayMs: 3_000 });
  vi.advanceTimersByTime(2_999);
  expect(queue.length).toBe(0);
  vi.advanceTimersByTime(2);
  expect(queue.length).toBe(1);
});

it('bears delays longer than a timer can', () => {
  const queue = make();
  queue.addAfter('k', 40 * 24 * 3_600_000);
  vi.advanceTimersByTime(39 * 24 * 3_600_000);
  expect(queue.length).toBe(0);
  vi.advanceTimersByTime(2 * 24 * 3_600_000);
  expect(queue.length).toBe(1);
});

it('is drained when the last key that was out is done, and takes nothing more', async () => {
  const queue = make();
  queue.add('a');
  queue.add('b');
  expect(await queue.take()).toBe('a');
  let drained = false;
  const idle = queue.shutDown().then(() => {
    drained = true;
  });
  queue.add('c');
  queue.add('a');
  expect(await queue.take()).toBeUndefined();
  expect(drained).toBe(false);
  queue.done('a');
  await idle;
  expect(queue.length).toBe(0);
});

it('shows what controller-runtime shows', async () => {
  const registry = bareRegistry();
  const queue = make(registry);
  queue.add('a');
  queue.add('a');
  queue.add('b');
  vi.advanceTimersByTime(2_000);
  await queue.take();
  vi.advanceTimersByTime(3_000);
  const text = await registry.metrics();
  const labels = '{name="jobs",controller="jobs"}';
  expect(text).toContain(`workqueue_depth${labels} 1`);
  expect(text).toContain(`workqueue_adds_total${labels} 2`);
  expect(text).toContain(`workqueue_unfinished_work_seconds${labels} 3`);
  expect(text).toContain(`workqueue_longest_running_processor_seconds${labels} 3`);
  expect(text).toContain(`workqueue_queue_duration_seconds_sum${labels} 2`);
});
