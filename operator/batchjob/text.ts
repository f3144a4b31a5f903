/** Longest message of a condition that the API takes; status.message may have twice that. */
export const CONDITION_LENGTH = 1024;
export const EVENT_NOTE_LENGTH = 1000;

/** Cut to `length` UTF-16 units. A character that the cut would halve is replaced, as the API server would do on storing it. */
export function shorten(text: string, length: number): string {
  return (text.length <= length ? text : `${text.slice(0, length - 3)}...`).toWellFormed();
}

export const timestamp = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
