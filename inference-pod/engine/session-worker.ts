/**
 * The thread of one session. ONNX Runtime's `run` blocks its thread, so nothing else lives here. It must never be
 * terminated from outside: that aborts the process when a run is in flight. It leaves when told to, between two runs.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../fatal.ts';
import type { Chunk, ChunkResult, RunTimes } from '../reading/chunk.ts';
import type { Format } from '../reading/record-end.ts';
import { type Capacity, type Run, RunStopped } from './batch.ts';
import { runChunk } from './chunk-runner.ts';
import { ItemScanner } from './item-scanner.ts';
import { type Rows, type RowsAnswer, runRequests, transfersOf } from './requests.ts';
import { RunMarks } from './run-marks.ts';
import { openSession, type Provider } from './session.ts';
import type { Signature } from './signature.ts';
import { encoderSignature, openEncoder } from '../text/encoder.ts';
import type { TextSettings } from '../text/settings.ts';
import { runTextChunk } from '../text/text-chunk.ts';

export interface SessionOptions {
  model: string;
  provider: Provider;
  threads: number;
  format: Format;
  /** With the task text-embedding. */
  text?: TextSettings;
  /** Int32; not 0 once no further run may begin. */
  stop: SharedArrayBuffer;
  /** Memory of the thread's RunMarks. */
  marks: SharedArrayBuffer;
}

export type ToSession = { kind: 'run'; id: number; chunk: Chunk } | { kind: 'infer'; id: number; requests: Rows[] } | { kind: 'close' };
export type FromSession =
  | { kind: 'ready'; signature: Signature }
  | { kind: 'refused'; message: string }
  | { kind: 'done'; id: number; result: ChunkResult }
  | { kind: 'inferred'; id: number; answers: RowsAnswer[]; runMs: number }
  | { kind: 'stopped'; id: number }
  | { kind: 'crashed'; id: number; message: string };

/** By which a thread's CPU time lags, which Linux brings up to date at clock ticks (250 a second on most, 100 at least). */
const tickMs = 4;

const { model, provider, threads, format, text, stop, marks: memory } = workerData as SessionOptions;
const stopped = new Int32Array(stop);
const marks = new RunMarks(memory);
if (parentPort === null) throw new Error('session-worker.ts runs as a worker thread');
const port = parentPort;
const send = (message: FromSession, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);

try {
  const { signature, run } = await openSession(model, provider, threads, text === undefined ? undefined : encoderSignature);
  const encoder = text === undefined ? undefined : openEncoder(signature, text);
  const scanner = ItemScanner.for(signature);
  let last: Promise<void> = Promise.resolve();
  const capacity: Capacity = { items: Number.POSITIVE_INFINITY };
  port.on('message', (message: ToSession) => {
    if (message.kind === 'close') {
      port.close();
      return;
    }
    last = last.then(() => (message.kind === 'run' ? answer(message.id, message.chunk) : infer(message.id, message.requests)));
  });
  let runs = noRuns();
  const markedRun: Run = async (feeds, batch) => {
    if (Atomics.load(stopped, 0) !== 0) throw new RunStopped('stopped');
    marks.begin({ first: batch[0]?.slot ?? 0, last: batch.at(-1)?.slot ?? 0, items: batch.length });
    const started = performance.now();
    try {
      const outputs = await run(feeds, batch);
      Object.assign(runs, { failuresInARow: 0, anySucceeded: true });
      return outputs;
    } catch (error) {
      if (batch.length === 1) runs.failuresInARow += 1;
      throw error;
    } finally {
      runs.ms.push(performance.now() - started);
      marks.end();
    }
  };
  const answer = async (id: number, chunk: Chunk): Promise<void> => {
    const started = performance.now();
    const cpu = process.threadCpuUsage();
    runs = noRuns();
    try {
      const outcome = encoder === undefined ? await runChunk(chunk, signature, markedRun, format, capacity, scanner) : await runTextChunk(chunk, encoder, markedRun, format, capacity);
      const elapsedMs = performance.now() - started;
      const { user, system } = process.threadCpuUsage(cpu);
      const result = { ...outcome, elapsedMs, costMs: provider === 'cpu' && threads === 1 ? Math.min(elapsedMs, (user + system) / 1_000 + tickMs) : elapsedMs, runs, spent: chunk.bytes.buffer };
      send({ kind: 'done', id, result }, [result.results.buffer, result.errors.buffer, result.spent]);
    } catch (error) {
      giveUp(id, error);
    }
  };
  const infer = async (id: number, requests: Rows[]): Promise<void> => {
    const started = performance.now();
    runs = noRuns();
    try {
      const answers = await runRequests(requests, signature, markedRun, capacity);
      const transfers = transfersOf(answers.flatMap((one) => ('outputs' in one ? one.outputs : [])));
      send({ kind: 'inferred', id, answers, runMs: performance.now() - started }, [...new Set(transfers)]);
    } catch (error) {
      giveUp(id, error);
    }
  };
  const giveUp = (id: number, error: unknown): void => {
    if (error instanceof RunStopped) send({ kind: 'stopped', id });
    else send({ kind: 'crashed', id, message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  };
  send({ kind: 'ready', signature: encoder?.signature ?? signature });
} catch (error) {
  send({ kind: 'refused', message: messageOf(error) });
}

function noRuns(): RunTimes {
  return { ms: [], failuresInARow: 0, anySucceeded: false };
}
