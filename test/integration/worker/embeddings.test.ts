import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { env, type WorkerSpec } from '../../../inference-pod/contract.ts';
import { SyncServer } from './sync-server.ts';
import { aSpec, aVolume, type Folder, models, startWorker, type WorkerProcess } from './worker-process.ts';

interface Golden {
  text: string;
  tokens: number;
  ids: number[];
  embedding: number[];
  cls: number[];
}
const golden = JSON.parse(readFileSync(join(models, 'encoder/golden.json'), 'utf8')) as Golden[];
const limit = 48;
const short = golden.filter(({ tokens }) => tokens <= limit);

let server: SyncServer;
let url: string;
let volume: Folder;
let started: WorkerProcess[];

beforeEach(async () => {
  server = new SyncServer();
  url = await server.listen();
  volume = aVolume();
  started = [];
});

afterEach(async () => {
  for (const { child } of started) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  await Promise.all(started.map(({ exit }) => exit));
  await server.close();
});

type Embedding = NonNullable<WorkerSpec['model']['embedding']>;

function specOf(format: WorkerSpec['input']['format'], embedding: Partial<Embedding> = {}, changes: Partial<WorkerSpec> = {}): WorkerSpec {
  const spec = aSpec(volume, 'encoder/model.onnx', changes);
  return { ...spec, model: { ...spec.model, task: 'text-embedding', embedding: { truncate: false, ...embedding } }, input: { ...spec.input, format } };
}

function start(spec: WorkerSpec, extra: Record<string, string> = {}): WorkerProcess {
  const worker = startWorker(spec, url, extra);
  started.push(worker);
  return worker;
}

async function run(spec: WorkerSpec): Promise<WorkerProcess> {
  const worker = start(spec);
  expect(await worker.exit, worker.log()).toBe(0);
  return worker;
}

const lines = <T>(name: string): T[] => volume.output(name).split('\n').slice(0, -1).map((line) => JSON.parse(line) as T);

function expectNear(got: readonly number[], wanted: readonly number[], what = ''): void {
  expect(got.length, what).toBe(wanted.length);
  for (const [at, value] of got.entries()) expect(Math.abs(value - (wanted[at] as number)), `${what} [${at}]`).toBeLessThan(1e-5);
}

describe('texts become the embeddings that an implementation of its own gives', () => {
  test('as JSON lines, and those that are too long are told', async () => {
    volume.input('in.jsonl', golden.map(({ text }, id) => `${JSON.stringify({ id, text, note: 'ignored' })}\n`).join(''));
    await run(specOf('jsonl'));
    const results = lines<{ id: number; embedding: number[] }>('results.jsonl');
    expect(results.map(({ id }) => id)).toEqual(golden.flatMap(({ tokens }, id) => (tokens <= limit ? [id] : [])));
    for (const { id, embedding } of results) expectNear(embedding, golden[id]?.embedding ?? [], golden[id]?.text);
    const errors = lines<{ id: number; line: number; code: string; message: string }>('errors.jsonl');
    expect(errors.map(({ id, line, code, message }) => ({ id, line, code, message }))).toEqual(
      golden.flatMap(({ tokens }, id) => (tokens <= limit ? [] : [{ id, line: id + 1, code: 'TextTooLong', message: `text: ${tokens} tokens, the limit is 48; shorten it, or set spec.model.embedding.truncate` }])),
    );
    expect(errors.length).toBeGreaterThan(0);
  });

  test('cut to the length that the model takes, where the spec says so', async () => {
    volume.input('in.jsonl', golden.map(({ text }, id) => `${JSON.stringify({ id, text })}\n`).join(''));
    await run(specOf('jsonl', { truncate: true }));
    const results = lines<{ id: number; embedding: number[] }>('results.jsonl');
    expect(results.map(({ id }) => id)).toEqual(golden.map((_, id) => id));
    for (const { id, embedding } of results) expectNear(embedding, golden[id]?.embedding ?? [], golden[id]?.text);
    expect(volume.output('errors.jsonl')).toBe('');
  });

  test('from CSV and packed files, with texts over several lines', async () => {
    const cell = (text: string): string => `"${text.replaceAll('"', '""')}"`;
    const texts = short.filter(({ text }) => !text.includes('\0'));
    volume.input('in.jsonl', gzipSync(`id,text,remark\n${texts.map(({ text }, id) => `t${id},${cell(text)},x\n`).join('')}`));
    await run(specOf('csv'));
    const results = lines<{ id: string; embedding: number[] }>('results.jsonl');
    expect(results.map(({ id }) => id)).toEqual(texts.map((_, id) => `t${id}`));
    for (const [at, { embedding }] of results.entries()) expectNear(embedding, texts[at]?.embedding ?? [], texts[at]?.text);
  });

  test('the same alone as beside others, within 1e-5, and with the first token for a vector', async () => {
    volume.input('in.jsonl', short.map(({ text }, id) => `${JSON.stringify({ id, text })}\n`).join(''));
    await run(specOf('jsonl', { pooling: 'cls', normalize: false }, { batching: { maxSize: 1, timeoutSeconds: 60 } }));
    const alone = lines<{ embedding: number[] }>('results.jsonl');
    for (const [at, { embedding }] of alone.entries()) expectNear(embedding.slice(0, 8), short[at]?.cls ?? [], short[at]?.text);
    server.plan = server.finish = undefined;
    server.done.clear();
    const again = { job: { uid: 'another', namespace: 'n', name: 'n' }, output: { root: volume.path, path: 'out', overwrite: true } };
    await run(specOf('jsonl', { pooling: 'cls', normalize: false }, { ...again, batching: { maxSize: 64, timeoutSeconds: 60, maxTokens: 300 } }));
    for (const [at, { embedding }] of lines<{ embedding: number[] }>('results.jsonl').entries()) expectNear(embedding, alone[at]?.embedding ?? [], short[at]?.text);
  });

  test('with a prompt before each of them', async () => {
    volume.input('in.jsonl', '{"id":1,"text":"quick brown fox jumps over the lazy dog."}\n');
    await run(specOf('jsonl', { prompt: 'The ' }));
    expectNear(lines<{ embedding: number[] }>('results.jsonl')[0]?.embedding ?? [], golden.find(({ text }) => text.startsWith('The quick'))?.embedding ?? []);
  });
});

interface Answer {
  id: string;
  custom_id: string;
  response: { status_code: number; request_id: string; body: { object: string; data: { object: string; index: number; embedding: number[] | string }[]; model: string; usage: { prompt_tokens: number; total_tokens: number } } };
  error: null;
}

const batchLine = (custom_id: string, body: object): string => `${JSON.stringify({ custom_id, method: 'POST', url: '/v1/embeddings', body: { model: 'encoder', ...body } })}\n`;

describe('OpenAI batch lines', () => {
  test('are answered in the shape of its output files, with texts and token ids, single and several, as numbers and base64', async () => {
    const [first, second] = [golden[2], golden[3]] as [Golden, Golden];
    volume.input('in.jsonl', [
      batchLine('one', { input: first.text }),
      batchLine('two', { input: [first.text, second.text], encoding_format: 'float', user: 'u-1' }),
      batchLine('ids', { input: first.ids }),
      batchLine('lists', { input: [first.ids, second.ids], encoding_format: 'base64' }),
      batchLine('few', { input: second.text, dimensions: 4 }),
    ].join(''));
    await run(specOf('openai-batch'));
    const answers = lines<Answer>('results.jsonl');
    const usage = (tokens: number): object => ({ prompt_tokens: tokens, total_tokens: tokens });
    expect(answers.map(({ custom_id, response, error }) => [custom_id, response.status_code, response.body.object, response.body.model, response.body.usage, error])).toEqual([
      ['one', 200, 'list', 'encoder', usage(12), null],
      ['two', 200, 'list', 'encoder', usage(18), null],
      ['ids', 200, 'list', 'encoder', usage(12), null],
      ['lists', 200, 'list', 'encoder', usage(18), null],
      ['few', 200, 'list', 'encoder', usage(6), null],
    ]);
    expect(answers.map(({ response }) => response.body.data.map(({ object, index }) => `${object} ${index}`))).toEqual([['embedding 0'], ['embedding 0', 'embedding 1'], ['embedding 0'], ['embedding 0', 'embedding 1'], ['embedding 0']]);
    const vectors = answers.map(({ response }) => response.body.data.map(({ embedding }) => (typeof embedding === 'string' ? [...new Float32Array(new Uint8Array(Buffer.from(embedding, 'base64')).buffer)] : embedding)));
    const wanted = [[first], [first, second], [first], [first, second]];
    for (const [at, texts] of wanted.entries()) for (const [index, { embedding }] of texts.entries()) expectNear(vectors[at]?.[index] ?? [], embedding, answers[at]?.custom_id);
    // Fewer dimensions are the first ones, scaled to length 1 again.
    const few = second.embedding.slice(0, 4);
    expectNear(vectors[4]?.[0] ?? [], few.map((value) => value / Math.hypot(...few)));
    expect(typeof answers[3]?.response.body.data[0]?.embedding).toBe('string');
    expect(new Set(answers.map(({ id }) => id)).size).toBe(5);
    for (const { id, response } of answers) expect([id, response.request_id]).toEqual([expect.stringMatching(/^batch_req_[0-9a-f]{32}$/), expect.stringMatching(/^req_[0-9a-f]{32}$/)]);
  });

  test('that cannot be answered are told in the shape of its error files, with their place; the others go on', async () => {
    const first = batchLine('good', { input: 'the cat' });
    const bad = batchLine('bad', { input: 'the cat', temperature: 1 });
    volume.input('in.jsonl', `${first}${bad}{"custom_id": "torn", "meth\n${batchLine('long', { input: ['a', 'x'.repeat(100)] })}${first.replace('good', 'last')}`);
    await run(specOf('openai-batch'));
    expect(lines<Answer>('results.jsonl').map(({ custom_id }) => custom_id)).toEqual(['good', 'last']);
    const errors = lines<{ id: string; custom_id: string | null; response: null; error: Record<string, unknown> }>('errors.jsonl');
    expect(errors.map(({ custom_id, response, error }) => ({ custom_id, response, error }))).toEqual([
      { custom_id: 'bad', response: null, error: { code: 'InvalidItem', message: 'body.temperature: is not a field that is honoured here; expected model, input, encoding_format, dimensions, user', file: 'in.jsonl', line: 2, offset: first.length } },
      { custom_id: null, response: null, error: { code: 'InvalidJson', message: expect.stringMatching(/^not valid JSON: /) as unknown, file: 'in.jsonl', line: 3, offset: first.length + bad.length } },
      { custom_id: 'long', response: null, error: { code: 'TextTooLong', message: 'body.input[1]: 102 tokens, the limit is 48; shorten it, or set spec.model.embedding.truncate', file: 'in.jsonl', line: 4, offset: expect.any(Number) as unknown } },
    ]);
    expect(new Set([...errors, ...lines<Answer>('results.jsonl')].map(({ id }) => id)).size).toBe(5);
  });

  test('give the same bytes under kills and any number of workers and threads', async () => {
    const quiet = aVolume();
    const texts = Array.from({ length: 3_000 }, (_, i) => Array.from({ length: 1 + ((i * 7919) % 23) }, (_, at) => golden[2 + ((i + at) % 3)]?.text.split(' ')[at % 2]).join(' '));
    const input = texts.map((text, i) => batchLine(`r${i}`, { input: i % 10 === 0 ? [text, `${text}s`] : i % 97 === 0 ? 7 : text, ...(i % 3 === 0 ? { encoding_format: 'base64' } : {}) })).join('');
    const names = ['results.jsonl', 'errors.jsonl', 'manifest.json'];
    const sharding = { targetBytes: 64 * 1024, maxWorkers: 1 };
    quiet.input('in.jsonl', input);
    volume.input('in.jsonl', input);
    const spec = specOf('openai-batch', {}, { sharding });
    await run({ ...spec, input: { ...spec.input, root: quiet.path }, output: { ...spec.output, root: quiet.path } });
    const expected = names.map(quiet.output);
    // 27 of the lines have a number for a text.
    expect(expected[0]?.split('\n').length).toBe(2_974);
    await server.close();
    server = new SyncServer();
    url = await server.listen();
    let kills = 0;
    for (let seed = 5; kills < 4 && !server.finish; kills++) {
      const seen = server.requests.length;
      const pair = [start(spec), start(spec, { [env.cpuMillis]: '2000' })];
      const working = (): boolean => server.requests.slice(seen).some(({ leases }) => leases.some(({ items, plan }) => plan || items.succeeded > 0));
      await server.until(() => server.finish !== undefined || working(), 30_000);
      seed = (seed * 1103515245 + 12345) % 2 ** 31;
      await new Promise((resolve) => setTimeout(resolve, seed % 200));
      for (const { child } of pair) child.kill('SIGKILL');
      await Promise.all(pair.map(({ exit }) => exit));
      server.lose(undefined);
    }
    expect(kills).toBeGreaterThan(0);
    await run(spec);
    expect(names.map(volume.output)).toEqual(expected);
  }, 120_000);
});

describe('a model whose texts cannot be embedded ends the job before any shard:', () => {
  const files = ['model.onnx', 'tokenizer.json', 'tokenizer_config.json', 'sentence_bert_config.json', 'modules.json', '1_Pooling/config.json'];

  /** The encoder on the volume, in `folder`, with files replaced or left out. */
  function anEncoder(changes: Record<string, unknown> = {}, place = (name: string): string => name): void {
    for (const name of files) {
      if (name in changes && changes[name] === undefined) continue;
      const to = place(name);
      mkdirSync(dirname(join(volume.path, 'm', to)), { recursive: true });
      volume.input(join('m', to), name in changes ? JSON.stringify(changes[name]) : readFileSync(join(models, 'encoder', name)));
    }
  }

  const onVolume = (embedding: Partial<Embedding> = {}, path = 'm/model.onnx'): WorkerSpec => {
    const spec = specOf('jsonl', embedding);
    return { ...spec, model: { ...spec.model, root: volume.path, path } };
  };

  const tokenizer = JSON.parse(readFileSync(join(models, 'encoder/tokenizer.json'), 'utf8')) as { model: object };

  test.each<[what: string, code: string, message: RegExp, changes: Record<string, unknown>]>([
    ['no tokenizer', 'ModelNotFound', /^tokenizer\.json was not found beside spec\.model\.path "m\/model\.onnx"; spec\.model\.task text-embedding needs the tokenizer/, { 'tokenizer.json': undefined }],
    ['nothing that says how to pool', 'ModelInvalid', /one vector for each token, and there is no 1_Pooling\/config\.json beside it.*set spec\.model\.embedding\.pooling to mean or cls/, { '1_Pooling/config.json': undefined }],
  ])('%s', async (_what, code, message, changes) => {
    volume.input('in.jsonl', '{"text":"a"}\n');
    anEncoder(changes);
    const worker = start(onVolume());
    expect(await worker.exit, worker.log()).toBe(code === 'ModelNotFound' ? 67 : 68);
    expect(worker.terminationLog()).toEqual({ code, message: expect.stringMatching(message) as unknown });
    expect(server.plan).toBeUndefined();
  });

  test('a model that takes no texts', async () => {
    volume.input('in.jsonl', '{"text":"a"}\n');
    anEncoder();
    volume.input('m/model.onnx', readFileSync(join(models, 'affine.onnx')));
    const worker = start(onVolume());
    expect(await worker.exit).toBe(68);
    expect(worker.terminationLog()).toEqual({ code: 'ModelInvalid', message: expect.stringMatching(/the model has the input "x", expected input_ids, attention_mask, token_type_ids/) as unknown });
  });

  test('but not one in the layout of a model hub, with the model in a folder named onnx and links within the volume', async () => {
    volume.input('in.jsonl', `${JSON.stringify({ text: golden[2]?.text })}\n`);
    anEncoder({}, (name) => (name === 'model.onnx' ? 'onnx/model.onnx' : name === 'tokenizer.json' ? 'blobs/0123' : name));
    symlinkSync('blobs/0123', join(volume.path, 'm/tokenizer.json'));
    await run(onVolume({}, 'm/onnx/model.onnx'));
    expectNear(lines<{ embedding: number[] }>('results.jsonl')[0]?.embedding ?? [], golden[2]?.embedding ?? []);
  });

  test('a tokenizer that is not the one that the job began with', async () => {
    volume.input('in.jsonl', '{"text":"a"}\n');
    anEncoder();
    server.override = () => ({ leases: server.plan ? [] : [{ kind: 'plan' }] });
    const first = start(onVolume());
    await server.until(() => server.plan !== undefined);
    first.child.kill('SIGKILL');
    await first.exit;
    server.lose(undefined);
    server.override = undefined;
    volume.input('m/tokenizer.json', JSON.stringify({ ...tokenizer, version: '1.1' }));
    const second = start(onVolume());
    expect(await second.exit).toBe(68);
    expect(second.terminationLog()).toEqual({ code: 'ModelInvalid', message: expect.stringMatching(/^model changed: "m\/model\.onnx" has SHA-256/) as unknown });
  });
});
