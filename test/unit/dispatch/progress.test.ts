import { describe, expect, it } from 'vitest';
import { etaText, progressText, rateText } from '../../../operator/dispatch/progress-text.ts';
import { progress, save } from '../../../operator/dispatch/progress.ts';
import { newMeter, rateOf, record, startMeter, stopMeter } from '../../../operator/dispatch/rate.ts';
import { aJob, nothingDone, Scene } from './scene.ts';

describe('progress', () => {
  it('counts durable items of open shards and keeps them when the worker is lost', () => {
    const scene = Scene.planned(3);
    scene.wait(30_000);
    const worker = scene.worker(0);
    worker.settle();
    worker.done('shard/0/0', 2);
    worker.reach('shard/1/0', 4, 1);
    worker.sync();
    const expected = { items: { succeeded: 11, failed: 3, total: 30, exact: true }, bytes: { done: 140, total: 300 } };
    expect(progress(scene.ledger, scene.now)).toMatchObject(expected);
    scene.wait(60_000);
    expect(progress(scene.ledger, scene.now)).toMatchObject({ ...expected, workers: [{ state: 'Silent', rate: 0, heartbeatAgeMs: 60_000 }], checkpointAgeMs: 60_000 });
    expect(save(scene.ledger)).toMatchObject({ completed: '0', items: { succeeded: 8, failed: 2 }, bytes: 100 });
  });

  it('extrapolates an estimated total from what was read, and is exact at the end', () => {
    const scene = new Scene(aJob(), { ...nothingDone, plan: { shards: 2, items: 999, exact: false, bytes: 200, files: 1 } });
    const worker = scene.worker(0);
    worker.settle();
    expect(progress(scene.ledger, 0).items).toMatchObject({ total: 999, exact: false });
    worker.done('shard/0/0');
    worker.sync();
    expect(progress(scene.ledger, 0).items).toMatchObject({ total: 20, exact: false });
    worker.done('shard/1/0');
    worker.sync();
    expect(progress(scene.ledger, 0).items).toMatchObject({ total: 20, exact: true });
  });

  it('tells the time left from the measured rate', () => {
    const scene = Scene.planned(10);
    const worker = scene.worker(0);
    Object.assign(worker, { capacity: 1, rate: 10 });
    worker.settle();
    for (let shard = 0; shard < 5; shard++) {
      scene.wait(1_000);
      worker.done(`shard/${shard}/0`);
      worker.settle();
    }
    const { rate, etaSeconds } = progress(scene.ledger, scene.now);
    expect(rate).toBeGreaterThan(9);
    expect(rate).toBeLessThan(13);
    expect(etaSeconds).toBeCloseTo(50 / rate);
  });

  it('shows each warning once, and the workers by slot', () => {
    const scene = Scene.planned(1);
    for (const slot of [2, 0, 1]) {
      const worker = scene.worker(slot);
      worker.warning = 'no CUDA here, running on CPU';
      worker.draining = slot === 1;
      worker.sync();
    }
    expect(progress(scene.ledger, 0)).toMatchObject({ warnings: ['no CUDA here, running on CPU'], workers: [{ slot: 0, state: 'Idle' }, { slot: 1, state: 'Draining' }, { slot: 2, state: 'Working', shard: 0 }] });
  });

  it('changes its version when something changed and only then', () => {
    const scene = Scene.planned(1);
    const worker = scene.worker(0);
    worker.settle();
    const { version } = scene.ledger;
    worker.sync();
    expect(scene.ledger.version).toBe(version);
    worker.reach('shard/0/0', 1);
    worker.sync();
    expect(scene.ledger.version).toBeGreaterThan(version);
  });
});

describe('the rate', () => {
  it('is right from the first second on, follows a change, and falls to nothing by itself', () => {
    const meter = newMeter();
    startMeter(meter, 5_000);
    for (let second = 6; second <= 8; second++) record(meter, 100, 1_000, second * 1_000);
    expect(rateOf(meter, 8_000).items).toBeGreaterThan(95);
    expect(rateOf(meter, 8_000).items).toBeLessThan(130);
    for (let second = 9; second <= 60; second++) record(meter, 200, 1_000, second * 1_000);
    expect(rateOf(meter, 60_000).items).toBeGreaterThan(195);
    expect(rateOf(meter, 60_000).items).toBeLessThan(215);
    expect(rateOf(meter, 160_000).items).toBeLessThan(0.1);
  });

  it('does not count idle time before the work or after a stop', () => {
    const meter = newMeter();
    expect(rateOf(meter, 1_000)).toEqual({ items: 0, bytes: 0 });
    startMeter(meter, 1_000_000);
    record(meter, 50, 50, 1_001_000);
    expect(rateOf(meter, 1_001_000).items).toBeCloseTo(52.5, 0);
    stopMeter(meter);
    startMeter(meter, 9_000_000);
    record(meter, 10, 10, 9_001_000);
    expect(rateOf(meter, 9_001_000).items).toBeCloseTo(10.5, 0);
  });
});

describe('texts', () => {
  const plan = { shards: 1, items: 1, exact: true, bytes: 1, files: 1 };
  const items = (done: number, total: number, exact = true) => ({ succeeded: done, failed: 0, total, exact });

  it.each([
    ['0%', 'Planning', undefined, items(0, 0)],
    ['61% (1097/1797)', 'Running', plan, items(1097, 1797)],
    ['61% (1097/~1797)', 'Running', plan, items(1097, 1797, false)],
    ['99% (9999/10000)', 'Running', plan, items(9999, 10_000)],
    ['100% (10/10)', 'Running', plan, items(10, 10)],
    ['99% (12/~12)', 'Running', plan, items(12, 10, false)],
    ['100% (0/0)', 'Finished', plan, items(0, 0)],
  ] as const)('progress reads %s', (text, phase, known, counts) => {
    expect(progressText({ phase, plan: known, items: counts })).toBe(text);
  });

  it.each([['412/s', 412.3], ['41.2/s', 41.23], ['0.412/s', 0.4123], ['0/s', 0], ['12346/s', 12_345.6]])('a rate reads %s', (text, rate) => {
    expect(rateText({ phase: 'Running', rate })).toBe(text);
  });

  it.each([['', undefined], ['0s', 0], ['2s', 1.2], ['1m', 60], ['3m12s', 192], ['4h5m', 14_700], ['3d2h', 266_400]])('time left reads "%s"', (text, etaSeconds) => {
    expect(etaText({ etaSeconds })).toBe(text);
  });
});
