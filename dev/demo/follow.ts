import type { Cluster } from '../cluster/index.ts';
import { StepError } from '../step.ts';
import { type Job, watchJob } from './watch.ts';

/** Longest time without any progress before a job counts as stuck. */
const stuckMs = 180_000;

const columns = ['NAME', 'STATE', 'PROGRESS', 'FAILED', 'RATE', 'ETA', 'WORKERS', 'AGE'] as const;
const widths = [14, 11, 22, 8, 11, 8, 9, 5];

const row = (cells: readonly string[]): string => cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('').trimEnd();

function cellsOf({ metadata, status = {} }: Job): string[] {
  const age = Math.max(0, Math.round((Date.now() - Date.parse(metadata.creationTimestamp)) / 1000));
  return [metadata.name, status.state ?? 'Pending', status.progress ?? '', `${status.items?.failed ?? ''}`, status.rate ?? '', status.eta ?? '', status.readyWorkers ?? '', `${age}s`];
}

const holds = ({ status }: Job, type: string): boolean => status?.conditions?.some((condition) => condition.type === type && condition.status === 'True') ?? false;

/**
 * Shows a job's progress until it is complete: in place on a terminal, else a line for each change.
 * @throws StepError when it fails or stands still
 */
export async function follow(cluster: Cluster, namespace: string, name: string): Promise<Job> {
  const look = `kubectl --kubeconfig ${cluster.kubeconfig} --namespace ${namespace} describe batchjob ${name}`;
  const stop = new AbortController();
  let last: Job | undefined;
  let moved = Date.now();
  const screen = process.stdout.isTTY === true ? inPlace() : lines();
  screen.show(row(columns), '');
  const timer = setInterval(() => {
    if (last !== undefined) screen.show(row(cellsOf(last)), last.status?.message ?? '', true);
    if (Date.now() - moved > stuckMs) stop.abort();
  }, 1000);
  try {
    for await (const job of watchJob(cluster, namespace, name, stop.signal)) {
      if (job.status?.progress !== last?.status?.progress || job.status?.state !== last?.status?.state) moved = Date.now();
      last = job;
      screen.show(row(cellsOf(job)), job.status?.message ?? '');
      if (holds(job, 'Complete')) return job;
      const failed = job.status?.conditions?.find((condition) => condition.type === 'Failed' && condition.status === 'True');
      if (failed !== undefined) throw new StepError(`BatchJob ${name}`, `${failed.reason}: ${failed.message}`, look);
    }
    throw new StepError(`BatchJob ${name}`, `no progress for ${stuckMs / 1000} s: ${last?.status?.message ?? 'the operator has not looked at it yet'}`, look);
  } finally {
    clearInterval(timer);
    stop.abort();
    screen.close();
  }
}

interface Screen {
  /** `tick`: nothing but the time has changed. */
  show(line: string, message: string, tick?: boolean): void;
  close(): void;
}

/** The header stays, the row below it is written over, and below that stands the message. */
function inPlace(): Screen {
  let header = true;
  let open = false;
  return {
    show(line, message) {
      if (header) {
        process.stdout.write(`${line}\n`);
        header = false;
        return;
      }
      const width = (process.stdout.columns ?? 120) - 1;
      process.stdout.write(`${open ? '\x1b[1A' : ''}\r\x1b[2K${line.slice(0, width)}\n\x1b[2K\x1b[2m${message.slice(0, width)}\x1b[0m`);
      open = true;
    },
    close() {
      if (open) process.stdout.write('\r\x1b[2K');
    },
  };
}

/** A line for each new state, and now and then one on progress. */
function lines(): Screen {
  const everyMs = 3000;
  let state = '';
  let at = 0;
  return {
    show(line, _message, tick = false) {
      const [, now = ''] = line.split(/\s+/);
      if (tick || (now === state && Date.now() - at < everyMs)) return;
      state = now;
      at = Date.now();
      console.log(line);
    },
    close() {},
  };
}
