/**
 * The inference worker. Without an argument it gets its work from the sync server, runs the model, stores results: see
 * contract.ts. As `main.ts serve` it answers requests of the Open Inference Protocol: see docs/serving.md.
 */
import { writeFileSync } from 'node:fs';
import { systemClock } from '../kit/clock.ts';
import { createLog } from '../kit/log.ts';
import { readConfig, readEarlyConfig } from './config.ts';
import { RunStuck, type SessionPool } from './engine/pool.ts';
import { exitCodes, type Fatal, fatalExitCodes } from './contract.ts';
import { FatalError, messageOf } from './fatal.ts';
import { startHealth } from './health.ts';
import { Runner, type Workplace } from './runner.ts';
import { takeS3Keys } from './s3-keys.ts';
import { serve } from './serving/serve.ts';
import { readServeConfig } from './serving/serve-config.ts';
import { SyncClient } from './sync-client.ts';
import { openWorkplace } from './workplace.ts';

/** A session in the middle of a run cannot be stopped, and `process.exit` would abort: this long it may take … */
const leaveMs = 2_000;
/** … and this long when the exit code says something to the kubelet, which a kill would hide. */
const leaveInPeaceMs = 60_000;
/** Nor can the loading of a model: this long it may take after SIGTERM, well within the grace period. */
const loadMs = 10_000;
// Before anything loads ONNX Runtime: it would try to send usage data, and complains where it cannot.
process.env['ORT_DISABLE_TELEMETRY'] = '1';

const early = readEarlyConfig();
const log = createLog('millrace-worker', early.logLevel);
let opened: Workplace | undefined;
/** A run did not return: no use in waiting for it. */
let stuck = false;
/** The loading of the model, from its beginning on. */
let loading: Promise<{ pool: SessionPool }> | undefined;

try {
  process.exitCode = await start(process.argv.slice(2));
} catch (error) {
  if (error instanceof FatalError) {
    process.exitCode = fatalExitCodes[error.code];
    tellFatal({ code: error.code, message: error.message });
  } else {
    process.exitCode = exitCodes.crashed;
    stuck = error instanceof RunStuck;
    log.error({ error: error instanceof Error ? (stuck ? error.message : (error.stack ?? error.message)) : String(error) }, stuck ? 'model run stuck' : 'unexpected error');
  }
}
await leave();

function start([mode, ...more]: readonly string[]): Promise<number> {
  if (mode === undefined) return work();
  if (mode !== 'serve' || more.length > 0) throw new FatalError('SpecInvalid', `the arguments are "${[mode, ...more].join(' ')}", expected none, or "serve"`);
  return serve(readServeConfig(), log, (opening) => {
    loading = opening;
  });
}

async function work(): Promise<number> {
  const keys = takeS3Keys();
  const config = readConfig();
  const { spec, worker, cpus, memoryBytes } = config;
  log.info({ job: `${spec.job.namespace}/${spec.job.name}`, uid: spec.job.uid, slot: worker.slot, attempt: worker.attempt, cpus }, 'worker started');
  const crash = Promise.withResolvers<never>();
  const workplace = openWorkplace({ spec, owner: worker.incarnation, keys, cpus, memoryBytes, log, onCrash: crash.reject });
  loading = workplace;
  workplace.then(
    (ready) => {
      opened = ready;
    },
    () => undefined,
  );
  const client = new SyncClient(config.sync);
  const runner = new Runner({
    worker,
    client,
    workplace,
    clock: systemClock,
    log,
    onDurable: (items) => health.countItems(items),
    onRuns: (runs) => health.countRuns(runs),
  });
  const health = await startHealth(config.healthPort, () => ({
    engine: opened?.engine,
    leases: runner.leases,
    itemsPerSecond: runner.itemsPerSecond,
    reachable: runner.reachable,
    queueDepth: runner.queueDepth,
    failuresInARow: runner.failuresInARow,
  }));
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      runner.drain().catch(crash.reject);
    });
  }
  try {
    const code = await Promise.race([runner.run(), crash.promise]);
    if (runner.fatal) tellFatal(runner.fatal);
    return code;
  } finally {
    client.close();
    await health.close();
  }
}

function tellFatal(fatal: Fatal): void {
  log.error({ code: fatal.code }, fatal.message);
  if (early.terminationLog === undefined) return;
  try {
    writeFileSync(early.terminationLog, JSON.stringify(fatal));
  } catch (error) {
    log.warn({ reason: messageOf(error) }, 'the termination log could not be written');
  }
}

async function leave(): Promise<never> {
  const idle = await outOfRuntime(process.exitCode === exitCodes.drained || stuck ? leaveMs : leaveInPeaceMs);
  log.info({ exitCode: process.exitCode, ...(idle ? {} : { killed: 'the model still runs or loads' }) }, 'worker ended');
  if (idle) process.exit();
  // All that is done is durable. SIGKILL, since leaving a run any other way is an abort with a core dump.
  process.kill(process.pid, 'SIGKILL');
  // The first process of a container is immune to signals from within, not to a fault of its own.
  await new Promise((resolve) => setTimeout(resolve, 100));
  process.abort();
}

/** True when no thread is inside ONNX Runtime any more, where `process.exit` would abort. */
async function outOfRuntime(withinMs: number): Promise<boolean> {
  const late = Symbol('late');
  const loaded = await Promise.race([loading?.catch(() => undefined), new Promise<typeof late>((resolve) => setTimeout(() => resolve(late), loadMs).unref())]);
  if (loaded === late) return false;
  return loaded === undefined || (await loaded.pool.close(withinMs));
}
