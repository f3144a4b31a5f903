import { expect, it } from 'vitest';
import { sync } from '../../../operator/dispatch/ledger.ts';
import { progress } from '../../../operator/dispatch/progress.ts';
import { aJob, Scene } from './scene.ts';

it('takes 1,000 workers through 10,000 shards in far less than a millisecond of CPU per sync', () => {
  const scene = Scene.planned(10_000, aJob({ maxWorkers: 1_000 }));
  const workers = Array.from({ length: 1_000 }, (_, slot) => scene.worker(slot));
  let syncs = 0;
  /** Microseconds. */
  let spent = 0;
  const speak = (worker: (typeof workers)[number]): void => {
    const request = worker.request();
    const begun = process.threadCpuUsage();
    const response = sync(scene.ledger, request, scene.now);
    const { user, system } = process.threadCpuUsage(begun);
    spent += user + system;
    syncs++;
    worker.take(response);
  };
  for (let round = 0; scene.ledger.phase === 'Running'; round++) {
    scene.wait(500);
    for (const worker of workers) {
      speak(worker);
      const [key] = worker.reports.keys();
      if (key === undefined) continue;
      if ((round + worker.slot) % 2 === 0) worker.done(key);
      else worker.reach(key, 5);
    }
  }
  const view = process.threadCpuUsage();
  expect(progress(scene.ledger, scene.now)).toMatchObject({ phase: 'Finishing', items: { succeeded: 100_000 }, shards: { completed: '0-9999' } });
  const viewed = process.threadCpuUsage(view).user;
  console.info(`${syncs} syncs, ${(spent / syncs).toFixed(1)} µs of CPU each; progress ${viewed} µs`);
  expect(spent / syncs).toBeLessThan(500);
  expect(viewed).toBeLessThan(100_000);
}, 60_000);
