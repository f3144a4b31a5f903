import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { schedule } from '../operator/scheduler/schedule.ts';
import type { Measures } from './simulate/measures.ts';
import { plot } from './simulate/plot.ts';
import { isPolicy, type PolicyName, policies } from './simulate/policies.ts';
import { describe, table, targets } from './simulate/report.ts';
import { decisionTable, parseSnapshot } from './simulate/snapshot-file.ts';
import { synthetic } from './simulate/synthetic.ts';
import { parseTrace } from './simulate/trace.ts';
import type { Task } from './simulate/worker.ts';
import { duration, StepError } from './step.ts';

const usage = `usage: npm run simulate [-- OPTIONS]
Replays a trace of jobs through the scheduler with a virtual clock, beside other policies.
  --jobs N          jobs of the synthetic trace (10000)
  --seed N          another synthetic trace for each number (1)
  --trace FILE      replay this trace instead; docs/scheduling.md tells its format
  --policies LIST   of millrace, strict, strict-no-preemption, fifo (all)
  --out FOLDER      write simulation.md (the table) and simulation.svg (the plot) there
  --save-trace FILE write the trace as a file for --trace
  --snapshot FILE   only say what is decided on this snapshot; with --json as JSON`;

interface Options {
  jobs: string;
  seed: string;
  policies: string;
  trace?: string;
  out?: string;
  'save-trace'?: string;
  snapshot?: string;
  json?: boolean;
}

async function main(options: Options): Promise<void> {
  if (options.snapshot !== undefined) {
    decide(options.snapshot, options.json ?? false);
    return;
  }
  const chosen = options.policies.split(',').map((name) => (isPolicy(name) ? name : unknownPolicy(name)));
  const { lines, source } = linesOf(options);
  const trace = parseTrace(lines, source);
  if (options['save-trace'] !== undefined) writeFileSync(options['save-trace'], lines);
  const title = describe(trace);
  console.log(`${title}\n`);
  // One thread for each: they know nothing of each other.
  const measured = await Promise.all(chosen.map(async (policy) => [policy, await measureApart({ policy, lines })] as const));
  const all = new Map(measured);
  const text = report(all);
  console.log(text);
  if (options.out === undefined) return;
  mkdirSync(options.out, { recursive: true });
  const command = ['npm run simulate --', ...(options.trace === undefined ? [`--jobs ${options.jobs} --seed ${options.seed}`] : [`--trace ${options.trace}`])].join(' ');
  writeFileSync(join(options.out, 'simulation.md'), `# A simulation\n\n\`${command}\`: ${title}.\n\n![waits by class and utilisation](simulation.svg)\n\n${text}`);
  writeFileSync(join(options.out, 'simulation.svg'), plot([...all.values()], title));
  console.log(`written to ${options.out}: simulation.md, simulation.svg`);
}

function linesOf({ trace, jobs, seed }: Options): { lines: string; source: string } {
  if (trace !== undefined) return { lines: read(trace, '--trace'), source: trace };
  const lines = synthetic({ jobs: whole('--jobs', jobs), seed: whole('--seed', seed) });
  return { lines: `${lines.map((line) => JSON.stringify(line)).join('\n')}\n`, source: 'synthetic' };
}

async function measureApart(task: Task): Promise<Measures> {
  const started = performance.now();
  const measures = await new Promise<Measures>((resolve, reject) => {
    const worker = new Worker(new URL('./simulate/worker.ts', import.meta.url), { workerData: task });
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new StepError(policies[task.policy].title, `its thread ended with code ${code}`, 'run it again with that policy alone')));
  });
  console.error(`${measures.policy}: ${measures.rounds} rounds in ${duration(performance.now() - started)}`);
  for (const { key, message } of measures.stuck.slice(0, 3)) console.error(`  ${key} never finished: ${message}`);
  return measures;
}

function unknownPolicy(name: string): never {
  throw new StepError('--policies', `got "${name}", expected a list of ${Object.keys(policies).join(', ')}`, 'name one or more of those, separated by commas');
}

function report(all: ReadonlyMap<PolicyName, Measures>): string {
  const [ours, strict, fifo] = (['millrace', 'strict', 'fifo'] as const).map((name) => all.get(name));
  const checks = ours && strict && fifo ? targets(ours, strict, fifo).map(({ text, met }) => `- ${met ? 'met' : 'MISSED'}: ${text}`) : [];
  return [table([...all.values()]), '', ...(checks.length === 0 ? [] : ['Targets:', '', ...checks, ''])].join('\n');
}

function decide(file: string, asJson: boolean): void {
  const { snapshot, now } = parseSnapshot(read(file, '--snapshot'), file, Date.now());
  const result = schedule(snapshot, now);
  console.log(asJson ? JSON.stringify(result, null, 2) : decisionTable(result));
}

function read(file: string, option: string): string {
  if (!existsSync(file)) throw new StepError(option, `there is no file ${file}`, 'name one that exists; the path is taken from the root of the repository');
  return readFileSync(file, 'utf8');
}

function whole(option: string, text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 1) throw new StepError(option, `got "${text}", expected a whole number of at least 1`, `say ${option} 1000, for example`);
  return number;
}

try {
  const { values } = parseArgs({
    options: {
      jobs: { type: 'string', default: '10000' }, seed: { type: 'string', default: '1' }, policies: { type: 'string', default: Object.keys(policies).join(',') },
      trace: { type: 'string' }, out: { type: 'string' }, 'save-trace': { type: 'string' }, snapshot: { type: 'string' }, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) console.log(usage);
  else await main(values);
} catch (cause) {
  const isUsage = cause instanceof TypeError && 'code' in cause && String(cause.code).startsWith('ERR_PARSE_ARGS');
  if (!isUsage && !(cause instanceof StepError)) throw cause;
  console.error(isUsage ? `${(cause as Error).message}\n${usage}` : (cause as Error).message);
  process.exitCode = isUsage ? 2 : 1;
}
