/**
 * Load on a model server from a process of its own, so that its CPU time is apart. Requests are binary tensors; every
 * answer is compared with that of the engine alone. Writes one JSON line.
 *
 *   node dev/bench/serving/load.ts URL ANSWERS.json closed CLIENTS SECONDS   each client asks again when it has its answer
 *   node dev/bench/serving/load.ts URL ANSWERS.json open RATE SECONDS        Poisson arrivals, whatever the server does
 */
import { readFileSync } from 'node:fs';
import { Pool } from 'undici';
import { pause } from '../../../kit/backoff.ts';
import { random } from '../../simulate/random.ts';
import { inputs, sample, samples } from './model.ts';

export interface LoadResult {
  ok: number;
  /** 429. */
  refused: number;
  /** Neither, or no answer at all. */
  failed: number;
  /** Answered with other numbers than those of the engine alone. */
  wrong: number;
  seconds: number;
  p50: number;
  p99: number;
}

/** Requests that may be open at a time. */
const connections = 512;
const tolerance = 1e-4;

const [url = '', answersFile = '', mode = '', amount = '', duration = ''] = process.argv.slice(2);
const expected = JSON.parse(readFileSync(answersFile, 'utf8')) as number[][];
const pool = new Pool(url, { connections, pipelining: 1, headersTimeout: 120_000, bodyTimeout: 120_000 });
const head = Buffer.from(JSON.stringify({ inputs: [{ name: 'x', shape: [1, inputs], datatype: 'FP32', parameters: { binary_data_size: inputs * 4 } }], parameters: { binary_data_output: true } }));
const bodies = Array.from({ length: samples }, (_, index) => Buffer.concat([head, Buffer.from(sample(index).buffer)]));
const headers = { 'content-type': 'application/octet-stream', 'inference-header-content-length': String(head.length) };

const latencies: number[] = [];
const counts = { ok: 0, refused: 0, failed: 0, wrong: 0 };

/** `since`: when the request was due; what it waits for in this process counts too. */
async function ask(index: number, since: number): Promise<void> {
  try {
    const response = await pool.request({ path: '/v2/models/m/infer', method: 'POST', headers, body: bodies[index % samples] as Buffer });
    const body = Buffer.from(await response.body.arrayBuffer());
    if (response.statusCode === 429) counts.refused++;
    else if (response.statusCode !== 200) counts.failed++;
    else {
      latencies.push(performance.now() - since);
      if (isRight(body.subarray(Number(response.headers['inference-header-content-length'])), expected[index % samples] as number[])) counts.ok++;
      else counts.wrong++;
    }
  } catch {
    counts.failed++;
  }
}

function isRight(bytes: Buffer, wanted: readonly number[]): boolean {
  return bytes.length === wanted.length * 4 && wanted.every((value, at) => Math.abs(bytes.readFloatLE(at * 4) - value) <= tolerance * Math.max(1, Math.abs(value)));
}

async function closed(clients: number, until: number): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: clients }, async () => {
    while (performance.now() < until) await ask(next++, performance.now());
  }));
}

async function open(rate: number, until: number): Promise<void> {
  const chance = random(7);
  const asked: Promise<void>[] = [];
  for (let due = performance.now(); due < until; due += (-Math.log(1 - chance()) * 1_000) / rate) {
    const wait = due - performance.now();
    // Below a millisecond timers are too coarse: those that are due go together.
    if (wait > 1) await pause(wait, new AbortController().signal);
    asked.push(ask(asked.length, due));
  }
  await Promise.all(asked);
}

const began = performance.now();
const until = began + Number(duration) * 1_000;
if (mode === 'closed') await closed(Number(amount), until);
else await open(Number(amount), until);
const seconds = (performance.now() - began) / 1_000;
await pool.close();
latencies.sort((a, b) => a - b);
const at = (share: number): number => latencies[Math.min(latencies.length - 1, Math.floor(share * latencies.length))] ?? Number.NaN;
process.stdout.write(`${JSON.stringify({ ...counts, seconds, p50: at(0.5), p99: at(0.99) } satisfies LoadResult)}\n`);
