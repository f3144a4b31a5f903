/**
 * Offline inference beside others: the same model, the same file in, the same lines out, checked alike. See docs/benchmarks.md.
 *
 *   npm run bench -- inference [mlp|cnn|text ...] [--items N] [--repeats N] [--cpus N] [--only NAME ...]
 */
import { rm } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { cacheDir } from '../cluster/cache.ts';
import { CommandError, StepError, step } from '../step.ts';
import { checkOutput } from './inference/check.ts';
import { type Contestant, contestantsFor } from './inference/contestants.ts';
import { installPeer } from './inference/peers.ts';
import { type Row, table } from './inference/table.ts';
import { measureChildren, type Usage } from './inference/usage.ts';
import { kinds, recipes, type Workload, workload } from './inference/workloads.ts';

const usage = `usage: npm run bench -- inference [WORK ...] [options]
  WORK          of ${kinds.join(', ')}; all when none is named
  --items N     items of the input; ${kinds.map((kind) => `${kind} ${recipes[kind].usualItems}`).join(', ')} when absent
  --repeats N   runs of each contestant that count, after one that does not; 3 when absent
  --cpus N      CPU limit of our worker, which has a session for each; 1 when absent
  --only TEXT   only contestants whose name holds this text; may be repeated
  --profile DIR write CPU profiles of our worker's threads`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    items: { type: 'string' }, repeats: { type: 'string', default: '3' }, cpus: { type: 'string', default: '1' },
    only: { type: 'string', multiple: true, default: [] }, profile: { type: 'string' }, help: { type: 'boolean', short: 'h', default: false },
  },
});

function numberOf(name: string, text: string, least: number): number {
  if (!/^\d{1,9}$/.test(text) || Number(text) < least) throw new StepError('bench inference', `--${name}: got "${text}", expected a whole number of at least ${least}`, usage);
  return Number(text);
}

interface Entrant extends Contestant {
  python: string;
  runs: Usage[];
  missing?: string;
}

async function enter(contestant: Contestant): Promise<Entrant> {
  try {
    return { ...contestant, runs: [], python: contestant.peer ? await installPeer(contestant.peer) : '' };
  } catch (cause) {
    if (!(cause instanceof StepError)) throw cause;
    console.error(cause.message);
    return { ...contestant, runs: [], python: '', missing: 'could not be installed' };
  }
}

async function runOnce(entrant: Entrant, work: Workload, scratch: string): Promise<Usage> {
  await rm(scratch, { recursive: true, force: true });
  const { usage: used, value } = await measureChildren(() => entrant.run(work, scratch, entrant.python));
  checkOutput(value, work);
  return used;
}

async function contest(work: Workload, entrants: readonly Entrant[], repeats: number): Promise<void> {
  const scratch = join(cacheDir(), 'bench', `scratch-${process.pid}`);
  for (let round = 0; round <= repeats; round++) {
    for (let turn = 0; turn < entrants.length; turn++) {
      const entrant = entrants[(turn + round) % entrants.length] as Entrant;
      if (entrant.missing !== undefined) continue;
      try {
        const used = await step(`${round === 0 ? 'warm-up' : `round ${round}`}: ${entrant.name}`, () => runOnce(entrant, work, scratch));
        if (round > 0) entrant.runs.push(used);
      } catch (cause) {
        // Ours must be right; a peer that fails is told and left out.
        if (entrant.peer === undefined || !(cause instanceof StepError || cause instanceof CommandError)) throw cause;
        console.error(cause.message);
        entrant.missing = 'failed';
      }
    }
  }
  await rm(scratch, { recursive: true, force: true });
}

const load = (): string => loadavg().map((value) => value.toFixed(1)).join(' ');

if (values.help) console.log(usage);
else {
  const unknown = positionals.find((name) => !(kinds as readonly string[]).includes(name));
  if (unknown !== undefined) throw new StepError('bench inference', `there is no work "${unknown}"`, usage);
  if (process.platform !== 'linux') throw new StepError('bench inference', 'CPU time is read from /proc, which only Linux has', 'run it on Linux');
  const [repeats, limit] = [numberOf('repeats', values.repeats, 1), numberOf('cpus', values.cpus, 1)];
  const items = values.items === undefined ? undefined : numberOf('items', values.items, 1);
  const execArgv = values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`];
  const wanted = (name: string): boolean => values.only.length === 0 || values.only.some((text) => name.toLowerCase().includes(text.toLowerCase()));
  for (const kind of kinds.filter((one) => positionals.length === 0 || positionals.includes(one))) {
    const entrants: Entrant[] = [];
    for (const contestant of contestantsFor(kind, { cpus: limit, execArgv })) if (wanted(contestant.name)) entrants.push(await enter(contestant));
    const work = await step(`make the work: ${kind}`, () => workload(kind, items));
    const before = load();
    await contest(work, entrants, repeats);
    const rows = entrants.map(({ name, runs, missing }): Row => ({ name, runs, ...(missing === undefined ? {} : { missing }) }));
    console.log(`\n${recipes[kind].title}; ${work.items} items, ${repeats} runs after a warm-up, on ${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}; load average ${before} before, ${load()} after\n\n${table(work.items, rows)}\n`);
  }
}
