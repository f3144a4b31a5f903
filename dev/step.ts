import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, createWriteStream, mkdirSync, renameSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { cacheDir } from './cluster/cache.ts';

/** A step that failed: its title, the last lines that explain it, and what to try. The message holds all three. */
export class StepError extends Error {
  readonly title: string;
  readonly reason: string;
  readonly next: string;
  constructor(title: string, reason: string, next: string) {
    super(`${title}: failed\n${indent(reason)}\n  next: ${next}`);
    this.name = 'StepError';
    this.title = title;
    this.reason = reason;
    this.next = next;
  }
}

/** A child program that failed. `output` is the end of what it wrote to both streams. */
export class CommandError extends Error {
  readonly code: number | undefined;
  readonly output: string;
  constructor(what: string, how: string, code: number | undefined, output: string) {
    super(`${what} ${how}${output === '' ? '' : `\n${output}`}`);
    this.name = 'CommandError';
    this.code = code;
    this.output = output;
  }
}

export type ShOptions = {
  cwd?: string;
  /** Added to the environment of this process. */
  env?: Record<string, string>;
  /** Milliseconds; 10 minutes when not given. The child gets SIGTERM, 5 s later SIGKILL. */
  timeout?: number;
  signal?: AbortSignal;
  /** Text or a stream for standard input. */
  input?: string | Buffer | Readable;
  /** Write standard output to this file instead of returning it. */
  stdoutFile?: string;
  /** Keep standard output out of the log file: for machine-readable answers. */
  quiet?: boolean;
  /** Lower CPU priority, for long builds. */
  nice?: boolean;
  /** Exit codes that are not failures; 0 when not given. */
  okCodes?: readonly number[];
};
export type ShResult = { code: number; stdout: string; stderr: string };

const tailBytes = 4096;
const indent = (text: string): string => text.split('\n').map((line) => `  ${line}`).join('\n');
export const tail = (text: string, lines = 12): string => text.trimEnd().split('\n').slice(-lines).join('\n');

/** Where child programs' output is kept; the file before it as `.old`. */
export const logFile = (): string => {
  if (openedLog !== undefined) return openedLog;
  const path = join(cacheDir(), 'log/dev.log');
  mkdirSync(dirname(path), { recursive: true });
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 8 << 20) renameSync(path, `${path}.old`);
  openedLog = path;
  return path;
};
let openedLog: string | undefined;

/**
 * Runs a program to its end without a shell; its output goes to the log file too.
 * @throws CommandError when it can't be started, exits with another code, is aborted or runs too long.
 */
export async function sh(command: string, args: readonly string[], options: ShOptions = {}): Promise<ShResult> {
  const log = logFile();
  const shown = [command, ...args].join(' ');
  const what = shown.length > 160 ? `${shown.slice(0, 157)}...` : shown;
  const limit = options.timeout ?? 600_000;
  appendFileSync(log, `\n$ ${shown}\n`);

  const [program, argv] = options.nice ? ['nice', ['-n', '10', command, ...args]] : [command, [...args]];
  const child = spawn(program, argv, {
    cwd: options.cwd,
    env: options.env === undefined ? process.env : { ...process.env, ...options.env },
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });
  children.add(child);
  child.on('close', () => children.delete(child));
  let stdout = '';
  let stderr = '';
  let both = '';
  const keep = (chunk: string): void => {
    both = (both + chunk).slice(-tailBytes);
    appendFileSync(log, chunk);
  };
  const file = options.stdoutFile === undefined ? undefined : createWriteStream(options.stdoutFile);
  const fileDone = new Promise<void>((resolve, reject) => {
    if (file === undefined) return resolve();
    file.on('finish', resolve);
    file.on('error', reject);
  });
  fileDone.catch(() => {}); // awaited below; a failed child may end before that
  if (file !== undefined) child.stdout?.pipe(file);
  else {
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk;
      if (!options.quiet) keep(chunk);
    });
  }
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
    keep(chunk);
  });
  if (child.stdin !== null) {
    child.stdin.on('error', () => {}); // EPIPE: the exit code tells why
    if (typeof options.input === 'string' || Buffer.isBuffer(options.input)) child.stdin.end(options.input);
    else options.input?.pipe(child.stdin);
  }

  let stopped: string | undefined;
  let kill: NodeJS.Timeout | undefined;
  const stop = (how: string): void => {
    stopped ??= how;
    child.kill('SIGTERM');
    kill ??= setTimeout(() => child.kill('SIGKILL'), 5000);
  };
  const timer = setTimeout(() => stop(`took longer than ${Math.round(limit / 1000)} s`), limit);
  const abort = (): void => stop('was stopped');
  if (options.signal?.aborted) abort();
  options.signal?.addEventListener('abort', abort, { once: true });
  try {
    const code = await new Promise<number>((resolve, reject) => {
      child.on('error', (cause: NodeJS.ErrnoException) =>
        reject(new CommandError(what, cause.code === 'ENOENT' ? 'could not be started: no such program' : `could not be started: ${cause.message}`, undefined, '')));
      child.on('close', (status, signalName) => resolve(status ?? (signalName === null ? 1 : 128)));
    });
    if (stopped !== undefined) throw new CommandError(what, stopped, undefined, tail(both));
    if (!(options.okCodes ?? [0]).includes(code)) throw new CommandError(what, `exited with code ${code}`, code, tail(both));
    await fileDone;
    return { code, stdout, stderr };
  } finally {
    clearTimeout(timer);
    clearTimeout(kill);
    options.signal?.removeEventListener('abort', abort);
  }
}

/** Programs do not outlive the one that started them. */
const children = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of children) child.kill('SIGTERM');
});

export const duration = (ms: number): string => {
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  const s = Math.round(ms / 1000);
  return s < 60 ? `${s} s` : `${Math.floor(s / 60)} min ${s % 60} s`;
};

let running = 0;

/**
 * Tells that something begins and how long it took. On a terminal the line is rewritten in place while no other step runs.
 * @param next what the reader can try when it fails
 * @throws StepError, and an inner StepError unchanged
 */
export async function step<T>(title: string, fn: () => Promise<T>, next = `read ${logFile()}, then run the command again`): Promise<T> {
  const started = performance.now();
  const tty = process.stderr.isTTY === true;
  const alone = running === 0;
  if (!alone && tty && openLine) process.stderr.write('\n');
  running += 1;
  openLine = tty;
  process.stderr.write(tty ? `… ${title}` : `… ${title}\n`);
  const end = (mark: string): void => {
    running -= 1;
    process.stderr.write(`${tty && openLine ? '\r\x1b[2K' : ''}${mark} ${title} (${duration(performance.now() - started)})\n`);
    openLine = false;
  };
  try {
    const value = await fn();
    end('✓');
    return value;
  } catch (cause) {
    end('✗');
    if (cause instanceof StepError) throw cause;
    throw new StepError(title, cause instanceof Error ? cause.message : String(cause), next);
  }
}
/** Whether the cursor stands behind an unfinished line. */
let openLine = false;
