import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { schedule } from '../operator/scheduler/schedule.ts';
import { fifoWithBackfill, strictPriority } from './simulate/baselines.ts';
import type { Scheduler } from './simulate/cluster.ts';
import { type Measures, measure } from './simulate/measures.ts';
import { plot } from './simulate/plot.ts';
import { describe, table, targets } from './simulate/report.ts';
import { decisionTable, parseSnapshot } from './simulate/snapshot-file.ts';
import { synthetic } from './simulate/synthetic.ts';
import { parseTrace, type Trace } from './simulate/trace.ts';
import { duration, StepError } from './step.ts';

const usage = `usage: npm run simulate [-- OPTIONS]
Replays a trace of jobs through the scheduler with a virtual clock, beside other policies.
  --jobs N          jobs of the synthetic trace (10000)
  --seed N          another synthetic trace for each number (1)
  --trace FILE      replay this trace instead; docs/scheduling.md tells its format
  --policies LIST   of millrace, strict, strict-no-preemption, fifo (all)
  --out FOLDER      write simulation.md (the table), simulation.svg (the plot) and trace.jsonl there
  --snapshot FILE   only say what is decided on this snapshot; with --json as JSON`;

const policies = ['millrace', 'strict', 'strict-no-preemption', 'fifo'] as const;
type PolicyName = (typeof policies)[number];

const titles: Record<PolicyName, string> = { millrace: 'Millrace', strict: 'strict priority', 'strict-no-preemption': 'strict, no preemption', fifo: 'FIFO with backfill' };
const schedulerOf: Record<PolicyName, (trace: Trace) => Scheduler> = {
  millrace: () => (snapshot, now) => schedule(snapshot, now),
  strict: () => strictPriority(true),
  'strict-no-preemption': () => strictPriority(false),
  fifo: fifoWithBackfill,
};

interface Options {
  jobs: string;
  seed: string;
  policies: string;
  trace?: string;
  out?: string;
  snapshot?: string;
  json?: boolean;
}

function main(options: Options): void {
  if (options.snapshot !== undefined) return decide(options.snapshot, options.json ?? false);
  const chosen = options.policies.split(',');
  const unknown = chosen.find((name) => !(policies as readonly string[]).includes(name));
  if (unknown !== undefined) throw new StepError('--policies', `got "${unknown}", expected a list of ${policies.join(', ')}`, 'name one or more of those, separated by commas');
  const lines = options.trace === undefined ? `${synthetic({ jobs: whole('--jobs', options.jobs), seed: whole('--seed', options.seed) }).map((line) => JSON.stringify(line)).join('\n')}\n` : read(options.trace, '--trace');
  const trace = parseTrace(lines, options.trace ?? 'synthetic');
  console.log(`${describe(trace)}\n`);
  const all = new Map<PolicyName, Measures>();
  for (const name of chosen as PolicyName[]) {
    const cpu = process.cpuUsage();
    const measures = measure(trace, titles[name], schedulerOf[name](trace));
    const { user, system } = process.cpuUsage(cpu);
    console.error(`${titles[name]}: ${measures.rounds} rounds, ${duration((user + system) / 1_000)} of CPU`);
    for (const { key, message } of measures.stuck.slice(0, 3)) console.error(`  ${key} never finished: ${message}`);
    all.set(name, measures);
  }
  const text = report(all);
  console.log(text);
  if (options.out === undefined) return;
  mkdirSync(options.out, { recursive: true });
  writeFileSync(join(options.out, 'trace.jsonl'), lines);
  writeFileSync(join(options.out, 'simulation.md'), text);
  writeFileSync(join(options.out, 'simulation.svg'), plot([...all.values()], `${describe(trace)}`));
  console.log(`written to ${options.out}: simulation.md, simulation.svg, trace.jsonl`);
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
      jobs: { type: 'string', default: '10000' }, seed: { type: 'string', default: '1' }, policies: { type: 'string', default: policies.join(',') },
      trace: { type: 'string' }, out: { type: 'string' }, snapshot: { type: 'string' }, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) console.log(usage);
  else main(values);
} catch (cause) {
  const isUsage = cause instanceof TypeError && 'code' in cause && String(cause.code).startsWith('ERR_PARSE_ARGS');
  if (!isUsage && !(cause instanceof StepError)) throw cause;
  console.error(isUsage ? `${(cause as Error).message}\n${usage}` : (cause as Error).message);
  process.exitCode = isUsage ? 2 : 1;
}
