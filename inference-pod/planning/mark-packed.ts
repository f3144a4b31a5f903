import { inOrder } from '../in-order.ts';
import type { InputFile } from '../reading/concatenation.ts';
import type { InputStore } from '../stores/store.ts';

const atOnce = 16;

/** Those of `files` that are gzip get `packed`. */
export async function markPacked(store: InputStore, files: readonly InputFile[]): Promise<InputFile[]> {
  const marked: InputFile[] = [];
  for await (const file of inOrder(files, atOnce, async (one) => ((await isGzip(store, one)) ? { ...one, packed: one.size } : one))) marked.push(file);
  return marked;
}

/** Whether a file begins as gzip does (RFC 1952), which no line of text can. */
async function isGzip(store: InputStore, file: InputFile): Promise<boolean> {
  if (file.size < 3) return false;
  const head = Buffer.alloc(3);
  const reader = await store.open(file, 3);
  try {
    await reader.read(head, 0);
  } finally {
    await reader.close();
  }
  return head[0] === 0x1f && head[1] === 0x8b && head[2] === 8;
}
