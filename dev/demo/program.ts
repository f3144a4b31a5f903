import { CommandError, StepError } from '../step.ts';

/** Runs a developer's program to its end: a failed step is told in its own words, anything else with its stack. */
export async function runProgram(main: () => Promise<void>): Promise<void> {
  try {
    await main();
  } catch (cause) {
    console.error(cause instanceof StepError || cause instanceof CommandError ? `\n${cause.message}` : cause);
    process.exitCode = 1;
  }
}
