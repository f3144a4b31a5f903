/**
 * Online requests: what dynamic batching gains over batch 1, beside what the engine alone gains from batches. One session
 * on one thread; the load comes from a process of its own, and every answer is compared with that of the engine alone.
 *
 *   npm run bench -- serving [--width N] [--batch N] [--seconds N] [--rounds N]
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { repoDir } from '../cluster/cache.ts';
import { sh, step, StepError } from '../step.ts';
import type { LoadResult } from './serving/load.ts';
import { mlp } from './serving/model.ts';
import { ServerProcess } from './serving/server-process.ts';

const usage = 'usage: npm run bench -- serving [--width N] [--batch N] [--seconds N] [--rounds N]';
const { values } = parseArgs({
  options: { width: { type: 'string', default: '6144' }, batch: { type: 'string', default: '32' }, seconds: { type: 'string', default: '8' }, rounds: { type: 'string', default: '3' } },
});
const [width, batch, seconds, rounds] = (['width', 'batch', 'seconds', 'rounds'] as const).map((name) => {
  if (!/^[1-9]\d{0,4}$/.test(values[name])) throw new StepError('bench serving', `--${name}: got "${values[name]}", expected a whole number above 0`, usage);
  return Number(values[name]);
}) as [number, number, number, number];
/** Enough that a full batch waits while one runs. */
const clients = 3 * batch;

interface Measured extends LoadResult {
  /** Of the server, all its threads. */
  cpuSeconds: number;
}

const folder = mkdtempSync(join(tmpdir(), 'millrace-serving-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
const model = join(folder, 'm.onnx');
const answersFile = join(folder, 'answers.json');

async function program<T>(name: string, args: readonly string[]): Promise<T> {
  const { stdout } = await sh(process.execPath, [join(repoDir, 'dev/bench/serving', name), ...args], { timeout: 1_800_000, quiet: true });
  return JSON.parse(stdout) as T;
}

async function load(maxSize: number, mode: 'open' | 'closed', amount: number): Promise<Measured> {
  const server = new ServerProcess({ model: { root: folder, path: 'm.onnx', name: 'm', task: 'tensors', accelerator: 'cpu' }, batching: { maxSize } });
  try {
    const url = await server.url();
    const run = (mostSeconds: number): Promise<LoadResult> => program('load.ts', [url, answersFile, mode, String(amount), String(mostSeconds)]);
    await run(1);
    const before = server.cpuSeconds;
    const result = await run(seconds);
    if (result.wrong > 0 || result.failed > 0) throw new StepError('bench serving', `${result.wrong} wrong and ${result.failed} failed answers of ${result.ok}`, 'this is a bug');
    return { ...result, cpuSeconds: server.cpuSeconds - before };
  } finally {
    await server.close();
  }
}

const median = (all: readonly number[]): number => [...all].sort((a, b) => a - b)[all.length >> 1] as number;
const middle = (all: readonly Measured[], of: (one: Measured) => number): number => median(all.map(of));

/** Both settings in turns, `rounds` times. */
async function both(title: string, mode: 'open' | 'closed', amount: number): Promise<[single: Measured[], dynamic: Measured[]]> {
  const [single, dynamic]: [Measured[], Measured[]] = [[], []];
  await step(title, async () => {
    for (let round = 0; round < rounds; round++) {
      single.push(await load(1, mode, amount));
      dynamic.push(await load(batch, mode, amount));
    }
  });
  return [single, dynamic];
}

writeFileSync(model, mlp(width));
const engine = await step('engine alone', () => program<{ single: number; batched: number; answers: number[][] }>('engine.ts', [model, String(batch), '3']));
writeFileSync(answersFile, JSON.stringify(engine.answers));
const perCpu = (one: Measured): number => one.ok / one.cpuSeconds;
const perSecond = (one: Measured): number => one.ok / one.seconds;

const [fullSingle, fullDynamic] = await both(`capacity, ${clients} clients`, 'closed', clients);
const lightRate = 0.7 * middle(fullSingle, perSecond);
const [lightSingle, lightDynamic] = await both(`open loop, ${lightRate.toFixed(0)} requests/s`, 'open', lightRate);
const heavyRate = 0.7 * middle(fullDynamic, perSecond);
const [heavySingle, heavyDynamic] = await both(`open loop, ${heavyRate.toFixed(0)} requests/s`, 'open', heavyRate);

const engineRatio = engine.batched / engine.single;
const serverRatio = middle(fullDynamic, perCpu) / middle(fullSingle, perCpu);
const n = (value: number): string => value >= 100 ? value.toFixed(0) : value.toPrecision(3);
const row = (name: string, single: string, dynamic: string, ratio = ''): string => `| ${name} | ${single} | ${dynamic} | ${ratio} |`;
const ratioRow = (name: string, single: Measured[], dynamic: Measured[], of: (one: Measured) => number): string =>
  row(name, n(middle(single, of)), n(middle(dynamic, of)), `${(middle(dynamic, of) / middle(single, of)).toFixed(2)}×`);
const latency = (all: Measured[]): string => `${n(middle(all, ({ p50 }) => p50))} / ${n(middle(all, ({ p99 }) => p99))} ms`;
console.log(`
MLP 1024-${width}-${width}-16, batches up to ${batch}, medians of ${rounds} rounds of ${seconds} s, load average ${loadavg()[0]?.toFixed(1)}

| | batch 1 | dynamic | |
|---|---|---|---|
${row('engine alone, rows per CPU-second', n(engine.single), n(engine.batched), `${engineRatio.toFixed(2)}×`)}
${ratioRow('server, requests per CPU-second', fullSingle, fullDynamic, perCpu)}
${ratioRow('server, requests per second', fullSingle, fullDynamic, perSecond)}
${row(`p50 / p99 at ${n(lightRate)} requests/s`, latency(lightSingle), latency(lightDynamic))}
${row(`p50 / p99 at ${n(heavyRate)} requests/s`, latency(heavySingle), latency(heavyDynamic))}
${row(`answered of that`, ...([heavySingle, heavyDynamic].map((all) => `${(100 * middle(all, ({ ok, refused }) => ok / (ok + refused))).toFixed(0)} %`) as [string, string]))}

dynamic batching reaches ${((100 * serverRatio) / engineRatio).toFixed(0)} % of the engine's ratio (target 80 %) and ${serverRatio.toFixed(2)}× batch 1 (target 3.76×)`);
