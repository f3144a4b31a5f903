import { messageOf, shorten } from '../fatal.ts';
import { type Capacity, type Feed, outOfMemory, type Run, RunStopped } from './batch.ts';
import { allocate, copyElements, type Elements } from './dtypes.ts';
import type { Signature } from './signature.ts';
import { sizeOf } from './tensors.ts';

/** What one request gives to a run: one feed per input of the signature, each with `rows` along the batch axis. */
export interface Rows {
  rows: number;
  feeds: readonly Feed[];
}

/** One feed per output of the signature with the request's own rows, or why there is none. */
export type RowsAnswer = { outputs: Feed[] } | { refused: string; outOfMemory: boolean };

interface Asked extends Rows {
  slot: number;
}

/**
 * Runs requests of equal shape together and gives each its own rows back. A batch that the model refuses, or that does
 * not fit the memory, is halved between requests until those that cause it are found, so that the others get their answers.
 */
export async function runRequests(requests: readonly Rows[], signature: Signature, run: Run, capacity: Capacity): Promise<RowsAnswer[]> {
  const answers = new Array<RowsAnswer>(requests.length);
  const attempt = async (batch: readonly Asked[]): Promise<void> => {
    const [only] = batch;
    if (only === undefined) return;
    if (batch.length > 1 && rowsOf(batch) > capacity.items) return await halve(batch);
    let outputs: Feed[][];
    try {
      outputs = split(await run(join(batch, signature), batch), batch, signature);
    } catch (error) {
      if (error instanceof RunStopped) throw error;
      const message = messageOf(error);
      const memory = outOfMemory.test(message);
      if (batch.length === 1) {
        answers[only.slot] = { refused: shorten(message, 500), outOfMemory: memory };
        return;
      }
      if (memory) capacity.items = Math.max(1, Math.min(capacity.items, rowsOf(batch) >> 1));
      return await halve(batch);
    }
    batch.forEach(({ slot }, at) => {
      answers[slot] = { outputs: outputs[at] as Feed[] };
    });
  };
  const halve = async (batch: readonly Asked[]): Promise<void> => {
    await attempt(batch.slice(0, batch.length >> 1));
    await attempt(batch.slice(batch.length >> 1));
  };
  await attempt(requests.map((request, slot) => ({ ...request, slot })));
  return answers;
}

function rowsOf(batch: readonly Rows[]): number {
  return batch.reduce((sum, { rows }) => sum + rows, 0);
}

function join(batch: readonly Rows[], { inputs }: Signature): Feed[] {
  const [first] = batch as [Rows];
  if (batch.length === 1) return [...first.feeds];
  const rows = rowsOf(batch);
  return inputs.map(({ dtype }, input) => {
    const dims = [rows, ...(first.feeds[input] as Feed).dims.slice(1)];
    const data = allocate(dtype, sizeOf(dims));
    let at = 0;
    for (const { feeds } of batch) {
      const part = (feeds[input] as Feed).data;
      copyElements(data, at, part);
      at += part.length;
    }
    return { dims, data };
  });
}

/** For each request of the batch its rows of each output, in memory of their own, which can be transferred. */
function split(answers: readonly Feed[], batch: readonly Rows[], { outputs }: Signature): Feed[][] {
  const rows = rowsOf(batch);
  outputs.forEach(({ name }, index) => {
    const { dims } = answers[index] as Feed;
    if (dims[0] !== rows) throw new Error(`output "${name}" has the shape [${dims.join(',')}] for a batch of ${rows}`);
  });
  if (batch.length === 1) return [[...answers]];
  let from = 0;
  return batch.map((request) => {
    const [first, end] = [from, from + request.rows];
    from = end;
    return answers.map(({ dims, data }) => {
      const [, ...rest] = dims;
      const size = sizeOf(rest);
      return { dims: [request.rows, ...rest], data: data.slice(first * size, end * size) as Elements };
    });
  });
}

/** The memory that changes hands when the feeds are sent to another thread; text is copied. */
export function transfersOf(feeds: readonly Feed[]): ArrayBuffer[] {
  return feeds.flatMap(({ data }) => (Array.isArray(data) ? [] : [data.buffer as ArrayBuffer]));
}
