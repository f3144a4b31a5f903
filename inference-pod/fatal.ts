import type { FatalCode } from './contract.ts';

/** A failure that no retry can mend. `message` is one sentence for the user: field, what came, what was expected. */
export class FatalError extends Error {
  readonly code: FatalCode;

  constructor(code: FatalCode, message: string) {
    super(shorten(message, 1_000));
    this.name = 'FatalError';
    this.code = code;
  }
}

/** One line of at most `limit` characters. */
export function shorten(text: string, limit: number): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length <= limit ? line : `${line.slice(0, limit - 1)}…`;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === 'string' ? code : undefined;
}
