import { runOurs } from './ours.ts';
import { type Peer, runPeer } from './peers.ts';
import type { Workload } from './workloads.ts';

export interface Contestant {
  name: string;
  /** Its packages must be installed first. */
  peer?: Peer;
  /** Does all the work in an empty folder; returns the file of results. `python` is the peer's. */
  run: (work: Workload, folder: string, python: string) => Promise<string>;
}

export interface ContestOptions {
  cpus: number;
  execArgv: readonly string[];
}

export const ourName = 'Millrace';

export function contestantsFor(kind: Workload['kind'], { cpus, execArgv }: ContestOptions): Contestant[] {
  const ours = (name: string, maxSize?: number): Contestant => ({
    name,
    run: (work, folder) => runOurs(work, folder, { cpus, execArgv, ...(maxSize === undefined ? {} : { maxSize }) }),
  });
  const peer = (name: string, program: Peer, ...options: string[]): Contestant => ({
    name,
    peer: program,
    run: (work, folder, python) => runPeer(program, python, work, folder, ['--batch', String(work.peerBatch), ...options]),
  });
  const padded = kind === 'text' ? ', padded in order of arrival' : '';
  return [
    ours(ourName),
    ...(kind === 'text' ? [ours(`${ourName}, batches of 1`, 1)] : []),
    peer(`Python loop${padded}`, 'loop'),
    ...(kind === 'text' ? [peer('Python loop, batches of 1', 'loop', '--batch', '1')] : [peer('Python loop with orjson', 'loop', '--json', 'orjson')]),
    peer(`Ray Data${padded}`, 'ray_data'),
    peer(`PyTriton${padded}`, 'triton'),
  ];
}
