import { describe, expect, it } from 'vitest';
import { leave, sync, updateJob, workerGone } from '../../../operator/dispatch/ledger.ts';
import { progress, save } from '../../../operator/dispatch/progress.ts';
import { aJob, nothingDone, Scene } from './scene.ts';

describe('the order of work', () => {
  it('gives the plan to one worker, then the shards, then the finish, then tells everyone that all is done', () => {
    const scene = new Scene();
    const [one, two] = [scene.worker(0), scene.worker(1)];
    expect(one.sync()).toEqual(['plan']);
    expect(two.sync()).toEqual([]);
    one.done('plan');
    expect(one.sync()).toEqual(['shard/0/0']);
    expect(two.sync()).toEqual(['shard/1/0']);
    one.done('shard/0/0');
    expect(one.sync()).toEqual([]);
    two.done('shard/1/0');
    expect([...two.sync(), ...one.sync()]).toEqual(['finish']);
    const finisher = one.reports.has('finish') ? one : two;
    expect(finisher.reports.get('finish')?.lease).toEqual({ kind: 'finish', generations: [{ shards: '0-1', generation: 0 }] });
    finisher.done('finish');
    expect(finisher.sync()).toEqual([]);
    expect([one.verdict(), two.verdict()]).toEqual(['done', 'done']);
    expect(progress(scene.ledger, 0)).toMatchObject({ phase: 'Finished', items: { succeeded: 20, failed: 0, total: 20 }, finish: { manifest: 'manifest.json' } });
  });

  it('finishes an empty input without a shard', () => {
    const scene = Scene.planned(0);
    const worker = scene.worker(0);
    expect(worker.sync()).toEqual(['finish']);
    expect(worker.reports.get('finish')?.lease).toEqual({ kind: 'finish', generations: [] });
  });

  it('names the generation of each shard to the finisher', () => {
    const scene = new Scene(aJob(), { ...nothingDone, completed: '0-4', plan: { shards: 5, items: 50, exact: true, bytes: 500, files: 1 }, generations: [{ shards: '1,3', generation: 2 }] });
    const worker = scene.worker(0);
    worker.sync();
    expect(worker.reports.get('finish')?.lease).toEqual({ kind: 'finish', generations: [{ shards: '0,2,4', generation: 0 }, { shards: '1,3', generation: 2 }] });
  });

  it('keeps workers at hand until the status that tells the end is stored', () => {
    const scene = new Scene(aJob({ holdVerdict: true }), { ...nothingDone, plan: { shards: 0, items: 0, exact: true, bytes: 0, files: 1 } });
    const worker = scene.worker(0);
    worker.sync();
    worker.done('finish');
    worker.sync();
    expect(scene.ledger.phase).toBe('Finished');
    expect(worker.verdict()).toBe('work');
    updateJob(scene.ledger, aJob({ holdVerdict: false }), 0);
    expect(worker.verdict()).toBe('done');
  });
});

describe('a worker that is to leave', () => {
  it('is told so, and what it gives back goes to the others', () => {
    const scene = Scene.planned(3);
    const [stays, goes] = [scene.worker(0), scene.worker(1)];
    stays.settle();
    goes.settle();
    const held = [...goes.reports.keys()];
    leave(scene.ledger, 1, 0);
    expect([stays.verdict(), goes.verdict()]).toEqual(['work', 'leave']);
    expect(goes.sync()).toEqual(held);
    goes.draining = true;
    for (const report of goes.reports.values()) report.state = 'released';
    expect(goes.sync()).toEqual([]);
    stays.done('shard/0/0');
    expect([...stays.sync(), ...stays.settle()]).toEqual(expect.arrayContaining(held));
    expect(goes.sync()).toEqual([]);
  });

  it('is this attempt and no other', () => {
    const scene = Scene.planned(2);
    const [first, second] = [scene.worker(0), scene.worker(0, 1)];
    first.settle();
    leave(scene.ledger, 0, 1);
    expect(first.verdict()).toBe('work');
    leave(scene.ledger, 0, 0);
    expect(second.settle()).toEqual(['shard/0/0', 'shard/1/0']);
    expect(second.verdict()).toBe('work');
  });

  it('is told of the end, should that come first', () => {
    const scene = new Scene(aJob({ holdVerdict: false }), { ...nothingDone, plan: { shards: 0, items: 0, exact: true, bytes: 0, files: 1 } });
    const worker = scene.worker(0);
    worker.settle();
    leave(scene.ledger, 0, 0);
    worker.done('finish');
    worker.sync();
    expect(worker.verdict()).toBe('done');
  });
});

describe('sharing out', () => {
  it('gives every worker one shard before any gets a second', () => {
    const scene = Scene.planned(3);
    updateJob(scene.ledger, aJob({ suspended: true }), 0);
    const workers = [scene.worker(0), scene.worker(1), scene.worker(2)];
    for (const worker of workers) worker.sync();
    updateJob(scene.ledger, aJob(), 0);
    expect(workers.map((worker) => worker.sync().length)).toEqual([1, 1, 1]);
  });

  it('gives the next shard to the worker that would be through with it first', () => {
    const scene = Scene.planned(4);
    updateJob(scene.ledger, aJob({ suspended: true }), 0);
    const [slow, fast] = [scene.worker(0), scene.worker(1)];
    Object.assign(slow, { rate: 1, capacity: 4 });
    Object.assign(fast, { rate: 10, capacity: 4 });
    slow.sync();
    fast.sync();
    updateJob(scene.ledger, aJob(), 0);
    expect([slow.sync().length, fast.sync().length]).toEqual([0, 4]);
  });

  it('never gives more than a worker asks for', () => {
    const scene = Scene.planned(100);
    expect(scene.worker(0).sync()).toHaveLength(2);
  });

  it('moves a shard that waits in one worker\'s queue to a worker that is idle', () => {
    const scene = Scene.planned(2);
    const [busy, idle] = [scene.worker(0), scene.worker(1)];
    expect(busy.settle()).toEqual(['shard/0/0', 'shard/1/0']);
    busy.reach('shard/0/0', 1);
    busy.sync();
    expect(idle.sync()).toEqual(['shard/1/0']);
    expect(busy.sync()).toEqual(['shard/0/0']);
  });

  it('leaves a waiting shard with a fast worker that is through with it before a slow idle one would be', () => {
    const scene = Scene.planned(2);
    const [fast, idle] = [scene.worker(0), scene.worker(1)];
    Object.assign(fast, { rate: 10 });
    Object.assign(idle, { rate: 2 });
    fast.settle();
    expect(idle.sync()).toEqual([]);
  });

  it('leaves a shard where it is once some of it is durable', () => {
    const scene = Scene.planned(2);
    const [busy, idle] = [scene.worker(0), scene.worker(1)];
    busy.settle();
    busy.reach('shard/0/0', 1);
    busy.reach('shard/1/0', 1);
    busy.sync();
    expect(idle.sync()).toEqual([]);
  });

  it('lets an idle worker re-run the shard of one that has missed its heartbeat, before the lease expires', () => {
    const scene = Scene.planned(3);
    const [stuck, idle] = [scene.worker(0), scene.worker(1)];
    stuck.capacity = 1;
    idle.capacity = 1;
    stuck.settle();
    idle.rate = 10;
    for (const key of ['shard/1/0', 'shard/2/0']) {
      expect(idle.settle()).toEqual([key]);
      idle.done(key);
    }
    expect(idle.sync()).toEqual([]);
    scene.wait(8_000);
    expect(idle.sync()).toEqual(['shard/0/0']);
    idle.done('shard/0/0');
    idle.sync();
    expect(scene.ledger.phase).toBe('Finishing');
    expect(stuck.sync()).toEqual([]);
  });

  it('does not re-run a shard that moves along', () => {
    const scene = Scene.planned(2);
    const [busy, idle] = [scene.worker(0), scene.worker(1)];
    busy.capacity = 1;
    idle.rate = 1;
    busy.settle();
    idle.settle();
    idle.done('shard/1/0');
    for (let items = 1; items < 9; items++) {
      scene.wait(1_000);
      busy.reach('shard/0/0', items);
      busy.sync();
      expect(idle.sync()).toEqual([]);
    }
  });

  it('gives nothing new to a worker that missed its heartbeat', () => {
    const scene = Scene.planned(4);
    const [quiet, other] = [scene.worker(0), scene.worker(1)];
    quiet.capacity = 1;
    quiet.settle();
    quiet.sync({ capacity: 2, draining: true });
    scene.wait(8_000);
    other.capacity = 3;
    expect(other.sync()).toHaveLength(3);
  });
});

describe('leases', () => {
  it('are listed until the worker says done or released, whether it reports them or not', () => {
    const scene = Scene.planned(2);
    const worker = scene.worker(0);
    worker.settle();
    expect(worker.sync({ leases: [] })).toEqual(['shard/0/0', 'shard/1/0']);
  });

  it('go to another worker when not renewed for 15 s', () => {
    const scene = Scene.planned(2);
    scene.wait(30_000);
    const [lost, other] = [scene.worker(0), scene.worker(1)];
    lost.settle();
    scene.wait(15_000);
    expect(save(scene.ledger).leases).toHaveLength(1);
    scene.wait(1);
    expect(save(scene.ledger).leases).toHaveLength(0);
    expect(other.sync()).toEqual(['shard/0/0', 'shard/1/0']);
    expect(progress(scene.ledger, scene.now).shards.retried).toBe(2);
  });

  it('go back to a worker that was silent, if nobody else has them', () => {
    const scene = Scene.planned(1);
    scene.wait(30_000);
    const worker = scene.worker(0);
    worker.settle();
    scene.wait(60_000);
    expect(worker.sync()).toEqual(['shard/0/0']);
    expect(scene.ledger.crashes.size).toBe(0);
  });

  it('are lost to a worker that was silent, if somebody else has them', () => {
    const scene = Scene.planned(2);
    scene.wait(30_000);
    const [zombie, other] = [scene.worker(0), scene.worker(1)];
    zombie.settle();
    scene.wait(60_000);
    other.settle();
    other.reach('shard/0/0', 5);
    other.reach('shard/1/0', 5);
    other.sync();
    expect(zombie.sync()).toEqual([]);
  });

  it('do not expire in the first 30 s after a failover', () => {
    const scene = Scene.planned(1);
    const worker = scene.worker(0);
    worker.settle();
    scene.wait(29_999);
    expect(progress(scene.ledger, scene.now).shards.leased).toBe(1);
    scene.wait(1);
    expect(progress(scene.ledger, scene.now).shards.leased).toBe(0);
  });

  it('are free at once when the pod is gone, and whatever still comes from it is turned away', () => {
    const scene = Scene.planned(1);
    const [gone, other] = [scene.worker(0), scene.worker(1)];
    gone.settle();
    workerGone(scene.ledger, 0, 0, scene.now);
    expect(other.sync()).toEqual(['shard/0/0']);
    expect(gone.verdict()).toBe('retired');
  });

  it('count a crash against what ran when the pod went after its process had ended badly', () => {
    const scene = Scene.planned(1);
    scene.worker(0).settle();
    workerGone(scene.ledger, 0, 0, scene.now, true);
    expect([...scene.ledger.crashes]).toEqual([[0, 1]]);
  });

  it('are free at once when the next attempt of the slot speaks, and the older attempt is turned away', () => {
    const scene = Scene.planned(2);
    const [old, next] = [scene.worker(0, 0), scene.worker(0, 1)];
    old.settle();
    expect(next.sync()).toEqual(['shard/0/0', 'shard/1/0']);
    expect(old.verdict()).toBe('retired');
    expect(scene.ledger.crashes.size).toBe(0);
  });

  it('are not given to a draining worker, and what it gives back goes to others', () => {
    const scene = Scene.planned(3);
    const [leaving, other] = [scene.worker(0), scene.worker(1)];
    leaving.settle();
    other.sync();
    leaving.draining = true;
    leaving.release('shard/0/0');
    leaving.release('shard/1/0');
    expect(leaving.sync()).toEqual([]);
    expect(leaving.sync()).toEqual([]);
    expect(other.sync()).toHaveLength(2);
  });

  it('that were granted but never reached a draining worker are free', () => {
    const scene = Scene.planned(1);
    const [leaving, other] = [scene.worker(0), scene.worker(1)];
    sync(scene.ledger, leaving.request(), 0);
    expect(leaving.sync({ draining: true })).toEqual([]);
    expect(other.sync()).toEqual(['shard/0/0']);
  });

  it('are not given back to the worker that releases them before it has seen the acknowledgement', () => {
    const scene = Scene.planned(1);
    const worker = scene.worker(0);
    worker.settle();
    worker.release('shard/0/0');
    expect(worker.sync()).toEqual([]);
    expect(worker.sync()).toEqual(['shard/0/0']);
  });
});

describe('late and repeated requests', () => {
  it('an older request of the same process changes nothing', () => {
    const scene = Scene.planned(1);
    const worker = scene.worker(0);
    worker.sync();
    const late = worker.request({ leases: [] });
    worker.done('shard/0/0');
    worker.sync();
    expect(sync(scene.ledger, late, 0)).toMatchObject({ superseded: true, leases: [{ kind: 'finish' }] });
    expect(progress(scene.ledger, 0).items.succeeded).toBe(10);
  });

  it('a shard that is reported done twice, by two workers, counts once', () => {
    const scene = Scene.planned(2);
    scene.wait(30_000);
    const [first, second] = [scene.worker(0), scene.worker(1)];
    first.settle();
    scene.wait(16_000);
    second.settle();
    for (const worker of [first, second]) {
      worker.done('shard/0/0', 1);
      const request = worker.request();
      sync(scene.ledger, request, scene.now);
      sync(scene.ledger, request, scene.now);
    }
    expect(progress(scene.ledger, scene.now)).toMatchObject({ items: { succeeded: 9, failed: 1 }, bytes: { done: 100 }, shards: { completed: '0' } });
  });

  it('a late request of a dead process does not stop its successor', () => {
    const scene = Scene.planned(1);
    const worker = scene.worker(0);
    const late = worker.request();
    worker.restart();
    worker.settle();
    sync(scene.ledger, late, 0);
    worker.sync();
    expect(worker.sync()).toEqual(['shard/0/0']);
  });
});

describe('crashes', () => {
  const crashLoop = (scene: Scene, times: number, worker = scene.worker(0)): void => {
    for (let time = 0; time < times; time++) {
      worker.settle();
      worker.restart();
      worker.sync();
    }
  };

  it('of one shard fail the job when there are more than retry.perShard, and the message names the shard', () => {
    const scene = Scene.planned(1, aJob({ retryPerShard: 2 }));
    const worker = scene.worker(0);
    crashLoop(scene, 2, worker);
    expect(scene.ledger.phase).toBe('Running');
    crashLoop(scene, 1, worker);
    expect(scene.ledger.failure).toEqual({ reason: 'ShardFailed', message: 'shard 0 crashed its worker 3 times, spec.retry.perShard allows 2; see the logs of the worker pods' });
    expect(scene.worker(1).verdict()).toBe('retired');
  });

  it('are counted also when the lease expired before the kubelet restarted the process', () => {
    const scene = Scene.planned(1, aJob({ retryPerShard: 0 }));
    const worker = scene.worker(0);
    worker.settle();
    scene.wait(60_000);
    worker.restart();
    worker.sync();
    expect(scene.ledger.failure?.reason).toBe('ShardFailed');
  });

  it('of the plan and of the finish fail the job as well', () => {
    const planning = new Scene(aJob({ retryPerShard: 0 }));
    crashLoop(planning, 1);
    expect(planning.ledger.failure).toMatchObject({ reason: 'PlanFailed', message: expect.stringMatching(/^finding the shards crashed its worker once/) });
    const finishing = Scene.planned(0, aJob({ retryPerShard: 0 }));
    crashLoop(finishing, 1);
    expect(finishing.ledger.failure?.reason).toBe('FinishFailed');
  });

  it('a shard that crashed a worker runs alone afterwards', () => {
    const scene = Scene.planned(4);
    const worker = scene.worker(0);
    worker.settle();
    worker.restart();
    expect(worker.sync()).toEqual(['shard/0/0']);
    worker.done('shard/0/0');
    expect(worker.sync()).toEqual(['shard/1/0']);
    worker.done('shard/1/0');
    expect(worker.sync()).toEqual(['shard/2/0', 'shard/3/0']);
  });
});

describe('permanent failures', () => {
  it('of one worker are the job\'s', () => {
    const scene = Scene.planned(1);
    const worker = scene.worker(0);
    worker.sync({ fatal: { code: 'ModelInvalid', message: 'spec.model.path: not an ONNX file' } });
    expect(progress(scene.ledger, 0)).toMatchObject({ phase: 'Failed', failure: { reason: 'ModelInvalid', message: 'spec.model.path: not an ONNX file' }, shards: { leased: 0 } });
    expect(worker.verdict()).toBe('retired');
  });

  it('come when more items failed than the number allowed, open shards included', () => {
    const scene = Scene.planned(3, aJob({ maxFailedItems: { count: 4 } }));
    const worker = scene.worker(0);
    worker.settle();
    worker.done('shard/0/0', 3);
    worker.reach('shard/1/0', 2, 1);
    worker.sync();
    expect(scene.ledger.phase).toBe('Running');
    worker.reach('shard/1/0', 5, 2);
    worker.sync();
    expect(scene.ledger.failure).toEqual({ reason: 'TooManyFailedItems', message: '5 of 30 items failed, spec.retry.maxFailedItems allows 4; first error: line 3 of shard/0/0: not JSON' });
  });

  it('come when more than the percentage of all items failed, not of those done so far', () => {
    const scene = Scene.planned(10, aJob({ maxFailedItems: { percent: 5 } }));
    const worker = scene.worker(0);
    worker.settle();
    worker.reach('shard/0/0', 5, 5);
    worker.sync();
    expect(scene.ledger.phase).toBe('Running');
    worker.reach('shard/0/0', 6, 6);
    worker.sync();
    expect(scene.ledger.failure?.message).toMatch(/^6 of 100 items failed, spec.retry.maxFailedItems 5% allows 5;/);
  });

  it('are judged by the exact number at the end when the total was an estimate', () => {
    const scene = new Scene(aJob({ maxFailedItems: { percent: 10 } }), { ...nothingDone, plan: { shards: 1, items: 1_000, exact: false, bytes: 100, files: 1 } });
    const worker = scene.worker(0);
    worker.settle();
    worker.done('shard/0/0', 2);
    worker.sync();
    expect(scene.ledger.failure?.message).toMatch(/^2 of 10 items failed, spec.retry.maxFailedItems 10% allows 1;/);
  });
});

describe('suspension', () => {
  it('pauses what runs and gives nothing new until it is lifted', () => {
    const scene = Scene.planned(4);
    const [worker, other] = [scene.worker(0), scene.worker(1)];
    worker.settle();
    updateJob(scene.ledger, aJob({ suspended: true }), 0);
    expect(sync(scene.ledger, worker.request(), 0)).toMatchObject({ pause: true, leases: [{ shard: 0 }, { shard: 1 }] });
    expect(other.sync()).toEqual([]);
    updateJob(scene.ledger, aJob(), 0);
    expect(sync(scene.ledger, other.request(), 0)).toMatchObject({ pause: false, leases: [{ shard: 2 }, { shard: 3 }] });
  });
});

describe('failover', () => {
  it('goes on from what the status keeps', () => {
    const before = Scene.planned(3);
    const worker = before.worker(0);
    worker.settle();
    worker.done('shard/0/0', 1);
    worker.sync();
    const after = new Scene(aJob(), JSON.parse(JSON.stringify(save(before.ledger))));
    expect(progress(after.ledger, 0)).toMatchObject({ phase: 'Running', shards: { total: 3, completed: '0' }, items: { succeeded: 9, failed: 1, total: 30 }, bytes: { done: 100, total: 300 } });
  });

  it('leaves running shards with the workers that report them, and counts their durable progress but not as speed', () => {
    const before = Scene.planned(4);
    const [one, two] = [before.worker(0), before.worker(1)];
    one.settle();
    two.settle();
    one.reach('shard/0/0', 7);
    const after = new Scene(aJob(), nothingDonePlanned(4));
    Object.assign(one, { scene: after });
    expect(one.sync()).toEqual(['shard/0/0', 'shard/1/0']);
    expect(progress(after.ledger, 10)).toMatchObject({ items: { succeeded: 7 }, rate: 0 });
  });

  it('does not take what it finds in a chain for speed, also when the shard goes to another worker', () => {
    const scene = Scene.planned(2);
    const worker = scene.worker(0);
    worker.rate = 0.1;
    worker.settle();
    scene.wait(1_000);
    worker.reach('shard/0/0', 9);
    worker.sync();
    expect(progress(scene.ledger, scene.now)).toMatchObject({ items: { succeeded: 9 } });
    expect(progress(scene.ledger, scene.now).rate).toBeLessThan(1);
  });

  it('keeps a shard for the worker that the status names until it reports', () => {
    const scene = new Scene(aJob(), { ...nothingDonePlanned(2), leases: [{ slot: 0, attempt: 3, shard: 0 }] });
    const [owner, other] = [scene.worker(0, 3), scene.worker(1)];
    expect(other.sync()).toEqual(['shard/1/0']);
    owner.reports.set('shard/0/0', owner.at({ kind: 'shard', shard: 0, generation: 0 }, 4));
    expect(owner.sync()).toEqual(['shard/0/0']);
  });

  it('gives a kept shard to others when its worker comes without it, and blames nobody', () => {
    const scene = new Scene(aJob(), { ...nothingDonePlanned(1), leases: [{ slot: 0, attempt: 3, shard: 0 }] });
    const [owner, other] = [scene.worker(0, 3), scene.worker(1)];
    expect(other.sync()).toEqual([]);
    owner.capacity = 0;
    owner.sync();
    expect(other.sync()).toEqual(['shard/0/0']);
    expect(scene.ledger.crashes.size).toBe(0);
  });

  it('keeps shards that are reported before the plan is known again', () => {
    const before = new Scene();
    const worker = before.worker(0);
    worker.sync();
    worker.done('plan');
    worker.settle();
    worker.done('shard/1/0');
    const after = new Scene();
    Object.assign(worker, { scene: after });
    expect(worker.sync()).toEqual(['shard/0/0', 'shard/1/0', 'plan']);
    worker.done('plan');
    worker.sync();
    expect(worker.sync()).toEqual(['shard/0/0']);
    expect(progress(after.ledger, 0).shards.completed).toBe('1');
  });

  it('sends workers away when the status says that the job is decided', () => {
    const finished = new Scene(aJob(), { ...nothingDonePlanned(2), completed: '0-1', finished: true });
    expect(finished.worker(0).verdict()).toBe('done');
    const failed = new Scene(aJob(), { ...nothingDonePlanned(2), failure: { reason: 'ShardFailed', message: 'shard 1' } });
    expect(failed.worker(0).verdict()).toBe('retired');
  });

  it('refuses a saved state whose parts do not fit together', () => {
    expect(() => new Scene(aJob(), { ...nothingDonePlanned(2), completed: '0-2' })).toThrow('completed shards "0-2" go beyond the 2 shards of the plan');
    expect(() => new Scene(aJob(), { ...nothingDonePlanned(2), completed: '1,0' })).toThrow(RangeError);
  });
});

function nothingDonePlanned(shards: number) {
  return { ...nothingDone, plan: { shards, items: shards * 10, exact: true, bytes: shards * 100, files: 1 } };
}
