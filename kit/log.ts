import { pino } from 'pino';

export type Log = pino.Logger;

/** JSON lines on stdout. Values under names that carry credentials never appear. */
export function createLog(name: string, level: string): Log {
  return pino({
    name,
    level,
    base: undefined as unknown as null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: ['token', '*.token', 'authorization', '*.authorization', '*.headers.authorization'], censor: '[redacted]' },
  });
}
