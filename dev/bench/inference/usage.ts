/** What a tree of processes takes, as the kernel counts it (Linux: /proc). */
import { readdirSync, readFileSync } from 'node:fs';

/** USER_HZ, which the kernel shows to all programs alike on every architecture that Node runs on. */
const ticksPerSecond = 100;
const lookEveryMs = 100;

export interface Usage {
  /** User and system time of all processes of the tree. */
  cpuSeconds: number;
  wallSeconds: number;
  /** The most that any one process of the tree held resident at a time. */
  peakBytes: number;
}

interface Stat {
  pid: number;
  parent: number;
  /** Since boot; tells processes apart that have the same id one after the other. */
  started: string;
  ticks: number;
  waitedTicks: number;
}

function readStat(pid: number | 'self'): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in brackets may hold anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const number = (index: number): number => Number(fields[index]);
    return { pid: Number.parseInt(text, 10), parent: number(1), ticks: number(11) + number(12), waitedTicks: number(13) + number(14), started: fields[19] as string };
  } catch {
    return undefined;
  }
}

function peakOf(pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/**
 * Runs `work`, which starts processes and waits for them, and tells what they took. Time comes from two sources: what
 * the kernel adds up for children that were waited for, which is exact but misses those that nobody waits for, and looks
 * at each process of the tree every 100 ms, which miss the last moments of each. The larger counts.
 */
export async function measureChildren<T>(work: () => Promise<T>): Promise<{ usage: Usage; value: T }> {
  const waitedBefore = (readStat('self') as Stat).waitedTicks;
  const seen = new Map<string, Stat>();
  let peakBytes = 0;
  const earlier = new Set(descendants().map(keyOf));
  const look = (): void => {
    for (const stat of descendants(seen)) {
      if (earlier.has(keyOf(stat))) continue;
      seen.set(keyOf(stat), stat);
      peakBytes = Math.max(peakBytes, peakOf(stat.pid));
    }
  };
  const timer = setInterval(look, lookEveryMs);
  const began = performance.now();
  try {
    const value = await work();
    const wallSeconds = (performance.now() - began) / 1_000;
    const waited = (readStat('self') as Stat).waitedTicks - waitedBefore;
    const looked = [...seen.values()].reduce((sum, { ticks }) => sum + ticks, 0);
    return { value, usage: { cpuSeconds: Math.max(waited, looked) / ticksPerSecond, wallSeconds, peakBytes } };
  } finally {
    clearInterval(timer);
  }
}

const keyOf = ({ pid, started }: Stat): string => `${pid}/${started}`;

/** The processes below this one, and those that were once and have been left by their parents. */
function descendants(known: ReadonlyMap<string, Stat> = new Map()): Stat[] {
  const all = readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? [readStat(Number(name))] : [])).filter((stat) => stat !== undefined);
  const inside = new Set<number>([process.pid]);
  const found: Stat[] = [];
  // A parent has mostly a lower id than its children, but ids start over.
  for (let grown = true; grown; ) {
    grown = false;
    for (const stat of all) {
      if (inside.has(stat.pid) || !(inside.has(stat.parent) || known.has(keyOf(stat)))) continue;
      inside.add(stat.pid);
      found.push(stat);
      grown = true;
    }
  }
  return found;
}
