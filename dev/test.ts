import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { cacheDir, repoDir } from './cluster/cache.ts';
import { ensureCluster } from './cluster/index.ts';
import { CommandError, duration, sh, StepError, step } from './step.ts';

const usage = `usage: npm test [-- PART...] [-- VITEST ARGS]
parts, in this order; all when none is named:
  static       types, lint, generated files
  unit         unit and property tests, no cluster
  integration  several parts together, no cluster
  e2e          the whole on a real cluster, which is made when there is none`;

interface Count {
  passed: number;
  failed: number;
  skipped: number;
}
const none: Count = { passed: 0, failed: 0, skipped: 0 };
const add = (a: Count, b: Count): Count => ({ passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped });
const bin = (name: string): string => join(repoDir, 'node_modules/.bin', name);
const sources = ['crds', 'dev', 'inference-pod', 'kit', 'operator', 'test', 'config'];

/** Each check counts as one test. */
const checks: [title: string, command: string, args: string[]][] = [
  ['types (tsc)', bin('tsc'), ['--noEmit', '--project', 'tsconfig.json']],
  ['lint (biome)', bin('biome'), ['lint', '--config-path=config/biome.json', '--colors=off', '--diagnostic-level=warn', ...sources]],
  ['generated files are current', process.execPath, ['crds/generate.ts', '--check']],
];

async function staticChecks(): Promise<Count> {
  const results = await Promise.all(checks.map(async ([title, command, args]) => {
    try {
      await step(title, () => sh(command, args, { cwd: repoDir, timeout: 300_000 }));
      return { ...none, passed: 1 };
    } catch (cause) {
      console.error(cause instanceof Error ? cause.message : cause);
      return { ...none, failed: 1 };
    }
  }));
  return results.reduce(add, none);
}

interface VitestReport {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  testResults: { status: string; name: string; assertionResults: unknown[] }[];
}

/** Runs projects of config/vitest.config.ts, shows what vitest shows, and counts from its report. */
async function vitest(projects: readonly string[], more: readonly string[]): Promise<Count> {
  const folder = join(cacheDir(), 'log');
  mkdirSync(folder, { recursive: true });
  const report = join(folder, `vitest-${projects.join('-')}-${process.pid}.json`);
  const args = ['run', '--config', 'config/vitest.config.ts', '--passWithNoTests', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`,
    ...projects.map((name) => `--project=${name}`), ...more];
  const code = await new Promise<number>((resolve, reject) => {
    const child = spawn(bin('vitest'), args, { cwd: repoDir, stdio: 'inherit' });
    child.on('error', reject);
    child.on('close', (status) => resolve(status ?? 1));
  });
  const count = existsSync(report) ? countOf(JSON.parse(readFileSync(report, 'utf8')) as VitestReport) : none;
  rmSync(report, { force: true });
  // Vitest fails without a failed test too: an unhandled error, a global setup that threw.
  return code !== 0 && count.failed === 0 ? { ...count, failed: 1 } : count;
}

function countOf(report: VitestReport): Count {
  const unloadable = report.testResults.filter(({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0).length;
  return { passed: report.numPassedTests, failed: report.numFailedTests + unloadable, skipped: report.numPendingTests + report.numTodoTests };
}

type Part = 'static' | 'unit' | 'integration' | 'e2e';

async function run(parts: readonly Part[], more: readonly string[]): Promise<Count> {
  // The cluster may take minutes; the tests without one run meanwhile.
  const cluster = parts.includes('e2e') ? ensureCluster().then(() => undefined, (cause: unknown) => ({ cause })) : undefined;
  const level: Record<Part, () => Promise<Count>> = {
    static: staticChecks,
    unit: () => vitest(['unit', 'property'], more),
    integration: () => vitest(['integration'], more),
    async e2e() {
      const failure = await cluster;
      if (failure === undefined) return vitest(['e2e', 'loss'], more);
      if (!(failure.cause instanceof StepError || failure.cause instanceof CommandError)) throw failure.cause;
      console.error(`\nno cluster, so no e2e test could run:\n${failure.cause.message}`);
      return { ...none, failed: 1 };
    },
  };
  let total = none;
  for (const part of parts) {
    const started = performance.now();
    const count = await level[part]();
    console.log(`${part}: ${text(count)} in ${duration(performance.now() - started)}`);
    total = add(total, count);
  }
  return total;
}

const text = ({ passed, failed, skipped }: Count): string => `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;

const all: readonly Part[] = ['static', 'unit', 'integration', 'e2e'];
const isPart = (name: string): name is Part => (all as readonly string[]).includes(name);
const { positionals } = parseArgs({ strict: false });
const named = positionals.filter(isPart);
const more = process.argv.slice(2).filter((argument) => !isPart(argument));
if (more.includes('--help') || more.includes('-h')) console.log(usage);
else {
  const total = await run(named.length > 0 ? all.filter((part) => named.includes(part)) : all, more);
  process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
  console.log(text(total));
}
