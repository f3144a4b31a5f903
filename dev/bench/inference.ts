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
import { type Contestant, contestantsFor, ourName } from './inference/contestants.ts';
import { installPeer } from './inference/peers.ts';
import { hasRoof, measureRoofs, type Roofs } from './inference/roofs.ts';
import { median, type Row, table, whole } from './inference/table.ts';
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

/** Enough for the usual batches, too few to take time. */
const tinyItems = 64;

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

/** What ours is held against beside the others: its parts alone, and a job that is all start and end. */
interface Parts {
  roofs: Roofs[];
  starts: Usage[];
}

async function contest(work: Workload, entrants: readonly Entrant[], repeats: number, scratch: string, each: () => Promise<void>): Promise<void> {
  for (let round = 0; round <= repeats; round++) {
    if (round > 0) await each();
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
}

/** How close ours comes to what its parts allow. */
function roofText({ roofs, starts }: Parts, items: number, ours: readonly Usage[]): string {
  const of = (part: keyof Roofs): number => median(roofs.map((one) => one[part]));
  const start = median(starts.map(({ cpuSeconds }) => cpuSeconds));
  const seconds = median(ours.map(({ cpuSeconds }) => cpuSeconds));
  const share = (rate: number): string => `${((100 * rate) / of('all')).toFixed(0)} %`;
  return `Items per CPU-second of the engine alone ${whole(of('engine'))}, the parser alone ${whole(of('parser'))}, the writer alone ${whole(of('writer'))}: one after the other ${whole(of('all'))}.
${ourName} reaches ${share(items / seconds)} of that, ${share(items / (seconds - start))} without its start and end, which take ${start.toFixed(1)} CPU-seconds whatever the input.`;
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
    const tiny = await workload(kind, tinyItems);
    const before = load();
    const parts: Parts = { roofs: [], starts: [] };
    const scratch = join(cacheDir(), 'bench', `scratch-${process.pid}`);
    const ours = entrants.find(({ name }) => name === ourName);
    await contest(work, entrants, repeats, scratch, async () => {
      if (ours === undefined || !hasRoof(work)) return;
      parts.roofs.push(await step('parts alone', () => measureRoofs(work, cacheDir())));
      parts.starts.push(await step('start and end alone', () => runOnce(ours, tiny, scratch)));
    });
    await rm(scratch, { recursive: true, force: true });
    const rows = entrants.map(({ name, runs, missing }): Row => ({ name, runs, ...(missing === undefined ? {} : { missing }) }));
    console.log(`\n${recipes[kind].title}; ${work.items} items, ${repeats} runs after a warm-up, on ${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}; load average ${before} before, ${load()} after\n\n${table(work.items, rows)}\n`);
    if (ours !== undefined && parts.roofs.length > 0) console.log(`${roofText(parts, work.items, ours.runs)}\n`);
  }
}
