import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { systemClock } from '../../../kit/clock.ts';
import { type Lane, Turns } from '../../../operator/runtime/turns.ts';

let turns: Turns;
/** Who was told, and when. */
let told: [id: string, at: number][];
let begun: number;

beforeEach(() => {
  vi.useFakeTimers();
  turns = new Turns({ clock: systemClock, gapMs: 100, perIdMs: 1_000 });
  told = [];
  begun = performance.now();
});
afterEach(() => {
  turns.close();
  vi.useRealTimers();
});

const passes = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const at = (): number => Math.round(performance.now() - begun);
/** Asks as a reconcile does, which comes back when told to. */
function ask(id: string, lane: Lane = 0): void {
  if (turns.take(id, lane, () => { told.push([id, at()]); ask(id, lane); })) told.push([`${id} writes`, at()]);
}
const writes = (): [string, number][] => told.filter(([what]) => what.endsWith('writes'));

it('lets one write at once that comes alone', () => {
  ask('a');
  expect(told).toEqual([['a writes', 0]]);
});

it('gives one turn per gap over all, first come, first served, and none twice to one that asks again and again', async () => {
  for (const id of ['a', 'b', 'c', 'b', 'c']) ask(id);
  await passes(1_000);
  expect(writes()).toEqual([['a writes', 0], ['b writes', 100], ['c writes', 200]]);
});

it('gives one id a turn once a second', async () => {
  ask('a');
  for (let ms = 0; ms < 2_900; ms += 50) {
    ask('a');
    await passes(50);
  }
  expect(writes().map(([, when]) => when)).toEqual([0, 1_000, 2_000]);
});

it('lets the first lane go before the second, which has every fourth turn', async () => {
  for (let i = 0; i < 100; i++) turns.want(`waits-${i}`, 1, () => told.push([`waits-${i}`, at()]));
  for (let i = 0; i < 100; i++) turns.want(`runs-${i}`, 0, () => told.push([`runs-${i}`, at()]));
  await passes(750);
  expect(told.map(([id]) => id.split('-')[0])).toEqual(['runs', 'runs', 'runs', 'waits', 'runs', 'runs', 'runs', 'waits']);
});

it('keeps the pace however many wait', async () => {
  for (let i = 0; i < 10_000; i++) turns.want(`${i}`, 1, () => told.push([`${i}`, at()]));
  await passes(9_950);
  expect(told).toHaveLength(100);
});

it('hands a turn that nobody needs on at once', async () => {
  for (const id of ['a', 'b', 'c']) turns.want(id, 0, () => { told.push([id, at()]); if (id !== 'c') turns.pass(id); });
  await passes(50);
  expect(told.map(([id]) => id)).toEqual(['a', 'b', 'c']);
});

it('takes a turn for void that was not used for seconds', async () => {
  turns.want('a', 0, () => undefined);
  turns.want('b', 0, () => undefined);
  await passes(6_000);
  turns.want('c', 0, () => undefined);
  expect(turns.take('a', 0, () => undefined)).toBe(false);
});
