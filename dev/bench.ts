import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { CommandError, StepError } from './step.ts';

const folder = join(import.meta.dirname, 'bench');
const names = readdirSync(folder).filter((file) => file.endsWith('.ts')).map((file) => file.slice(0, -3)).sort();
const usage = `usage: npm run bench -- NAME [options]
one of: ${names.join(', ')}`;

process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));

const name = process.argv[2] ?? '';
if (!/^[a-z-]+$/.test(name) || !existsSync(join(folder, `${name}.ts`))) {
  console.error(usage);
  process.exitCode = 2;
} else {
  process.argv.splice(2, 1);
  try {
    await import(`./bench/${name}.ts`);
  } catch (cause) {
    if (!(cause instanceof StepError || cause instanceof CommandError)) throw cause;
    console.error(cause.message);
    process.exitCode = 1;
  }
}
