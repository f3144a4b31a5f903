import { join } from 'node:path';
import { connect } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { dynamicallyQuantised, picking } from '../../support/models/companions.ts';
import { slowToLoad, spinning } from '../../support/models/hostile.ts';
import { type HttpAnswer, ServingProcess } from './serving-process.ts';

let started: ServingProcess[] = [];
afterEach(async () => {
  await Promise.all(started.map((one) => one.close()));
  started = [];
});

async function start(...args: Parameters<typeof ServingProcess.start>): Promise<ServingProcess> {
  const serving = await ServingProcess.start(...args);
  started.push(serving);
  return serving;
}

async function startReady(...args: Parameters<typeof ServingProcess.start>): Promise<ServingProcess> {
  return await (await start(...args)).ready();
}

/** The machine may be busy with much else. */
const until = (check: () => Promise<void>): Promise<void> => vi.waitFor(check, { timeout: 30_000, interval: 5 });

const { spec } = ServingProcess;
/** One row of a vector x. */
const vector = (x: readonly number[], more: object = {}): object => ({ ...more, inputs: [{ name: 'x', shape: [1, x.length], datatype: 'FP32', data: x }] });
const scalar = (x: number, datatype = 'FP32'): object => ({ inputs: [{ name: 'x', shape: [1], datatype, data: [x] }] });
const json = <T>({ body }: HttpAnswer): T => JSON.parse(body) as T;
const dataOf = (answer: HttpAnswer): unknown[] => json<{ outputs: { data: unknown }[] }>(answer).outputs.map(({ data }) => data);

describe('many clients at once', () => {
  test('get byte for byte what each gets alone, in fewer runs', async () => {
    const serving = await startReady(spec(join('digits', 'model.onnx')));
    const digit = (seed: number): number[][][] => [Array.from({ length: 8 }, (_, y) => Array.from({ length: 8 }, (__, x) => (x * y * (seed + 1)) % 17))];
    const { inputs: [input] } = json<{ inputs: [{ name: string; datatype: string }] }>(await serving.call('/v2/models/m'));
    const requests = Array.from({ length: 200 }, (_, seed) => ({ inputs: [{ name: input.name, datatype: input.datatype, shape: [1, 1, 8, 8], data: [digit(seed)] }] }));
    const alone: string[] = [];
    for (const request of requests) alone.push((await serving.infer(request)).body);
    expect(alone.every((body) => body.includes('"outputs":['))).toBe(true);
    expect(new Set(alone).size).toBeGreaterThan(10);
    const runs = await serving.metric('millrace_serve_batch_rows_count');
    expect(runs).toBe(200);
    const together = await Promise.all(requests.map((request) => serving.infer(request)));
    expect(together.map(({ body }) => body)).toEqual(alone);
    expect(await serving.metric('millrace_serve_batch_rows_count')).toBeLessThan(runs + 150);
    expect(await serving.metric('millrace_serve_batch_rows_sum')).toBe(400);
  });

  test('may send several rows each, of different lengths, types and ranks', async () => {
    const serving = await startReady(spec('mixed.onnx', { batching: { maxSize: 8 } }), '2000');
    const asked = Array.from({ length: 150 }, (_, i) => {
      const [rows, length] = [1 + (i % 4), 1 + (i % 3)];
      return Array.from({ length: rows }, (__, row) => Array.from({ length }, (___, at) => i * 100 + row * 10 + at));
    });
    const answers = await Promise.all(asked.map((rows, i) => serving.infer({
      id: `request-${i}`,
      inputs: [{ name: 'scale', shape: [rows.length], datatype: 'FP32', data: rows.map((_, row) => row + 1) }, { name: 'ids', shape: [rows.length, rows[0]?.length], datatype: 'INT64', data: rows.flat() }],
    })));
    expect(answers.map((answer) => json<object>(answer))).toEqual(asked.map((rows, i) => ({
      model_name: 'm', model_version: '1', id: `request-${i}`,
      outputs: [
        { name: 'sum', datatype: 'INT64', shape: [rows.length], data: rows.map((row) => row.reduce((sum, one) => sum + one, 0)) },
        { name: 'scaled', datatype: 'FP32', shape: [rows.length, rows[0]?.length], data: rows.flatMap((row, at) => row.map((one) => one * (at + 1))) },
      ],
    })));
  });

  test('share no run where results depend on companions', async () => {
    const serving = await startReady(spec(dynamicallyQuantised()));
    const values = Array.from({ length: 40 }, (_, i) => (i === 5 ? 1_000 : (i % 7) + 0.5));
    const answers = await Promise.all(values.map((value) => serving.infer(vector([value, 0, 0, 0]))));
    for (const [i, answer] of answers.entries()) expect((dataOf(answer)[0] as number[])[0]).toBeCloseTo(2 * (values[i] as number), 3);
    expect(await serving.metric('millrace_serve_batch_rows_count')).toBe(40);
    expect(serving.log).toContain('the model quantises dynamically');
  });

  test('do not suffer from one whose request the model refuses', async () => {
    const serving = await startReady(spec(picking()));
    const answers = await Promise.all(Array.from({ length: 60 }, (_, i) => serving.infer(scalar(i === 30 ? 7 : i % 3, 'INT64'))));
    answers.forEach((answer, i) => {
      if (i === 30) expect([answer.status, answer.body]).toEqual([400, expect.stringMatching(/^\{"error":"the model refused this request: .*indices element out of data bounds/)]);
      else expect(dataOf(answer)).toEqual([[10 * ((i % 3) + 1)]]);
    });
    expect(await serving.metric('millrace_serve_refused_batches_total')).toBe(1);
    expect(await serving.metric('millrace_serve_batch_rows_count')).toBeLessThan(60);
  });

  test('are answered in the order in which they came, also where a later one is done first', async () => {
    const serving = await startReady(spec(spinning()), '2000');
    const ended: string[] = [];
    const ask = async (name: string, turns: number): Promise<number> => {
      expect((await serving.infer(scalar(turns))).status).toBe(200);
      ended.push(name);
      return performance.now();
    };
    const slow = ask('slow', 2e5);
    await until(async () => expect(await serving.metric('millrace_serve_open_requests')).toBe(1));
    const began = performance.now();
    const quick = ask('quick', 1);
    const [slowAt, quickAt] = await Promise.all([slow, quick]);
    // On two connections the client may read them in either order, but at the same time.
    expect(Math.abs(quickAt - slowAt)).toBeLessThan(0.5 * (slowAt - began));
  });
});

describe('a request id', () => {
  test('stands for one answer: joined in flight, kept afterwards, refused for another content', async () => {
    const serving = await startReady(spec('slow.onnx'));
    const request = vector([1, 2, 3, 4], { id: 'same' });
    const answers = await Promise.all(Array.from({ length: 10 }, () => serving.infer(request)));
    answers.push(await serving.infer(request));
    expect(new Set(answers.map(({ body }) => body))).toEqual(new Set(['{"model_name":"m","model_version":"1","id":"same","outputs":[{"name":"y","datatype":"FP32","shape":[1,4],"data":[4,1,2,3]}]}']));
    expect(await serving.metric('millrace_serve_batch_rows_sum')).toBe(1);
    expect(await serving.infer(vector([1, 2, 3, 5], { id: 'same' }))).toMatchObject({ status: 409, body: '{"error":"id: another request with this id and another content was sent before; use a new id"}' });
  });
});

describe('a server with too much to do', () => {
  test('refuses at once with 429 and says when to come back, and answers what it took', async () => {
    const serving = await startReady(spec('slow.onnx', { batching: { maxSize: 1 }, queue: { maxRequests: 4 } }));
    const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => serving.infer(vector([i, 0, 0, 0]))));
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThan(0);
    for (const { headers, body } of refused) {
      expect(Number(headers['retry-after'])).toBeGreaterThanOrEqual(1);
      expect(body).toMatch(/^\{"error":"4 requests wait already, which is all that may; come back after \d+ s"\}$/);
    }
    for (const [i, answer] of answers.entries()) if (answer.status !== 429) expect(dataOf(answer)).toEqual([[0, i, 0, 0]]);
    expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThanOrEqual(4);
  });

  test('forgets those who have gone before their run', async () => {
    const serving = await startReady(spec(spinning(), { batching: { maxSize: 1 } }));
    const busy = serving.infer(scalar(2e5));
    const clients = Array.from({ length: 5 }, () => new AbortController());
    const waiting = clients.map(({ signal }) => serving.infer(scalar(2e5), { signal }));
    const outcomes = Promise.allSettled(waiting);
    await until(async () => expect(await serving.metric('millrace_serve_open_requests')).toBe(6));
    for (const client of clients) client.abort();
    await outcomes;
    // One is with the session already, ahead of its run.
    await until(async () => expect(await serving.metric('millrace_serve_queue_depth')).toBe(0));
    expect((await busy).status).toBe(200);
    await until(async () => expect(await serving.metric('millrace_serve_open_requests')).toBe(0));
    expect(await serving.metric('millrace_serve_batch_rows_sum')).toBeLessThanOrEqual(2);
    expect(await serving.metric('millrace_serve_held_bytes')).toBe(0);
  });
});

describe('what clients get wrong', () => {
  const x = { name: 'x', shape: [1, 4], datatype: 'FP32', data: [1, 2, 3, 4] };

  test('is answered with the right code and one sentence, and the server goes on', async () => {
    const serving = await startReady(spec('affine.onnx', { maxRequestBytes: 100_000, queue: { maxBytes: 200_000 } }));
    const cases: [status: number, message: RegExp, answer: Promise<HttpAnswer>][] = [
      [404, /there is nothing at "\/v1"/, serving.call('/v1')],
      [404, /there is no model "other", only "m"/, serving.call('/v2/models/other/infer', { inputs: [x] })],
      [404, /model "m" has no version "2", only "1"/, serving.call('/v2/models/m/versions/2/infer', { inputs: [x] })],
      [404, /there is no model/, serving.call(`/v2/models/${'%2e%2e%2f'.repeat(20)}`)],
      [405, /GET is not supported here; expected POST/, serving.call('/v2/models/m/infer')],
      [405, /POST is not supported here; expected GET/, serving.call('/v2/models/m', {})],
      [413, /expected at most 100000 bytes, got more/, serving.infer('x'.repeat(150_000))],
      [415, /content-encoding: expected identity, got "gzip"/, serving.infer('x', { headers: { 'content-encoding': 'gzip' } })],
      [400, /not valid JSON/, serving.infer('')],
      [400, /not valid JSON/, serving.infer('[1,')],
      [400, /not valid JSON/, serving.infer('{"inputs":[NaN]}')],
      [400, /expected an object/, serving.infer('['.repeat(40_000) + ']'.repeat(40_000))],
      [400, /Inference-Header-Content-Length: expected a whole number up to the 2 bytes/, serving.infer('{}', { headers: { 'inference-header-content-length': '99' } })],
      [400, /Inference-Header-Content-Length/, serving.infer('{}', { headers: { 'inference-header-content-length': '-1' } })],
      [400, /datatype: expected "FP32", got "FP64"/, serving.infer({ inputs: [{ ...x, datatype: 'FP64' }] })],
      [400, /shape: expected \[-1,4\]/, serving.infer({ inputs: [{ ...x, shape: [-1, 4] }] })],
      [400, /shape: expected \[-1,4\]/, serving.infer({ inputs: [{ ...x, shape: [4_294_967_296, 4_294_967_296] }] })],
      [400, /expected 17592186044416 elements/, serving.infer({ inputs: [{ ...x, shape: [2 ** 42, 4] }] })],
      [400, /expected 1 to 32 rows/, serving.infer({ inputs: [{ ...x, shape: [33, 4], data: Array(132).fill(0) }] })],
    ];
    for (const [status, message, answering] of cases) {
      const { status: got, body } = await answering;
      expect([got, json<{ error: string }>({ body } as HttpAnswer).error]).toEqual([status, expect.stringMatching(message)]);
    }
    expect(dataOf(await serving.infer({ inputs: [x] }))).toEqual([[3, 5, 7, 9]]);
    expect(await serving.metric('millrace_serve_held_bytes')).toBe(0);
    expect(await serving.metrics()).toMatch(/millrace_serve_requests_total\{route="infer",code="413"\} 1\n/);
  });

  test('a body whose length nobody told is cut off at the limit', async () => {
    const serving = await startReady(spec('affine.onnx', { maxRequestBytes: 10_000 }));
    const socket = connect(serving.port, '127.0.0.1');
    socket.on('error', () => undefined);
    let answer = '';
    socket.on('data', (part: Buffer) => (answer += part.toString('latin1')));
    socket.write('POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n');
    const timer = setInterval(() => socket.write(`400\r\n${'x'.repeat(1_024)}\r\n`), 1);
    await once(socket, 'close');
    clearInterval(timer);
    expect(answer).toMatch(/^HTTP\/1\.1 413 [\s\S]*connection: close/i);
  });

  test('a client that sends its request drop by drop is cut off in time, and others are served meanwhile', async () => {
    const serving = await startReady(spec('affine.onnx', { receiveSeconds: 1 }));
    const drip = connect(serving.port, '127.0.0.1');
    drip.on('error', () => undefined);
    let answer = '';
    drip.on('data', (part: Buffer) => (answer += part.toString('latin1')));
    drip.write('POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n');
    const timer = setInterval(() => drip.write('x'), 50);
    expect((await serving.infer({ inputs: [x] })).status).toBe(200);
    await once(drip, 'close');
    clearInterval(timer);
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    await until(async () => expect(await serving.metric('millrace_serve_held_bytes')).toBe(0));
  });
});

test('binary tensors go in and out bit by bit', async () => {
  const serving = await startReady(spec('affine.onnx'));
  const blob = Buffer.from(Float32Array.of(0.1, -0, 1e-40, 3e38).buffer);
  const head = JSON.stringify({ inputs: [{ name: 'x', shape: [1, 4], datatype: 'FP32', parameters: { binary_data_size: 16 } }], parameters: { binary_data_output: true } });
  const answer = await serving.infer(Buffer.concat([Buffer.from(head), blob]), { headers: { 'inference-header-content-length': String(head.length) } });
  const length = Number(answer.headers['inference-header-content-length']);
  expect(JSON.parse(answer.body.slice(0, length))).toEqual({ model_name: 'm', model_version: '1', outputs: [{ name: 'y', datatype: 'FP32', shape: [1, 4], parameters: { binary_data_size: 16 } }] });
  const expected = Float32Array.from([0.1, -0, 1e-40, 3e38], (value) => Math.fround(2 * Math.fround(value)) + 1);
  expect(Buffer.from(answer.body.slice(length), 'latin1')).toEqual(Buffer.from(expected.buffer));
});

describe('the life of a server', () => {
  test('loading: it listens, is alive, and refuses with 503 until it is ready', async () => {
    const serving = await start(spec(slowToLoad(4_000)));
    await serving.listening();
    expect(await serving.call('/v2/health/live')).toMatchObject({ status: 200, body: '{"live":true}' });
    expect(await serving.call('/v2/health/ready')).toMatchObject({ status: 503, body: '{"ready":false}' });
    expect(await serving.call('/v2/models/m/ready')).toMatchObject({ status: 503, body: '{"name":"m","ready":false}' });
    expect(await serving.infer(vector([1, 2, 3, 4]))).toMatchObject({ status: 503, headers: { 'retry-after': '1' }, body: '{"error":"the model is being loaded; come back in a moment"}' });
    await serving.ready();
    expect((await serving.infer(vector([1, 2, 3, 4]))).status).toBe(200);
  });

  test('SIGTERM: it is no longer ready, finishes what it took, and ends with 143', async () => {
    const serving = await startReady(spec(spinning(), { batching: { maxSize: 1 }, drainSeconds: 60 }));
    const taken = [1e5, 1e5, 1e5].map((turns) => serving.infer(scalar(turns)));
    await until(async () => expect(await serving.metric('millrace_serve_open_requests')).toBe(3));
    serving.child.kill('SIGTERM');
    await until(async () => expect((await serving.call('/v2/health/ready')).status).toBe(503));
    expect(await serving.infer(scalar(1))).toMatchObject({ status: 503, headers: { connection: 'close' }, body: '{"error":"the server is shutting down; send the request to another one"}' });
    expect((await Promise.all(taken)).map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(await serving.exit).toBe(143);
  });

  test('SIGTERM with more to do than there is time for: the rest gets 503', async () => {
    const serving = await startReady(spec(spinning(), { batching: { maxSize: 1 }, drainSeconds: 0 }));
    const taken = [3e5, 3e5, 3e5].map((turns) => serving.infer(scalar(turns)));
    await until(async () => expect(await serving.metric('millrace_serve_open_requests')).toBe(3));
    serving.child.kill('SIGTERM');
    for (const answer of await Promise.all(taken)) expect(answer).toMatchObject({ status: 503, body: '{"error":"the server is shutting down and did not get to this request; send it again"}' });
    // A run that is under way cannot be stopped, and leaving it would abort.
    expect([143, 'SIGKILL']).toContain(await serving.exit);
    expect(serving.log).toContain('"exitCode":143');
  });

  test('a run that does not return costs the process, which says why', async () => {
    const serving = await startReady(spec(spinning(), { batching: { timeoutSeconds: 1 } }));
    await expect(serving.infer(scalar(1e15)).then(({ status }) => status)).resolves.toBe(503);
    expect(['SIGKILL', 1]).toContain(await serving.exit);
    expect(serving.log).toContain('a model run of 1 request(s) did not return within 1 s (batching.timeoutSeconds); the process restarts');
  });

  test.each<[what: string, of: object, code: number, fatal: object]>([
    ['a model that is none', spec('not_onnx.onnx'), 68, { code: 'ModelInvalid', message: expect.stringMatching(/not_onnx\.onnx/) as unknown }],
    ['a model that is not there', spec('gone.onnx'), 67, { code: 'ModelNotFound', message: 'spec.model.path "gone.onnx" was not found in the model volume' }],
    ['a bad configuration', {}, 64, { code: 'SpecInvalid', message: 'MILLRACE_SPEC: model is missing, expected an object' }],
  ])('%s ends it with a code of its own and a sentence', async (_what, of, code, fatal) => {
    const serving = await start(of);
    expect(await serving.exit).toBe(code);
    expect(serving.fatal).toEqual(fatal);
  });
});
