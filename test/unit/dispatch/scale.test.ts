import { expect, it } from 'vitest';
import { sync } from '../../../operator/dispatch/ledger.ts';
import { progress } from '../../../operator/dispatch/progress.ts';
import { aJob, Scene } from './scene.ts';

it('takes 1,000 workers through 10,000 shards within a fraction of a second of its own time', () => {
  const scene = Scene.planned(10_000, aJob({ maxWorkers: 1_000 }));
  const workers = Array.from({ length: 1_000 }, (_, slot) => scene.worker(slot));
  let syncs = 0;
  let spent = 0;
  const speak = (worker: (typeof workers)[number]): void => {
    const request = worker.request();
    const begun = performance.now();
    const response = sync(scene.ledger, request, scene.now);
    spent += performance.now() - begun;
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
  const view = performance.now();
  expect(progress(scene.ledger, scene.now)).toMatchObject({ phase: 'Finishing', items: { succeeded: 100_000 }, shards: { completed: '0-9999' } });
  const viewed = performance.now() - view;
  console.info(`${syncs} syncs, ${((spent * 1_000) / syncs).toFixed(1)} µs each; progress ${viewed.toFixed(2)} ms`);
  expect(spent / syncs).toBeLessThan(0.5);
  expect(viewed).toBeLessThan(100);
});
