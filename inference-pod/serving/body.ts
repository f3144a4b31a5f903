import type { IncomingMessage } from 'node:http';
import { Refusal } from './refusal.ts';

/** Bytes of request bodies that the process holds; bounded, whatever clients send. */
export class HeldBytes {
  readonly #most: number;
  #held = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get held(): number {
    return this.#held;
  }

  /** False when there is no room. */
  take(bytes: number): boolean {
    if (this.#held + bytes > this.#most) return false;
    this.#held += bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#held -= bytes;
  }
}

/**
 * The whole body, which counts as held until the caller gives it back; `busy` makes the refusal for want of room.
 * Throws Refusal 413, 415 or what `busy` gives; then nothing counts. Rejects when the client goes.
 */
export async function readBody(request: IncomingMessage, maxBytes: number, room: HeldBytes, busy: () => Refusal): Promise<Buffer> {
  const encoding = request.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity') throw new Refusal(415, `content-encoding: expected identity, got ${JSON.stringify(encoding.slice(0, 50))}`, { 'accept-encoding': 'identity' });
  const tooLarge = (): Refusal => new Refusal(413, `the body: expected at most ${maxBytes} bytes, got more`);
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of request.iterator({ destroyOnReturn: false })) {
      const chunk = part as Buffer;
      if (size + chunk.length > maxBytes) throw tooLarge();
      if (!room.take(chunk.length)) throw busy();
      size += chunk.length;
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } catch (error) {
    room.giveBack(size);
    throw error;
  }
}
