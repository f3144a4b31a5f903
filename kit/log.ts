import { pino } from 'pino';

export type Log = pino.Logger;

/** JSON lines on stdout, out when the call returns, so that no kill takes one. Values under names that carry credentials never appear. */
export function createLog(name: string, level: string): Log {
  const options: pino.LoggerOptions = {
    name,
    level,
    base: undefined as unknown as null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: ['token', '*.token', 'authorization', '*.authorization', '*.headers.authorization'], censor: '[redacted]' },
  };
  return pino(options, pino.destination({ dest: 1, sync: true }));
}
